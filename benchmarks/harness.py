"""The harness's own speed: each figure a ratio to the bare thing, measured side by side.

    python benchmarks/harness.py [--repeats 5] [--only offline,server,...] [--json FILE]

Every pair is measured alternately, ``--repeats`` times, and the ratio is that of the medians, so
that a machine that slows down for a while slows both. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from figures import Figure, json_of, median, pairs, print_head, print_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
OFFLINE_SAMPLES = 2_000_000
SERVER_QPS = 50_000
SECONDS = 10
LLM_SAMPLES = 330
MLPINF = [sys.executable, "-c", "from mlpinf_core.cli import main; main()"]


def bare(
    scenario: str, *, queries: int = 1, seconds: float = 0, qps: float = 1.0
) -> dict[str, Any]:
    """The bare binding."""
    command = [sys.executable, str(HERE / "bare_loadgen.py"), scenario, "--qps", str(qps)]
    return json_of([*command, "--queries", str(queries), "--seconds", str(seconds)])


def ours(name: str, scenario: str, *settings: str, variant: str | None = None) -> dict[str, Any]:
    """A performance run through the whole stack: its result, its log's values, its peak memory.

    It is made by a process of its own, so that the peak memory of that process's children is the
    run's and no other's.
    """
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, str(HERE / "harness.py"), "--one", name, scenario, output]
        command += ["--variant", variant] if variant else []
        return json_of([*command, *(f"--set={setting}" for setting in settings)])


def one(name: str, scenario: str, output: Path, variant: str | None, settings: list[str]) -> None:
    """What ``--one`` does: run, and print what LoadGen logged."""
    command = [*MLPINF, "run", name, "--scenarios", scenario, "--mode", "performance", "--json"]
    command += ["--output", str(output), *(["--variant", variant] if variant else [])]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    result = json.loads(done.stdout)
    if "runs" not in result:
        raise SystemExit(done.stderr)
    run = result["runs"][0]
    directory = Path(run["directory"])
    causes = "; ".join(cause["message"] for cause in run["verdict"]["causes"])
    log = directory / "mlperf_log_detail.txt"
    if not log.is_file():  # the run's directory is about to go
        said = (directory / "child.log").read_text(errors="replace").splitlines()
        raise SystemExit("\n".join([*said[-40:], f"no test was made: {causes}"]))
    values: dict[str, Any] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        if isinstance(entry["value"], int | float | str):
            values[entry["key"]] = entry["value"]
    values["valid"] = run["verdict"]["valid"]
    values["causes"] = causes
    values["peak_memory_kib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps(values))


def offline(repeats: int) -> Iterator[Figure]:
    """2,000,000 samples in one query."""
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "null",
            "Offline",
            "loadgen.min_duration=0",
            f"loadgen.min_query_count={OFFLINE_SAMPLES}",
            "loadgen.target_qps=1",
        ),
        lambda: bare("Offline", queries=OFFLINE_SAMPLES),
    )
    key = "result_samples_per_second"
    a, b = median(mine, key), median(theirs, key)
    yield Figure("Offline, samples/s", f"{a:,.0f}", f"{b:,.0f}", a / b, "≥ 0.8", a / b >= 0.8)
    a, b = median(mine, "peak_memory_kib"), median(theirs, "peak_memory_kib")
    yield Figure(
        "Offline, peak memory, MiB", f"{a / 1024:,.0f}", f"{b / 1024:,.0f}", a / b, "≤ 1.2",
        a / b <= 1.2,
    )  # fmt: skip


def server(repeats: int) -> Iterator[Figure]:
    """50,000 queries a second."""
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "null",
            "Server",
            f"loadgen.min_duration={SECONDS}",
            f"loadgen.target_qps={SERVER_QPS}",
        ),
        lambda: bare("Server", seconds=SECONDS, qps=SERVER_QPS),
    )
    valid = sum(bool(run["valid"]) for run in mine)
    theirs_valid = sum(run["result_validity"] == "VALID" for run in theirs)
    yield Figure(
        f"Server at {SERVER_QPS:,} QPS, VALID runs", f"{valid} of {repeats}",
        f"{theirs_valid} of {repeats}", valid / repeats, "all", valid == repeats,
    )  # fmt: skip
    key = "result_99.00_percentile_latency_ns"
    a, b = median(mine, key) / 1000, median(theirs, key) / 1000
    yield Figure("Server, p99, µs", f"{a:,.1f}", f"{b:,.1f}", a / b, "≤ 2", a / b <= 2)


def stream(repeats: int) -> Iterator[Figure]:
    """One query after the other."""
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "null",
            "SingleStream",
            f"loadgen.min_duration={SECONDS}",
            "loadgen.target_latency_ms=0.001",
        ),
        lambda: bare("SingleStream", seconds=SECONDS),
    )
    key = "result_90.00_percentile_latency_ns"
    a, b = median(mine, key) / 1000, median(theirs, key) / 1000
    yield Figure("SingleStream, p90, µs", f"{a:.2f}", f"{b:.2f}", a, "< 10 µs", a < 10)


def llm(repeats: int) -> Iterator[Figure]:
    """The tiny language model against its engine called directly."""
    direct = [sys.executable, str(HERE / "direct_engine.py"), "--queries", str(LLM_SAMPLES)]
    mine, theirs = pairs(
        repeats,
        lambda: ours(
            "llama3.1-8b",
            "Offline",
            "loadgen.min_duration=0",
            f"loadgen.min_query_count={LLM_SAMPLES}",
            "loadgen.target_qps=1",
            variant="tiny",
        ),
        lambda: json_of(direct),
    )
    a, b = median(mine, "result_tokens_per_second"), median(theirs, "tokens_per_second")
    yield Figure(
        "tiny llama3.1-8b Offline, tokens/s", f"{a:.1f}", f"{b:.1f}", a / b, "≥ 0.97", a / b >= 0.97
    )


def start(repeats: int) -> Iterator[Figure]:
    """From the command to the first query of a prepared tiny run."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as output:
            began = time.time()
            subprocess.run(
                [*MLPINF, "run", "llama3.1-8b", "--variant", "tiny", "--scenarios", "Offline",
                 "--mode", "performance", "--output", output, "--min-duration", "0",
                 "--set", "loadgen.target_qps=1"],
                check=False, capture_output=True,
            )  # fmt: skip
            events = next(Path(output).rglob("events.jsonl")).read_text().splitlines()
            running = [e for e in map(json.loads, events) if e.get("name") == "running"]
            seconds.append(running[0]["time"] - began)
    value = statistics.median(seconds)
    yield Figure(
        "`mlpinf run` to the first query, s", f"{value:.2f}", "", value, "< 4 s", value < 4
    )


