"""The rules of the conformance kit, in the order in which they are put to a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.testing.rules.declaring import (
    declarations_are_sane,
    entry_point_loads,
    light_import,
    unknown_key_refused,
)
from mlpinf_core.testing.rules.failing import (
    backend_raises,
    backend_returns_nothing,
    backend_returns_too_few,
    torn_down,
)
from mlpinf_core.testing.rules.running import (
    answers_in_any_order,
    prepared_once,
    same_samples,
    scenarios_run,
)
from mlpinf_core.testing.rules.scoring import corrupted_answers_fail, good_answers_pass

if TYPE_CHECKING:
    from mlpinf_core.testing.rule import Rule

__all__ = [
    "RULES",
    "answers_in_any_order",
    "backend_raises",
    "backend_returns_nothing",
    "backend_returns_too_few",
    "corrupted_answers_fail",
    "declarations_are_sane",
    "entry_point_loads",
    "good_answers_pass",
    "light_import",
    "prepared_once",
    "same_samples",
    "scenarios_run",
    "torn_down",
    "unknown_key_refused",
]

RULES: Final[tuple[Rule, ...]] = (
    entry_point_loads,
    light_import,
    declarations_are_sane,
    unknown_key_refused,
    scenarios_run,
    good_answers_pass,
    corrupted_answers_fail,
    same_samples,
    prepared_once,
    answers_in_any_order,
    backend_raises,
    backend_returns_nothing,
    backend_returns_too_few,
    torn_down,
)
