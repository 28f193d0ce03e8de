"""Engines in process and Triton: every query ends exactly once, with the very ids that came.

vLLM and TensorRT-LLM cannot be installed without a GPU, so contract doubles stand in their place,
which take what the real signatures take and nothing else. Triton is a real gRPC server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core import api
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_llm import tiny

from .triton_server import TritonServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.results import RunResult

pytestmark = pytest.mark.slow

DOUBLES = Path(__file__).parent / "doubles"
SAMPLES = len(tiny.BENCHMARKS["llama3.1-8b"].samples())
CAP, LEAST = 8, 2
END = tiny.GENERATION["llama3.1-8b"].eos_ids[0]
"""Of the tiny variant, which every answer of the doubles ends with."""
ENGINES = ["vllm-0.20.0", "vllm-0.26.0", "trtllm-pytorch", "trtllm-tensorrt", "triton"]


def _behaviour() -> Any:
    spec = importlib.util.spec_from_file_location("double_behaviour", DOUBLES / "behaviour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ANSWER = _behaviour().answer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "rank0.engine").write_bytes(b"engine")  # nothing has to be built
    return folder


@pytest.fixture
def run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RunResult]]:
    """Runs the tiny data on an engine: ``run("vllm-0.20.0", "Offline", fault="dies")``."""
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))
    monkeypatch.syspath_prepend(DOUBLES)
    with contextlib.ExitStack() as stack:

        def start(
            engine: str, scenario: str = "Offline", *, fault: str = "", mode: str = "performance",
            stop_on_error: bool = False, **backend: Any,
        ) -> RunResult:  # fmt: skip
            kind, _, version = engine.partition("-")
            monkeypatch.setenv("MLPINF_TEST_FAULT", fault)
            settings: dict[str, Any] = {"concurrency": 16}
            if kind == "triton":
                server = stack.enter_context(TritonServer(ANSWER, fault=fault))
                settings |= {"urls": [server.address], "ready_timeout": 5.0, "request_timeout": 2.0}
            else:
                settings["checkpoint"] = checkpoint
            if kind == "vllm":
                monkeypatch.setenv("MLPINF_TEST_VLLM", version)
            if kind == "trtllm":
                settings["runtime"] = version
            count = SAMPLES if scenario == "Offline" else 700
            results = api.run(
                "llama3.1-8b",
                scenarios=scenario,
                modes=mode,
                variant="tiny",
                settings={
                    "loadgen": {"target_qps": 200, "min_duration": 0, "min_query_count": count,
                                "ttft_ms": 5000, "tpot_ms": 2000},
                    "run": {"backend": kind, "stop_on_error": stop_on_error, "hang_timeout": 30,
                            "warmup": kind == "triton" or not fault},
                    "benchmark": {"max_output_tokens": CAP, "min_output_tokens": LEAST},
                    "backend": settings | backend,
                },
                output=tmp_path / "runs",
            )  # fmt: skip
            return results.runs[0]

        yield start


def causes(result: RunResult) -> dict[str, str]:
    """What the verdict says, by code; and that it knows of no query that was lost or doubled."""
    found: dict[str, str] = {}
    for cause in result.verdict.causes:
        found[cause.code] = f"{found.get(cause.code, '')}{cause.message}; "
    assert not {"hang", "crash", "query-missing", "query-duplicate"} & set(found), found
    return found


# -- what works ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["vllm-0.20.0", "trtllm-pytorch", "triton"])
@pytest.mark.parametrize("scenario", ["Offline", "Server", "Interactive"])
def test_the_scenarios_are_valid(run: Callable[..., RunResult], engine: str, scenario: str) -> None:
    result = run(engine, scenario)
    assert result.verdict.valid, causes(result)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scenario", ["Offline", "Server"])
def test_answers_are_the_ids_that_the_engine_made_without_the_end(
    run: Callable[..., RunResult], engine: str, scenario: str
) -> None:
    result = run(engine, scenario, mode="accuracy")
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    rows = json.loads(tiny.data_path("llama3.1-8b.json").read_text(encoding="utf-8"))
    answers = log.as_arrays(np.dtype(np.int32))
    ends = set()
    assert sorted(log.qsl_indices) == list(range(SAMPLES))
    for row, answer in zip(log.qsl_indices, answers, strict=True):
        wanted, finish = ANSWER(rows[row]["tok_input"], CAP, LEAST, END)
        ends.add(finish)
        assert answer.tolist() == (wanted[:-1] if finish == "stop" else wanted)
        assert LEAST <= len(answer) <= CAP
    assert ends == {"stop", "length"}


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "scenario"), [("vllm-0.20.0", "Server"), ("trtllm-pytorch", "Offline")]
)
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("ended-early", "query-status", "ended an answer for the reason"),
        ("cancelled", "query-raised", "the engine cancelled a request"),
        ("over-cap", "query-tokens", "more than the 8 tokens"),
        ("no-tokens", "query-tokens", "an answer has 0 tokens"),
        ("two-ends", "query-tokens", "goes on after the id that ends it"),
    ],
)
def test_a_wrong_answer_fails_its_own_query(
    run: Callable[..., RunResult], engine: str, scenario: str, fault: str, code: str, words: str
) -> None:
    found = causes(run(engine, scenario, fault=fault))
    assert words in found[code]
    assert len([code for code in found if code.startswith("query-")]) == 1


@pytest.mark.parametrize(
    ("engine", "code", "words"),
    [
        ("vllm-0.20.0", "query-raised", "EngineGenerateError: out of memory"),
        ("trtllm-pytorch", "query-status", "TensorRT-LLM failed a request: out of memory"),
    ],
)
def test_a_request_that_the_engine_fails_fails_its_own_query(
    run: Callable[..., RunResult], engine: str, code: str, words: str
) -> None:
    found = causes(run(engine, fault="one-fails"))
    assert words in found[code]
    assert "(1 samples)" in found[code]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm-0.20.0", "vLLM's engine died: EngineCore encountered an issue"),
        ("trtllm-pytorch", "TensorRT-LLM's engine died: MPI worker rank 0 died"),
    ],
)
@pytest.mark.parametrize("scenario", ["Offline", "Server"])
def test_an_engine_that_dies_ends_the_test_with_one_error(
    run: Callable[..., RunResult], engine: str, words: str, scenario: str
) -> None:
    found = causes(run(engine, scenario, fault="dies"))
    told = [text for code, text in found.items() if code.startswith("query-")]
    assert len(told) == 1
    assert words in told[0]


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm-0.20.0", "vLLM cannot be loaded: RuntimeError: Engine core initialization failed"),
        ("trtllm-pytorch", "TensorRT-LLM cannot be loaded: RuntimeError: CUDA out of memory"),
    ],
)
def test_an_engine_that_cannot_be_made_is_told_of_before_the_test(
    run: Callable[..., RunResult], engine: str, words: str
) -> None:
    assert words in causes(run(engine, fault="construct"))["error"]


@pytest.mark.parametrize("engine", ["vllm-0.20.0", "trtllm-pytorch"])
def test_the_test_ends_at_the_first_failure_unless_told_otherwise(
    run: Callable[..., RunResult], engine: str
) -> None:
    found = causes(run(engine, fault="over-cap", stop_on_error=True))
    assert "more than the 8 tokens" in found["query-tokens"]


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("one-fails", "query-status", "Triton failed a request: out of memory (1 samples)"),
        ("nameless", "query-connection", "bad request"),
        ("breaks", "query-connection", "INTERNAL: out of memory"),
        ("silent", "query-timeout", "a request took more than 2 s"),
        ("malformed", "query-protocol", "has no output_ids and sequence_length"),
        ("over-cap", "query-tokens", "more than the 8 tokens"),
        ("no-tokens", "query-tokens", "an answer has 0 tokens"),
        ("dies", "query-connection", "UNAVAILABLE"),
    ],
)
def test_what_triton_does_wrong_is_told_by_the_verdict(
    run: Callable[..., RunResult], fault: str, code: str, words: str
) -> None:
    assert words in causes(run("triton", "Server", fault=fault))[code]


def test_a_triton_without_the_model_is_waited_for_and_given_up(
    run: Callable[..., RunResult],
) -> None:
    result = run("triton", model="other", ready_timeout=1.0)
    assert "Triton's model 'other' did not become ready in 1 s" in causes(result)["error"]


def test_requests_are_shared_by_the_servers(run: Callable[..., RunResult]) -> None:
    with TritonServer(ANSWER) as one, TritonServer(ANSWER) as other:
        result = run("triton", urls=[one.address, other.address])
        assert result.verdict.valid, causes(result)
        assert one.answered > 0
        assert other.answered > 0


def test_the_tiny_variants_own_model_is_refused_with_a_remedy(
    run: Callable[..., RunResult],
) -> None:
    found = causes(run("vllm-0.20.0", checkpoint=None))
    assert "which this engine does not read" in found["error"]
