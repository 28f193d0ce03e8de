"""The tiny variant through real LoadGen, in this process's children."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core import api
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_rgat.synthetic import SyntheticGraph

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.results import RunResult

PAPERS = 20_000


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("scratch")
        patch.setenv("MLPERF_SCRATCH_PATH", str(folder))
        yield folder


def run(
    output: Path, *, mode: str = "accuracy", scenario: str = "Offline", sut: Any = None,
    backend: Any = None, loadgen: Any = None, **benchmark: Any,
) -> RunResult:  # fmt: skip
    settings = {
        "benchmark": benchmark,
        "backend": backend or {},
        "sut": sut or {},
        "loadgen": {
            "min_duration": 0,
            "target_qps": 50,
            "target_latency_ms": 20,
            **(loadgen or {}),
        },
    }
    return api.run(
        "rgat", scenarios=scenario, modes=mode, variant="tiny", settings=settings, output=output
    ).runs[0]


def answers(result: RunResult) -> dict[int, int]:
    log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
    values = [int(array[0]) for array in log.as_arrays(np.dtype(np.int64))]
    return dict(zip(log.qsl_indices.tolist(), values, strict=True))


@pytest.mark.slow
def test_offline_classifies_every_paper_within_the_limits(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.ok, result.verdict
    assert result.accuracy is not None
    assert result.accuracy.passed
    found = answers(result)
    assert sorted(found) == list(range(PAPERS // 10))
    assert max(found.values()) > 255
    assert len(set(found.values())) >= 300


@pytest.mark.slow
def test_every_scenario_and_every_batch_size_gives_each_paper_the_same_class(
    tmp_path: Path,
) -> None:
    small = {"paper_nodes": 2000}
    runs = [
        run(tmp_path / "1", **small),
        run(tmp_path / "2", **small, sut={"max_batch_size": 7}),
        run(tmp_path / "3", **small, scenario="SingleStream"),
        run(tmp_path / "4", **small, backend={"devices": 2}),
    ]
    first, *others = [answers(result) for result in runs]
    assert all(other == first for other in others)


@pytest.mark.slow
def test_another_run_logs_the_very_same_bytes_for_each_paper_as_test01_wants(
    tmp_path: Path,
) -> None:
    payloads = []
    for name, size in (("a", 1024), ("b", 33)):
        result = run(tmp_path / name, paper_nodes=2000, sut={"max_batch_size": size})
        log = AccuracyLog.read(result.directory / "mlperf_log_accuracy.json")
        payloads.append(dict(zip(log.qsl_indices.tolist(), log.payloads(), strict=True)))
    assert payloads[0] == payloads[1]
    assert {len(payload) for payload in payloads[0].values()} == {8}


@pytest.mark.slow
def test_a_second_run_generates_and_prepares_nothing(tmp_path: Path, scratch: Path) -> None:
    run(tmp_path / "1", paper_nodes=2000)
    before = {path: path.stat().st_mtime_ns for path in scratch.rglob("*.npy")}
    second = run(tmp_path / "2", paper_nodes=2000)
    assert before == {path: path.stat().st_mtime_ns for path in scratch.rglob("*.npy")}
    assert "building" not in (second.directory / "events.jsonl").read_text()


@pytest.mark.slow
def test_a_worker_process_that_is_killed_makes_the_run_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    stop = threading.Event()

    def kill_a_worker() -> None:
        """Find a worker by its command and its ancestry, once the test is running."""
        while not stop.wait(0.05):
            events = list(tmp_path.rglob("events.jsonl"))
            if not any('"running"' in path.read_text() for path in events):
                continue
            for pid in descendants(os.getpid()):
                if b"spawn_main" in command_of(pid):
                    os.kill(pid, signal.SIGKILL)
                    return

    killer = threading.Thread(target=kill_a_worker, daemon=True)
    killer.start()
    result = run(
        tmp_path, mode="performance", backend={"devices": 2}, paper_nodes=2000,
        sut={"max_batch_size": 16}, loadgen={"min_duration": 30, "target_qps": 2000},
    )  # fmt: skip
    stop.set()
    killer.join()
    assert not result.verdict.valid
    assert "was ended by signal 9" in causes(result)


def causes(result: RunResult) -> str:
    return "; ".join(cause.message for cause in result.verdict.causes)


def command_of(pid: int) -> bytes:
    from pathlib import Path

    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[int]:
    from pathlib import Path

    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "fos/node_feat.npy").unlink(), "the graph lacks 1 of 13 parts"),
        (
            lambda f: np.save(f / "paper__topic__fos/edge_index.npy", np.array([[0, 10**6]])),
            "an edge of paper__topic__fos leads to fos 1000000",
        ),
    ],
)
def test_a_damaged_graph_ends_before_loadgen_starts_with_one_clear_error(
    damage: Any, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    SyntheticGraph(papers=500).write(folder)
    damage(folder)
    result = run(tmp_path / "out", data_path=str(folder))
    assert not result.verdict.valid
    assert message in causes(result)
    assert not list(tmp_path.rglob("mlperf_log_detail.txt"))


@pytest.mark.slow
def test_a_graph_that_was_prepared_elsewhere_is_used_as_it_is(
    tmp_path: Path, scratch: Path
) -> None:
    first = run(tmp_path / "1", paper_nodes=2000, features="float16")
    (prepared,) = (scratch / "preprocessed_data").glob("igbh-float16-*")
    second = run(tmp_path / "2", graph_path=str(prepared), features="float16")
    assert answers(second) == answers(first)


@pytest.mark.slow
def test_preparing_that_failed_leaves_what_it_had_for_the_next_attempt(
    tmp_path: Path, scratch: Path
) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    SyntheticGraph(papers=600).write(folder)
    venue = folder / "paper__venue__conference/edge_index.npy"
    good = np.load(venue)
    bad = good.copy()
    bad[3, 1] = 10**6
    np.save(venue, bad)
    result = run(tmp_path / "1", data_path=str(folder), features="float16")
    assert "leads to conference 1000000" in causes(result)
    left = {path.name for path in scratch.rglob(".igbh-*/*")}
    assert {"cites.indices.npy", "validation.npy"} <= left
    assert "venue.indices.npy" not in left
