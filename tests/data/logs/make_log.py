"""Runs LoadGen once against a synthetic system whose capacity is known; leaves LoadGen's logs.

    python make_log.py '{"out": "/tmp/log", "scenario": "Server", "target_qps": 200}'

LoadGen keeps process-wide state and dies of an exception in a callback, so the tests start this
in a child process. The system works on a virtual clock: each query's end follows from its arrival
and from its forerunners' ends, never from how late a thread woke up, so that a busy machine
shifts single latencies and never the capacity.

Models of the system (``model``):
    ``fifo``: ``servers`` servers, first come first served; a query takes ``service_ms``, or an
        exponentially distributed time of that mean (``exponential``). Capacity: servers / service.
    ``steps``: a language model that decodes in steps, all active sequences at once; a step of b
        sequences takes ``step_ms + b * sequence_ms``; at most ``max_batch`` at once.
"""

from __future__ import annotations

import array
import heapq
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlperf_loadgen as lg

DEFAULTS: dict[str, Any] = {
    "scenario": "Offline", "mode": "PerformanceOnly", "tokens": False, "samples": 16,
    "performance_samples": 0, "target_qps": 100.0, "min_duration_ms": 0, "min_queries": 1,
    "max_queries": 0, "max_duration_ms": 0, "expected_ms": 1.0, "samples_per_query": 8,
    "latency_ms": 100.0, "ttft_ms": 100.0, "tpot_ms": 100.0, "percentile": 0.0,
    "seeds": [11, 22, 33], "equal_issue": False, "log_probability": 0.0,
    "model": "fifo", "servers": 1, "service_ms": 1.0, "exponential": False,
    "step_ms": 1.0, "sequence_ms": 0.1, "max_batch": 64, "tokens_per_sample": 4, "fault": "",
}  # fmt: skip


class System:
    """The synthetic system: takes samples as they come, completes each at its virtual end."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.wake = threading.Condition()
        self.waiting: list[tuple[float, int, int]] = []
        self.buffers: list[array.array[int]] = []
        self.free = [0.0] * spec["servers"]
        self.events: list[tuple[float, int, int, int]] = []
        self.rng = random.Random(5)
        self.faulty = spec["fault"]
        target = self.run_steps if spec["model"] == "steps" else self.run_fifo
        threading.Thread(target=target, daemon=True).start()

    def issue(self, samples: list[Any]) -> None:
        now = time.perf_counter()
        with self.wake:
            self.waiting.extend((now, s.id, s.index) for s in samples)
            self.wake.notify()

    def response(self, id_: int, index: int, count: int) -> Any:
        data = array.array("i", range(index, index + count))
        self.buffers.append(data)
        address, _ = data.buffer_info()
        args = (id_, address, 4 * count)
        return lg.QuerySampleResponse(*args, count) if self.spec["tokens"] else (
            lg.QuerySampleResponse(*args))  # fmt: skip

    def first(self, id_: int, index: int) -> None:
        if self.spec["tokens"] and self.spec["scenario"] != "Offline":
            if self.faulty == "no_first_token":
                self.faulty = ""
                return
            lg.FirstTokenComplete([self.response(id_, index, 1)])

    def complete(self, id_: int, index: int) -> None:
        answer = self.response(id_, index, self.spec["tokens_per_sample"])
        lg.QuerySamplesComplete([answer])
        if self.faulty == "twice":
            self.faulty = ""
            lg.QuerySamplesComplete([answer])

    def run_fifo(self) -> None:
        mean = self.spec["service_ms"] / 1e3
        while True:
            with self.wake:
                while not self.waiting:
                    left = self.events[0][0] - time.perf_counter() if self.events else None
                    if left is not None and left <= 0:
                        break
                    self.wake.wait(left)
                arrived, self.waiting = self.waiting, []
            for when, id_, index in arrived:
                start = max(when, heapq.heappop(self.free))
                took = self.rng.expovariate(1 / mean) if self.spec["exponential"] else mean
                heapq.heappush(self.free, start + took)
                heapq.heappush(self.events, (start + took / 4, 0, id_, index))
                heapq.heappush(self.events, (start + took, 1, id_, index))
            while self.events and self.events[0][0] <= time.perf_counter():
                _, last, id_, index = heapq.heappop(self.events)
                (self.complete if last else self.first)(id_, index)

    def run_steps(self) -> None:
        spec = self.spec
        active: list[list[int]] = []
        end = 0.0
        while True:
            with self.wake:
                while not self.waiting and not active:
                    self.wake.wait()
                    end = time.perf_counter()
                room = spec["max_batch"] - len(active)
                joining, self.waiting = self.waiting[:room], self.waiting[room:]
            active += [[id_, index, 0] for _, id_, index in joining]
            end += (spec["step_ms"] + len(active) * spec["sequence_ms"]) / 1e3
            time.sleep(max(0.0, end - time.perf_counter()))
            for sequence in active:
                sequence[2] += 1
                if sequence[2] == 1:
                    self.first(sequence[0], sequence[1])
                elif sequence[2] == spec["tokens_per_sample"]:
                    self.complete(sequence[0], sequence[1])
            active = [s for s in active if s[2] < spec["tokens_per_sample"]]


def settings(spec: dict[str, Any]) -> Any:
    s = lg.TestSettings()
    s.scenario = getattr(lg.TestScenario, spec["scenario"])
    s.mode = getattr(lg.TestMode, spec["mode"])
    s.server_target_qps = s.offline_expected_qps = float(spec["target_qps"])
    s.min_duration_ms, s.max_duration_ms = spec["min_duration_ms"], spec["max_duration_ms"]
    s.min_query_count, s.max_query_count = spec["min_queries"], spec["max_queries"]
    s.single_stream_expected_latency_ns = s.multi_stream_expected_latency_ns = int(
        spec["expected_ms"] * 1e6
    )
    s.multi_stream_samples_per_query = spec["samples_per_query"]
    s.server_target_latency_ns = int(spec["latency_ms"] * 1e6)
    if spec["percentile"]:
        s.server_target_latency_percentile = spec["percentile"]
    s.ttft_latency, s.tpot_latency = int(spec["ttft_ms"] * 1e6), int(spec["tpot_ms"] * 1e6)
    s.use_token_latencies = spec["tokens"]
    s.qsl_rng_seed, s.sample_index_rng_seed, s.schedule_rng_seed = spec["seeds"]
    if spec["equal_issue"]:  # the binding of 5.1.2 does not have this field
        s.sample_concatenate_permutation = True
    s.accuracy_log_probability = spec["log_probability"]
    return s


def main(text: str) -> None:
    spec = DEFAULTS | json.loads(text)
    Path(spec["out"]).mkdir(parents=True, exist_ok=True)
    system = System(spec)
    sut = lg.ConstructSUT(system.issue, lambda: None)
    count = spec["performance_samples"] or spec["samples"]
    qsl = lg.ConstructQSL(spec["samples"], count, lambda _: None, lambda _: None)
    logs = lg.LogSettings()
    logs.log_output.outdir = spec["out"]
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    lg.StartTestWithLogSettings(sut, qsl, settings(spec), logs, "no-audit.config")
    lg.DestroyQSL(qsl)
    lg.DestroySUT(sut)


if __name__ == "__main__":
    main(sys.argv[1])