def help_(repeats: int) -> Iterator[Figure]:
    """``mlpinf --help`` against importing click."""

    def timed(command: list[str]) -> dict[str, Any]:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return {"seconds": time.perf_counter() - began}

    mlpinf = Path(sys.executable).with_name("mlpinf")
    mine, theirs = pairs(
        4 * repeats,
        lambda: timed([str(mlpinf), "--help"]),
        lambda: timed([sys.executable, "-c", "import click"]),
    )
    a, b = median(mine, "seconds"), median(theirs, "seconds")
    yield Figure(
        "`mlpinf --help` against `import click`, s",
        f"{a:.3f}",
        f"{b:.3f}",
        a / b,
        "≤ 3",
        a / b <= 3,
    )


PARTS: dict[str, Callable[[int], Iterator[Figure]]] = {
    "offline": offline,
    "server": server,
    "stream": stream,
    "llm": llm,
    "start": start,
    "help": help_,
}


def main() -> None:
    """Measure, print a table, and end with 0 whatever was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SCENARIO", "OUTPUT"))
    parser.add_argument("--variant")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    if arguments.one:
        name, scenario, output = arguments.one
        one(name, scenario, Path(output), arguments.variant, arguments.settings)
        return
    print_head(arguments.repeats)
    figures = []
    for part in arguments.only.split(","):
        for figure in PARTS[part](arguments.repeats):
            figures.append(attrs.asdict(figure))
            print_row(figure)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
