"""The bare LoadGen binding doing what the ``null`` benchmark does: the measure of the harness.

A data set of indices, each answered with itself as int64. Prints one JSON object: what LoadGen
measured, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from array import array
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg

CHUNK = 8192
SAMPLES = 1024


def issue(ids: list[int], indices: list[int]) -> None:
    """Answer a query, a chunk of responses a call."""
    answers = array("q", indices)
    address, _ = answers.buffer_info()
    response = lg.QuerySampleResponse
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        lg.QuerySamplesComplete(
            [response(id_, address + 8 * n, 8) for n, id_ in enumerate(chunk, start)]
        )


def settings_of(scenario: str, *, queries: int, seconds: float, qps: float) -> Any:
    """LoadGen's settings for one test of a given size."""
    settings = lg.TestSettings()
    settings.FromConfig("", "null", scenario, 0)
    settings.scenario = getattr(lg.TestScenario, scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1000 * seconds)
    settings.min_query_count = queries
    settings.offline_expected_qps = 0
    settings.server_target_qps = qps
    settings.server_target_latency_ns = 10_000_000
    settings.single_stream_expected_latency_ns = 1000
    return settings


def run(scenario: str, directory: Path, *, queries: int, seconds: float, qps: float) -> None:
    """One test; its logs go to the directory."""
    sut = lg.ConstructFastSUT(issue, lambda: None)
    qsl = lg.ConstructQSL(SAMPLES, SAMPLES, lambda _: None, lambda _: None)
    log = lg.LogSettings()
    log.enable_trace = False
    log.log_output.outdir = str(directory)
    settings = settings_of(scenario, queries=queries, seconds=seconds, qps=qps)
    lg.StartTestWithLogSettings(sut, qsl, settings, log, str(directory / "audit.config"))


def main() -> None:
    """Run the test that the arguments describe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--queries", type=int, default=1, help="at least")
    parser.add_argument("--seconds", type=float, default=0.0, help="at least")
    parser.add_argument("--qps", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(
            arguments.scenario,
            Path(directory),
            queries=arguments.queries,
            seconds=arguments.seconds,
            qps=arguments.qps,
        )
        values = {}
        for line in (Path(directory) / "mlperf_log_detail.txt").read_text().splitlines():
            entry = json.loads(line.removeprefix(":::MLLOG "))
            values[entry["key"]] = entry["value"]
    values["peak_memory_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({k: v for k, v in values.items() if isinstance(v, int | float | str)}))


if __name__ == "__main__":
    main()
