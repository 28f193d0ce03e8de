"""What a system of given rates would do: for ``mlpinf plan``, in the model's own time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mlpinf_core.benchmark import Estimate
from mlpinf_llm.simulator.model import Arrival, Cluster, capacity, output_lengths

if TYPE_CHECKING:
    from mlpinf_core.config.schema import Config
    from mlpinf_core.vocabulary import Scenario
    from mlpinf_llm.simulator.settings import SimulatorSettings

_QUERIES: Final = 3000
"""Queries that a rate is tried with."""
_ROUNDS: Final = 8
"""Halvings of the interval in which the rate is sought."""


def estimate(config: Config, scenario: Scenario) -> Estimate | None:
    """Throughput and, for Server and Interactive, the highest rate that keeps the limits.

    None where the lengths of prompts are not given (``backend.prompt_tokens``).
    """
    settings: SimulatorSettings = config.backend
    if settings.prompt_tokens is None:
        return None
    cap = config.benchmark.max_output_tokens
    least = config.benchmark.min_output_tokens
    outputs = output_lengths(settings, _QUERIES, least, cap)
    able = capacity(settings, settings.prompt_tokens, float(outputs.mean()), cap)
    if not scenario.is_poisson:
        return Estimate(samples_per_second=able.requests)
    limits = (config.loadgen.ttft_ms, config.loadgen.tpot_ms)
    low, high = 0.0, able.requests
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        ttft, tpot = p99(settings, middle, outputs, cap)
        good = all(
            limit is None or 1000 * found <= limit
            for found, limit in zip((ttft, tpot), limits, strict=True)
        )
        low, high = (middle, high) if good else (low, middle)
    return Estimate(samples_per_second=able.requests, target_qps=low or None)


def p99(
    settings: SimulatorSettings, qps: float, outputs: np.typing.NDArray[np.int64], cap: int
) -> tuple[float, float]:
    """The 99th percentiles of TTFT and TPOT, in seconds, at a rate of Poisson arrivals."""
    count = len(outputs)
    arrivals = np.cumsum(np.random.default_rng(settings.seed).exponential(1 / qps, count)).tolist()
    prompt = round(settings.prompt_tokens or 1)
    lengths = outputs.tolist()
    cluster = Cluster(settings, cap)
    first = np.zeros(count)
    last = np.zeros(count)
    position = 0
    while position < count or cluster.load:
        ends = cluster.next
        if position < count and (ends is None or arrivals[position] <= ends):
            now = arrivals[position]
            cluster.submit(Arrival(position, prompt, lengths[position]), now)
            position += 1
            continue
        step = cluster.end_step()
        first[step.first] = step.ends
        last[step.finished] = step.ends
    ttft = first - np.array(arrivals)
    tpot = (last - first) / np.maximum(outputs - 1, 1)
    return float(np.quantile(ttft, 0.99)), float(np.quantile(tpot, 0.99))
