"""MLCommons' words, each with one meaning: scenario, variant, mode, category, workload."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Self

import attrs

from mlpinf_core.names import lookup

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Word(enum.StrEnum):
    """A closed set of words that people type in any case."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The member that ``text`` names.

        Raises:
            UnknownNameError: none does; names the nearest.
        """
        return lookup(cls.__name__.lower(), text, {member.value: member for member in cls})


class Scenario(_Word):
    """How LoadGen issues queries."""

    OFFLINE = "Offline"
    """One query with all samples; measured in samples or tokens a second."""
    SERVER = "Server"
    """One-sample queries at Poisson arrivals under a latency limit."""
    INTERACTIVE = "Interactive"
    """LoadGen's Server with the benchmark's interactive limits."""
    SINGLE_STREAM = "SingleStream"
    """One one-sample query at a time; measured by its latency."""
    MULTI_STREAM = "MultiStream"
    """One query of several samples (8) at a time; measured by its latency."""

    @property
    def loadgen_name(self) -> str:
        """LoadGen's own name: it has no Interactive."""
        return "Server" if self is Scenario.INTERACTIVE else self.value

    @property
    def is_poisson(self) -> bool:
        """Whether queries arrive at a target rate."""
        return self.loadgen_name == "Server"

    @property
    def is_stream(self) -> bool:
        """Whether one query follows the other."""
        return self in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM)


class Variant(_Word):
    """Which model and data a run uses."""

    FULL = "full"
    """The rules' own model and data."""
    TINY = "tiny"
    """A small model and small data on the same code path; runs on any CPU."""


class Mode(_Word):
    """What one run measures."""

    PERFORMANCE = "performance"
    ACCURACY = "accuracy"


class Category(_Word):
    """The class of system, which decides the scenarios that a submission must have."""

    DATACENTER = "datacenter"
    EDGE = "edge"


class Division(_Word):
    """How strict the comparison is."""

    CLOSED = "closed"
    """The rules' own model, data and accuracy: results can be compared."""
    OPEN = "open"
    """Any model, with what it reaches."""


@attrs.frozen
class Workload:
    """What is run: round × benchmark × scenario × variant × accuracy target × power setting.

    Attributes:
        round: the version of the rules, ``v5.1``.
        benchmark: the benchmark's proper name, ``llama3.1-8b``.
        accuracy_target: percent of the reference's accuracy, ``99`` or ``99.9``; the benchmark's
            first where the user chose none.
        power: whether power is measured too.
    """

    round: str
    benchmark: str
    scenario: Scenario
    variant: Variant
    accuracy_target: str
    power: bool = False

    def __str__(self) -> str:
        """``llama3.1-8b tiny Offline (v5.1)``."""
        return f"{self.benchmark} {self.variant} {self.scenario} ({self.round})"

    @property
    def slug(self) -> str:
        """A file-system name, unique to the workload."""
        parts = [self.benchmark, self.variant, self.scenario, self.round, self.accuracy_target]
        return "-".join((*parts, *(["power"] if self.power else [])))

    def to_dict(self) -> dict[str, str | bool]:
        """Plain values, for JSON."""
        return {
            "round": self.round,
            "benchmark": self.benchmark,
            "scenario": self.scenario.value,
            "variant": self.variant.value,
            "accuracy_target": self.accuracy_target,
            "power": self.power,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Workload:
        """The inverse of :meth:`to_dict`."""
        return cls(
            round=str(data["round"]),
            benchmark=str(data["benchmark"]),
            scenario=Scenario.parse(str(data["scenario"])),
            variant=Variant.parse(str(data["variant"])),
            accuracy_target=str(data["accuracy_target"]),
            power=bool(data["power"]),
        )
