"""Grading deepseek-r1's answers."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_core.accuracy import judge, text
from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.protocols import NotGraded
from mlpinf_core.rules.model import Limit
from mlpinf_llm import locate
from mlpinf_llm.grading import grade, parts, programs, sandbox
from mlpinf_llm.grading.grade import Answer
from mlpinf_llm.grading.parts import Part
from mlpinf_llm.grading.programs import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.context import Run

DATA = Path(__file__).parent / "data" / "official"
needs_mathematics = pytest.mark.skipif(
    not all(map(grade.is_installed, ("sympy", "pylatexenc"))),
    reason="an extra: mlpinf-llm[grading]",
)


def test_a_sample_belongs_to_the_part_that_its_data_set_names() -> None:
    names = ("gpqa_diamond", "MMLU_Pro", "math500", "aime1983", "livecodebench")
    assert [parts.part_of(name) for name in names] == list(Part)
    with pytest.raises(ValueError, match="'humaneval' is no part"):
        parts.part_of("humaneval")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("ANSWER: B", "B"),
        ("Answer: (c)", "C"),
        ("**Final Answer:** D", None),
        ("ANSWER: A ... FINAL ANSWER: B.", "B"),
        ("ANSWER: E", None),
        ("ANSWER: Bob", None),
        ("['ANSWER: D']", "D"),
        ("B", None),
        ("", None),
    ],
)
def test_a_choice_is_the_letter_after_the_last_answer(answer: str, letter: str | None) -> None:
    assert parts.choice(answer, Part.GPQA) == letter


def test_a_choice_of_ten_may_also_stand_alone() -> None:
    assert parts.choice("it must be H, then", Part.MMLU_PRO) == "H"
    assert parts.choice("none", Part.MMLU_PRO) is None


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (r"\boxed{1} so \boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        (r"\boxed{ 3 }", "3"),
        (r"\boxed{3", None),
        ("3", None),
        (r"\boxed{}", ""),
    ],
)
def test_what_counts_of_mathematics_is_in_the_last_box(answer: str, found: str | None) -> None:
    assert parts.boxed(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (r"\boxed{042} Answer: 7", 42),
        ("answer: 7", 7),
        ("Answer: 7.5", None),
        (r"\boxed{1000}", None),
        ("seven", None),
    ],
)
def test_an_integer_is_boxed_or_follows_answer(answer: str, found: int | None) -> None:
    assert parts.integer(answer) == found


def test_a_program_is_the_first_block_of_python() -> None:
    assert parts.program("x\n```python\nprint(1)\n```\n```python\nprint(2)```") == "print(1)"
    assert parts.program("```\nprint(1)\n```") is None


@given(st.text(max_size=40))
def test_no_answer_is_too_strange_to_be_read(answer: str) -> None:
    for part in (Part.GPQA, Part.MMLU_PRO):
        assert parts.choice(answer, part) in {None, *"ABCDEFGHIJ"}
    value = parts.integer(answer)
    assert value is None or 0 <= value <= 999
    boxed = parts.boxed(answer)
    assert boxed is None or boxed in answer


@needs_mathematics
def test_answers_of_mathematics_are_graded_as_the_official_grader_grades_them() -> None:
    """Verdicts and both normal forms are those of PRM800K's grader (openai/prm800k at 7ecc794).

    The rows are a sample of 6,000 that it was compared with.
    """
    from mlpinf_llm.grading import math_answers
    from mlpinf_llm.grading.symbolic import Comparer

    rows = json.loads((DATA / "math-answers.json").read_text(encoding="utf-8"))
    with Comparer() as comparer:
        for given_, wanted, same, as_text, as_value in rows:
            assert math_answers.text_form(given_) == as_text, given_
            assert math_answers.value_form(given_) == as_value, given_
            verdict = math_answers.same_answer(given_, wanted, comparer.same_value)
            assert verdict is same, (given_, wanted)


@needs_mathematics
def test_an_expression_that_takes_for_ever_is_wrong_and_the_next_one_is_compared() -> None:
    from mlpinf_llm.grading.symbolic import Comparer

    with Comparer(timeout_s=8) as comparer:
        assert not comparer.same_value("9**9**9**9", "1")
        assert comparer.same_value("1/2", "2/4")


@needs_mathematics
def test_what_is_evaluated_cannot_leave_its_process() -> None:
    from mlpinf_llm.grading.symbolic import Comparer

    with Comparer() as comparer:
        # Few letters are let through at all; this one ends the child itself.
        assert not comparer.same_value("exit()", "1")
        assert not comparer.same_value("'aa'.__class__", "1")
        assert comparer.same_value("x+x", "2*x")


DOUBLE = Problem(("3\n", "5"), ("6\n", "10"), None)
PAIR = Problem(("3\n[1]",), ("[3, [1]]",), "pair")


@pytest.mark.parametrize(
    ("program", "problem", "right"),
    [
        ("print(2 * int(input()))", DOUBLE, True),
        ("import sys\nprint(2 * int(sys.stdin.read()))", DOUBLE, True),
        ("if __name__ == '__main__':\n    print(2.0 * int(input()), end='')", DOUBLE, True),
        ("print(2 * int(input())); raise SystemExit", DOUBLE, True),
        ("print(6)", DOUBLE, False),
        ("print(2 * int(input()), 'more')", DOUBLE, False),
        ("print(", DOUBLE, False),
        ("raise ValueError", DOUBLE, False),
        ("import os; os._exit(0)", DOUBLE, False),
        ("def pair(a, b):\n    return a, b", PAIR, True),
        ("class Solution:\n    def pair(self, a, b):\n        return [a, b]", PAIR, True),
        ("def pair(a, b):\n    print('a'); return [a, b]", PAIR, True),
        ("def pair(a, b):\n    return [b, a]", PAIR, False),
        ("def other(a, b):\n    return [a, b]", PAIR, False),
    ],
)
def test_a_program_passes_when_it_answers_every_test(
    program: str, problem: Problem, right: bool
) -> None:
    assert programs.passes(program, problem) is right


def test_a_program_that_never_ends_is_wrong() -> None:
    assert not programs.passes("while True:\n    pass", DOUBLE, test_s=1)


def test_a_program_that_forges_the_workers_answer_is_wrong() -> None:
    forged = 'import os; os.write(1, b\'["6", "10"\' * 2); os._exit(0)'
    assert not programs.passes(forged, DOUBLE)


def test_a_program_is_not_told_what_is_expected() -> None:
    spy = (
        "import gc\nfound = [o for o in gc.get_objects() if isinstance(o, dict) and 'outputs' in o]"
    )
    assert not programs.passes(f"{spy}\nprint(2 * int(input()) if found else 0)", DOUBLE)


def test_a_program_can_neither_write_files_nor_take_all_memory(tmp_path: Path) -> None:
    mark = tmp_path / "written"
    write = f"f = open({str(mark)!r}, 'w'); f.write('x'); f.flush()\nprint(2 * int(input()))"
    assert not programs.passes(write, DOUBLE)
    assert not mark.exists() or mark.stat().st_size == 0
    assert not programs.passes("b = bytearray(6 << 30)\nprint(2 * int(input()))", DOUBLE)


def test_a_program_does_not_see_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = "import os\nprint(2 * int(input()) if 'HF_TOKEN' not in os.environ else 0)"
    assert programs.passes(seen, DOUBLE)


@pytest.mark.skipif(not sandbox.isolation(), reason="this system makes no namespaces")
def test_a_program_has_no_network() -> None:
    interfaces = "import socket\nprint(2 * int(input()) if len(socket.if_nameindex()) == 1 else 0)"
    assert programs.passes(interfaces, DOUBLE)
    connect = (
        "import socket\ns = socket.socket()\n"
        "try:\n    s.connect(('127.0.0.1', 9)); print(0)\n"
        "except OSError as e:\n    print(2 * int(input()) if e.errno in (101, 111) else 0)"
    )
    assert programs.passes(connect, DOUBLE)


def test_what_a_program_starts_ends_with_it(tmp_path: Path) -> None:
    """The worker's own process would write its answer twice, so the child is a detached sleeper."""
    mark = f"{os.getpid()}{id(tmp_path)}"
    started = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-c', 'import time; time.sleep(600)', '{mark}']\n"
        "subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "print(2 * int(input()))"
    )
    assert programs.passes(started, Problem(("3",), ("6",), None))
    if sandbox.isolation():
        commands = [_command(process) for process in Path("/proc").iterdir()]
        assert not any(mark.encode() in command for command in commands)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def code_tests(path: Path, **changes: Any) -> Path:
    hidden = json.dumps([{"input": "5", "output": "10", "testtype": "stdin"}])
    packed = base64.b64encode(zlib.compress(pickle.dumps(hidden))).decode()
    row = {
        "question_id": "abc_1",
        "public_test_cases": json.dumps([{"input": "3", "output": "6", "testtype": "stdin"}]),
        "private_test_cases": packed,
        "metadata": "{}",
        **changes,
    }
    path.write_text(json.dumps({**row, "question_id": "other"}) + "\n" + json.dumps(row) + "\n")
    return path


