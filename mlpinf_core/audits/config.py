"""``audit.config``: what LoadGen is told for a compliance test, and whether it did so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.logs.cause import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import AuditRules, BenchmarkRules
    from mlpinf_core.vocabulary import Scenario

FILE_NAME: Final = "audit.config"

_LOGGED: Final = {
    "mode": "effective_test_mode",
    "min_duration": "effective_min_duration_ms",
    "min_query_count": "requested_min_query_count",  # in Offline, what is in effect is 1
}
"""Keys that the detail log has under another name than ``effective_`` and theirs."""
_MODES: Final = {2: "PerformanceOnly"}


def keys_of(
    test: str, audit: AuditRules, rules: BenchmarkRules, scenario: Scenario
) -> dict[str, int]:
    """What LoadGen is told for a test of a benchmark in a scenario."""
    more = rules.audit_settings.get(test, {})
    tables = [
        table.get(name, {})
        for name in ("*", scenario.loadgen_name)
        for table in (audit.config, more)
    ]
    return {key: value for table in tables for key, value in table.items()}


def text(keys: Mapping[str, int]) -> str:
    """The file. LoadGen asks it for the model ``*`` only, and a run has one scenario.

    >>> print(text({"mode": 2}), end="")
    *.*.mode = 2
    """
    return "".join(f"*.*.{key} = {value}\n" for key, value in keys.items())


def not_taken(keys: Mapping[str, int], detail: DetailLog) -> Iterator[Cause]:
    """One cause for each key that the run's log does not show in effect."""
    for key, value in keys.items():
        name = _LOGGED.get(key, f"effective_{key}")
        wanted = _MODES[value] if key == "mode" else value
        if not _same(detail.get(name), wanted):
            yield Cause(
                "audit-config",
                f"LoadGen ran with {name} = {detail.get(name)!r}, and the test wants {wanted!r}",
                "the log is of another run, or this LoadGen does not know the key",
            )


def _same(logged: Any, wanted: int | str) -> bool:
    # LoadGen logs true and false where audit.config says 1 and 0.
    return bool(logged is not None and logged == wanted)
