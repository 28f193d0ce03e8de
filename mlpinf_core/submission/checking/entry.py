"""One result of a tree as the rules see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.rules.model import BenchmarkRules, Round
from mlpinf_core.submission.layout import EntryPlace
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from mlpinf_core.rules.model import Limit


@attrs.frozen
class Model:
    """A benchmark of the round under the name that a submission gives it.

    Attributes:
        name: as submissions name it (``llama2-70b-99.9``).
        rules: the benchmark's.
        target: percent of the reference's accuracy.
    """

    name: str
    rules: BenchmarkRules
    target: str

    @property
    def limits(self) -> dict[str, Limit]:
        """Metric to the band that it must lie in."""
        return dict(self.rules.accuracy.get(self.target, {}))


@attrs.frozen
class Entry:
    """One result, and what it is held to.

    Attributes:
        place: where its files lie.
        round: the rules.
        model: the benchmark; None where nobody knows it.
        scenario: None where there is no such scenario.
    """

    place: EntryPlace
    round: Round
    model: Model | None
    scenario: Scenario | None

    @property
    def closed(self) -> bool:
        """Whether the division asks for audits and for the round's accuracy."""
        division = self.place.owner.division
        return division in self.round.submission.audited_divisions


def models_of(round_: Round) -> dict[str, Model]:
    """The round's benchmarks by the names that submissions give them."""
    return {
        name: Model(name, rules, target)
        for rules in round_.benchmarks.values()
        for target, name in rules.submission_names.items()
    }


def scenario_of(folder: str) -> Scenario | None:
    """The scenario that a folder is named after, exactly."""
    return next((scenario for scenario in Scenario if scenario.value == folder), None)
