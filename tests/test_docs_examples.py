"""What the documentation shows is what happens: its Python runs, its commands print what it says.

A comment on the line before a fenced block tells the tests more about it:

``<!-- test: exit 2 -->``
    the commands of the block end with 2; with 0 where nothing is said.
``<!-- test: skip, it downloads a model -->``
    the block is not run, for the reason given.
``<!-- test: file mine.toml -->``
    the block is written to that file, for the blocks that follow on the page.
``<!-- test: excerpt of examples/plugin.py -->``
    the block stands in that file of the repository, word for word.

Of what a command prints, every line that is shown must come, in the order shown. Numbers, widths
and rules of tables differ from run to run and are not compared, nor is what depends on the LoadGen
wheel that happens to be installed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from .docs_pages import ROOT, Block, blocks, name_of, pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MLPINF: Final = (sys.executable, "-c", "from mlpinf_core.cli import main; main()")
KINDS: Final = re.compile(r"exit \d+|skip, .+|file \S+|excerpt of \S+")


def pages_with(language: str) -> list[object]:
    """The pages that have something of the language to be run."""
    return [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if is_slow(page) else [])
        for page in pages()
        if any(not is_skipped(block) for block in blocks(page, language))
    ]


def is_slow(page: Path) -> bool:
    """Whether a page's Python makes runs."""
    return "mlpinf_core.run(" in page.read_text(encoding="utf-8")


def is_skipped(block: Block) -> bool:
    return (block.directive or "").startswith(("skip", "file", "excerpt"))


def write_file(block: Block, directory: Path) -> bool:
    """Carry out a ``file`` directive; whether it was one."""
    kind, _, name = (block.directive or "").partition(" ")
    if kind == "file":
        (directory / name).write_text(block.text, encoding="utf-8")
    return kind == "file"


def clean_environment(directory: Path) -> dict[str, str]:
    """A newcomer's environment, with a scratch space of its own."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("MLPINF", "MLPERF"))}
    return ours | {
        "MLPERF_SCRATCH_PATH": str(directory / "scratch"),
        "COLUMNS": "200",
        "PYTHONIOENCODING": "utf-8",
    }


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines shown below it."""
    command, shown = "", []
    for line in [*block.text.splitlines(), "$ end"]:
        if not line.startswith("$ "):
            shown.append(line)
            continue
        if command:
            yield command, shown
        command, shown = line.removeprefix("$ "), []


def comparable(line: str) -> str:
    """A line without what differs from run to run; empty for one that says nothing."""
    without_rules = re.sub(r"[─━]+", "", line)
    without_numbers = re.sub(r"\d[\d.,]*", "#", without_rules)
    without_units = re.sub(r"# (µs|ms|s)\b", "# s", without_numbers)
    return " ".join(without_units.split())


def depends_on_the_wheel(line: str) -> bool:
    return line.startswith("LoadGen ")


def first_missing(shown: list[str], printed: str) -> str | None:
    """The first line shown that does not come where it should; None when all do."""
    remaining = iter([comparable(line) for line in printed.splitlines()])
    for line in shown:
        wanted = comparable(line)
        if wanted in ("", "...") or depends_on_the_wheel(wanted):
            continue
        if wanted not in remaining:  # takes lines until it finds the one
            return line
    return None


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    parts = []
    for block in blocks(page):
        if not write_file(block, tmp_path) and block.language == "python" and not is_skipped(block):
            # Line numbers of a traceback are the page's.
            lines_so_far = sum(part.count("\n") for part in parts)
            parts.append("\n" * (block.line - lines_so_far) + block.text)
    program = tmp_path / "page.py"
    program.write_text("".join(parts), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{name_of(page)}:\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("console"))
def test_the_commands_of_a_page_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    environment = clean_environment(tmp_path)
    for block in blocks(page):
        if write_file(block, tmp_path) or block.language != "console" or is_skipped(block):
            continue
        for command, shown in commands(block):
            program, *arguments = shlex.split(command)
            assert program == "mlpinf", f"{block}: `{command}` needs a `skip` and its reason"
            done = subprocess.run(
                [*MLPINF, *arguments],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                timeout=300,
                check=False,
            )
            said = f"{block}: `{command}` printed\n{done.stdout}"
            expected = re.fullmatch(r"exit (\d+)", block.directive or "exit 0")
            assert expected is not None, f"{block}: {block.directive}"
            assert done.returncode == int(expected[1]), said
            missing = first_missing(shown, done.stdout)
            assert missing is None, f"{said}\nand not, where the page has it:\n{missing}"


ALL_BLOCKS: Final = [block for page in pages() for block in blocks(page)]


def test_no_directive_is_misspelt() -> None:
    given = {block.directive: str(block) for block in ALL_BLOCKS if block.directive is not None}
    assert {text: at for text, at in given.items() if not KINDS.fullmatch(text)} == {}


def test_no_directive_stands_apart_from_its_block() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages())
    written = len(re.findall(r"^<!-- test:", text, flags=re.MULTILINE))
    assert written == sum(block.directive is not None for block in ALL_BLOCKS)


def test_excerpts_are_in_the_files_they_are_from() -> None:
    for block in ALL_BLOCKS:
        kind, _, path = (block.directive or "").partition(" of ")
        if kind == "excerpt":
            assert block.text in (ROOT / path).read_text(encoding="utf-8"), f"{block}: {path}"


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        (["first", "third"], None),
        (["...", "second  9,999 Samples/s"], None),
        (["third", "first"], "first"),
        (["fourth"], "fourth"),
        (["LoadGen 5.1.2 embeds v5.1"], None),
    ],
)
def test_a_shown_line_has_to_be_printed_in_its_place(shown: list[str], missing: str | None) -> None:
    assert first_missing(shown, "first\n  second 1,234.5   Samples/s\n ───\nthird\n") == missing
