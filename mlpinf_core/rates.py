"""The rate of a run where none is configured: measured in a short pass, corrected by a run.

A measured pass is short, and machines become slower and faster. So a run whose measured rate proved
wrong, and nothing else, is made once more at the rate that its own log suggests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core import preflight
from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import LogError
from mlpinf_core.logs.capacity import passing_qps
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.config.schema import Config
    from mlpinf_core.verdict import Verdict

OFFLINE_HEADROOM: Final = preflight.OFFLINE_HEADROOM
"""Offline is told of more samples a second than were measured: too many make the run longer than
its least duration, too few make it too short and so INVALID."""

STREAM_HEADROOM: Final = 0.5
"""LoadGen draws as many queries as the expected latency lets it; too few end the run early."""

_STEP: Final = 0.8
"""A Server rate that missed its latency is lowered by that at least."""

_RATE_CAUSES: Final = frozenset({"performance-constraint", "early-stopping"})


@attrs.frozen
class Rate:
    """What a backend does.

    Attributes:
        value: samples a second; in a stream, queries a second.
        origin: how it was found, for the configuration's origins.
    """

    value: float
    origin: str

    def layer(self, scenario: Scenario, config: Config) -> Layer:
        """The setting that it makes."""
        if scenario.is_stream:
            latency = STREAM_HEADROOM * 1000.0 / self.value
            values = {"loadgen": {"target_latency_ms": latency}}
            return Layer(f"{self.origin} × {STREAM_HEADROOM:g}", values)
        factor = _factor(scenario, config)
        values = {"loadgen": {"target_qps": self.value * factor}}
        return Layer(f"{self.origin} × {factor:g}", values)


def corrected(
    rate: Rate, scenario: Scenario, config: Config, directory: Path, verdict: Verdict
) -> Rate | None:
    """The rate to try once more with; None where the run failed for anything but its rate.

    Args:
        rate: what the run's setting was made from.
        scenario: of the run.
        config: of the run.
        directory: of the run, with its logs.
        verdict: INVALID.
    """
    causes = {cause.code for cause in verdict.causes}
    try:
        detail = DetailLog.read(directory / "mlperf_log_detail.txt")
        if scenario is Scenario.OFFLINE and causes == {"min-duration"}:
            faster = detail.number("result_samples_per_second")
            return Rate(
                faster, f"{rate.origin}; {faster:.4g} samples/s in a run that was too short"
            )
        if scenario.is_poisson and causes and causes <= _RATE_CAUSES:
            target = detail.number("effective_target_qps")
            concurrency = config.sut.max_batch_size * config.sut.workers
            lower = min(passing_qps(detail, concurrency).qps, _STEP * target)
            if lower > 0 and math.isfinite(lower):
                origin = f"{rate.origin}, lowered after a run at {target:.4g}/s missed its latency"
                return Rate(lower / _factor(scenario, config), origin)
    except (LogError, ArithmeticError, ValueError):
        return None  # what the log does not say cannot be corrected
    return None


def _factor(scenario: Scenario, config: Config) -> float:
    return config.run.server_load if scenario.is_poisson else OFFLINE_HEADROOM