def test_the_tests_of_a_problem_are_the_public_and_the_packed_ones(tmp_path: Path) -> None:
    found = programs.read_problems(code_tests(tmp_path / "test.jsonl"), ["abc_1"])
    assert found == {"abc_1": Problem(("3", "5"), ("6", "10"), None)}


def test_packed_tests_that_name_a_function_are_refused_and_not_run(tmp_path: Path) -> None:
    hostile = base64.b64encode(zlib.compress(b"\x80\x04cposix\nsystem\n(Vtouch x\ntR.")).decode()
    path = code_tests(tmp_path / "test.jsonl", private_test_cases=hostile)
    with pytest.raises(IntegrityError, match=r"names posix\.system"):
        programs.read_problems(path, ["abc_1"])


def test_a_problem_without_tests_is_named(tmp_path: Path) -> None:
    path = code_tests(tmp_path / "test.jsonl")
    with pytest.raises(IntegrityError, match="lack 1 of 2 problems: xyz"):
        programs.read_problems(path, ["abc_1", "xyz"])
    with pytest.raises(IntegrityError, match="cannot be read"):
        programs.read_problems(tmp_path / "none.jsonl", ["abc_1"])


ANSWERS = [
    Answer("ANSWER: B", "B", Part.GPQA),
    Answer("ANSWER: B", "C", Part.MMLU_PRO),
    Answer(r"\boxed{7}", "7", Part.AIME),
    Answer("```python\nprint(2 * int(input()))\n```", "abc_1", Part.CODE),
]


