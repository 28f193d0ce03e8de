"""The endpoint client's speed beside its peers', against one server that does nothing.

    python benchmarks/endpoint.py [--repeats 3] [--endpoints PYTHON] [--aiperf BINARY]
                                  [--tokenizer DIRECTORY] [--only rate,latency,memory] [--json FILE]

The server has one core, the client and LoadGen the other; 64 requests are on their way at the same
time. ``--endpoints`` is the Python of an environment with mlcommons/endpoints, ``--aiperf`` the
program of one with AIPerf 0.13, and ``--tokenizer`` a directory with the tokenizer that it wants.

Rates are told twice: a second, and a processor second of the client's processes, which does not
depend on what else the machine does. The peers' start-up is taken out by the difference between a
long and a short run; ours is what the client's log says of the test itself, LoadGen included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from figures import Figure, print_head, print_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
MLPINF = [sys.executable, "-c", "from mlpinf_core.cli import main; main()"]
CONCURRENCY = 64
ON_SERVER_CORE, ON_CLIENT_CORE = ["taskset", "-c", "1"], ["taskset", "-c", "0"]
_SAID = re.compile(
    r"(\d+) requests in ([\d.]+) s, .*; processor seconds: ([\d.]+) of its thread, ([\d.]+) in all"
)


@attrs.frozen
class Rate:
    """Requests a second, and a processor second of the client."""

    wall: float
    processor: float


@contextlib.contextmanager
def no_op_server(*options: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The server's port, and, afterwards, what it has to say."""
    command = [*ON_SERVER_CORE, sys.executable, str(HERE / "endpoint_server.py"), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said: dict[str, Any] = {}
    assert server.stdout is not None
    try:
        yield json.loads(server.stdout.readline())["port"], said
    finally:
        server.send_signal(signal.SIGTERM)
        said |= json.loads(server.communicate()[0])


def run(port: int, scenario: str, **settings: Any) -> tuple[Path, float]:
    """A performance run of ours; its directory, and the peak memory of its processes in KiB."""
    output = tempfile.mkdtemp()
    given = {
        "run.backend": "openai",
        "backend.urls": json.dumps([f"http://127.0.0.1:{port}"]),
        "backend.connections": CONCURRENCY,
        "benchmark.max_output_tokens": 16,
        "loadgen.min_duration": 0,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    command = [*ON_CLIENT_CORE, *MLPINF, "run", "llama3.1-8b", "--variant", "tiny", "--scenarios",
               scenario, "--mode", "performance", "--json", "--output", output]  # fmt: skip
    for key, value in given.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = json.loads(done.stdout)["runs"][0]
    bad = [c for c in found["verdict"]["causes"] if c["code"].startswith(("query", "error"))]
    if bad:
        raise SystemExit(f"{bad}\n{done.stderr}")
    return Path(found["directory"]), found.get("peak", 0.0)


def ours(port: int, *, stream: bool, count: int) -> Rate:
    # Offline takes no first tokens; Server does, at a rate that is beyond every client.
    more: dict[str, Any] = {"loadgen__target_qps": 50_000} if stream else {}
    directory, _ = run(
        port,
        "Server" if stream else "Offline",
        **{"loadgen__target_qps": 1, **more, "loadgen__min_query_count": count},
    )
    said = _SAID.findall((directory / "child.log").read_text())[-1]
    requests, wall, _, processor = (float(number) for number in said)
    return Rate(requests / wall, requests / processor)


def difference(one: Callable[[bool], tuple[float, float, float]]) -> Rate:
    """The rate of a peer: a long run (True) less a short one."""
    (a, wall_a, cpu_a), (b, wall_b, cpu_b) = one(False), one(True)
    return Rate((b - a) / (wall_b - wall_a), (b - a) / (cpu_b - cpu_a))


def processor_seconds(command: list[str], cwd: str | None = None) -> tuple[str, float]:
    """What a command prints, and the processor seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, used


def endpoints(python: str, port: int, *, stream: bool) -> Rate:
    """mlcommons/endpoints' own benchmark of its client, with one worker."""

    def one(long: bool) -> tuple[float, float, float]:
        command = [*ON_CLIENT_CORE, python, "-m", "inference_endpoint.utils.benchmark_httpclient",
                   "--endpoint", f"http://127.0.0.1:{port}/v1/chat/completions", "--no-pin",
                   "-w", "1", "-d", "8" if long else "2", "--max-concurrency", str(CONCURRENCY),
                   *(["--stream"] if stream else [])]  # fmt: skip
        text, used = processor_seconds(command)
        count = float(re.findall(r"Total Recv: +([\d,]+)", text)[-1].replace(",", ""))
        if float(re.findall(r"Errors: +([\d,]+)", text)[-1].replace(",", "")):
            raise SystemExit(text)
        return count, float(re.findall(r"Total Duration: +([\d.]+)s", text)[-1]), used

    return difference(one)


def aiperf(program: str, tokenizer: str, port: int, *, stream: bool) -> Rate:
    """AIPerf, told to believe the server's token counts."""

    def one(long: bool) -> tuple[float, float, float]:
        with tempfile.TemporaryDirectory() as directory:
            command = [*ON_CLIENT_CORE, program, "profile", "-m", "noop", "--url",
                       f"http://127.0.0.1:{port}", "--endpoint-type", "chat", "--tokenizer",
                       tokenizer, "--concurrency", str(CONCURRENCY), "--request-count",
                       "6000" if long else "1000", "--use-server-token-count", "--ui", "none",
                       "--synthetic-input-tokens-mean", "200", "--output-artifact-dir", directory,
                       *(["--streaming"] if stream else [])]  # fmt: skip
            _, used = processor_seconds(command, cwd=directory)
            (path,) = Path(directory).rglob("profile_export_aiperf.json")
            said = json.loads(path.read_text())
        count = said["request_count"]["avg"]
        return count, count / said["request_throughput"]["avg"], used

    return difference(one)


def rates(given: argparse.Namespace) -> Iterator[Figure]:
    """Ours and the peers', alternately."""
    for stream in (False, True):
        what = "streams of 16 chunks" if stream else "whole responses"
        contenders: dict[str, Callable[[int], Rate]] = {
            "ours": lambda port, s=stream: ours(port, stream=s, count=given.count)
        }
        if given.endpoints:
            contenders["endpoints"] = lambda port, s=stream: endpoints(
                given.endpoints, port, stream=s
            )
        if given.aiperf:
            contenders["AIPerf"] = lambda port, s=stream: aiperf(
                given.aiperf, given.tokenizer, port, stream=s
            )
        found: dict[str, list[Rate]] = {name: [] for name in contenders}
        with no_op_server() as (port, _):
            for _ in range(given.repeats):
                for name, measure in contenders.items():
                    found[name].append(measure(port))
        for unit in ("processor", "wall"):
            each = {
                name: statistics.median(getattr(rate, unit) for rate in rates)
                for name, rates in found.items()
            }
            seconds = "client processor second" if unit == "processor" else "second"
            for peer, target in (("endpoints", 1.25), ("AIPerf", 10.0)):
                if peer in each:
                    ratio = each["ours"] / each[peer]
                    yield Figure(
                        f"{what} a {seconds}, beside {peer}", f"{each['ours']:,.0f}",
                        f"{each[peer]:,.0f}", ratio, f"≥ {target:g}", ratio >= target,
                    )  # fmt: skip
            if len(each) == 1:
                yield Figure(
                    f"{what} a {seconds}", f"{each['ours']:,.0f}", "", each["ours"], "", True
                )


def detail(directory: Path) -> dict[str, Any]:
    """The values of LoadGen's log."""
    lines = (directory / "mlperf_log_detail.txt").read_text().splitlines()
    entries = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    return {entry["key"]: entry["value"] for entry in entries}


def latency(given: argparse.Namespace) -> Iterator[Figure]:
    """What the client adds at 20 requests a second to a server of known times."""
    with no_op_server("--delay-ms", "20") as (port, true):
        directory, _ = run(
            port,
            "Server",
            loadgen__target_qps=20,
            loadgen__min_query_count=800,
            loadgen__min_duration=given.seconds,
            loadgen__ttft_ms=1000,
            loadgen__tpot_ms=1000,
        )
    values = detail(directory)
    for name, key, times in (
        ("TTFT", "result_first_token_{}_percentile_latency_ns", true["first"]),
        ("end to end", "result_{}_percentile_latency_ns", true["whole"]),
    ):
        known = sorted(times[4:])  # the warm-up's come first
        for percentile, text, target in ((0.5, "50.00", 1.5), (0.99, "99.00", 5.0)):
            mine = values[key.format(text)] / 1e6
            real = 1000 * known[min(len(known) - 1, int(percentile * len(known)))]
            added = mine - real
            yield Figure(
                f"{name} at 20 requests/s, p{percentile * 100:.0f}, ms", f"{mine:.2f}",
                f"{real:.2f}", added, f"≤ {target:g} added", added <= target,
            )  # fmt: skip


def memory(given: argparse.Namespace) -> Iterator[Figure]:
    """Bytes of an open request, by the difference between 200,000 and few of them."""
    del given
    peaks = {}
    with no_op_server() as (port, _):
        for count in (1000, 200_000):
            command = [sys.executable, __file__, "--open", str(port), str(count)]
            peaks[count] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    each = (peaks[200_000] - peaks[1000]) * 1024 / 199_000
    yield Figure(
        "peak memory of each of 200,000 open requests, bytes", f"{each:,.0f}", "", each, "< 4,096",
        each < 4096,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--count", type=int, default=100_000, help="requests of each run of ours")
    parser.add_argument("--seconds", type=float, default=40, help="length of the latency run")
    parser.add_argument("--endpoints", help="Python of an environment with mlcommons/endpoints")
    parser.add_argument("--aiperf", help="the program aiperf")
    parser.add_argument("--tokenizer", default="builtin", help="for AIPerf")
    parser.add_argument("--only", default="rate,latency,memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--open", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.open:
        port, count = given.open
        run(port, "Offline", loadgen__target_qps=1, loadgen__min_query_count=count)
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        return
    parts = {"rate": rates, "latency": latency, "memory": memory}
    print_head(given.repeats)
    figures = []
    for name in given.only.split(","):
        for figure in parts[name](given):
            print_row(figure)
            figures.append(attrs.asdict(figure))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