def test_programs_that_were_not_executed_keep_the_exact_match_from_passing() -> None:
    found = grade.scores(ANSWERS, None)
    assert isinstance(found["exact_match"], NotGraded)
    assert "1 programs were not executed" in found["exact_match"].reason
    assert found["exact_match_gpqa"] == 100.0
    assert found["exact_match_mmlu_pro"] == 0.0
    result = judge(found, {"exact_match": Limit(lower=0.0)})
    assert not result.passed
    assert "'exact_match'" not in text(result)


def test_the_exact_match_counts_all_samples_alike_once_programs_are_executed() -> None:
    found = grade.scores(ANSWERS, lambda ids: dict.fromkeys(ids, DOUBLE))
    assert found["exact_match"] == 75.0
    assert found["exact_match_livecodebench"] == 100.0


def test_mathematics_without_sympy_is_not_graded_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grade, "is_installed", lambda module: module != "sympy")
    found = grade.scores([Answer(r"\boxed{7}", "7", Part.MATH)], None)
    assert isinstance(found["exact_match"], NotGraded)
    assert "pip install 'mlpinf-llm[grading]'" in found["exact_match"].reason


def test_grading_programs_without_their_tests_is_refused_before_the_test(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    for path in (None, tmp_path / "none.jsonl"):
        run = new_run("deepseek-r1", grade_code=True, code_tests_path=path)
        with pytest.raises(PrerequisiteError, match="leads to no file"):
            locate.data_file(run)
