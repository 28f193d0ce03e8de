"""How well a machine fits the rules by which a known system is recognised, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.names import fold
from mlpinf_core.systems.facts import Value, is_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.systems.facts import Facts

_FORMS: Final = ("is", "any", "pattern", "near", "least", "most")
_OPTIONS: Final = ("tolerance", "weight", "required")

_LEAST_SCORE: Final = 0.5
"""Facts that are unknown speak neither for a system nor against it; that much has to be known."""

RECOGNISABLE: Final = (
    "accelerator.count",
    "accelerator.total",
    "accelerator.name",
    "accelerator.memory_bytes",
    "accelerator.mig",
    "accelerator.nvlinks",
    "cpu.architecture",
    "cpu.model",
    "cpu.sockets",
    "cpu.cores",
    "cpu.threads",
    "memory.total_bytes",
    "numa.nodes",
    "system.nodes",
    "system.vendor",
    "system.product",
    "system.virtual",
)
"""The facts that a rule may ask for."""


@attrs.frozen
class Rule:
    """One thing that a system is recognised by.

    Attributes:
        key: of the fact.
        form: how it is compared: ``is``, ``any`` of several, ``pattern``, ``near`` a number,
            ``least`` or ``most``.
        wanted: what it is compared with.
        tolerance: of ``near``, as a fraction of ``wanted``.
        weight: in the score.
        required: whether the system is another one when this does not hold.
    """

    key: str
    form: str
    wanted: Any
    tolerance: float = 0.0
    weight: float = 1.0
    required: bool = True

    def holds(self, value: Value) -> bool:
        """Whether a fact that is known fits."""
        match self.form:
            case "is":
                return _same(value, self.wanted)
            case "any":
                return any(_same(value, one) for one in self.wanted)
            case "pattern":
                return re.fullmatch(self.wanted, str(value), re.IGNORECASE) is not None
        if not is_number(value):
            return False
        match self.form:
            case "least":
                return bool(value >= self.wanted)
            case "most":
                return bool(value <= self.wanted)
        return bool(abs(value - self.wanted) <= self.tolerance * self.wanted)

    def expectation(self) -> str:
        """What is wanted, for people."""
        match self.form:
            case "any":
                return " or ".join(shown(self.key, one) for one in self.wanted)
            case "pattern":
                return f"like {self.wanted}"
            case "near":
                return f"{shown(self.key, self.wanted)} ± {100 * self.tolerance:g} %"
            case "least" | "most":
                return f"at {self.form} {shown(self.key, self.wanted)}"
        return shown(self.key, self.wanted)


@attrs.frozen
class Finding:
    """How one rule came out.

    Attributes:
        rule: the rule.
        value: of the fact; None where it is unknown.
        holds: None where the fact is unknown.
        why: what differs and by how much, or why the fact is unknown; empty where it holds.
    """

    rule: Rule
    value: Value | None
    holds: bool | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "key": self.rule.key,
            "expected": self.rule.expectation(),
            "required": self.rule.required,
            "value": self.value,
            "holds": self.holds,
            "why": self.why,
        }


@attrs.frozen
class Match:
    """How well a machine fits one system.

    Attributes:
        name: of the system.
        findings: a finding a rule.
        score: the share of the rules' weights that hold, from 0 to 1.
    """

    name: str
    findings: tuple[Finding, ...]
    score: float

    @property
    def fits(self) -> bool:
        """Whether no required rule is broken, and most of what is asked for is known to hold."""
        broken = any(f.holds is False for f in self.findings if f.rule.required)
        return not broken and self.score > _LEAST_SCORE

    @property
    def rank(self) -> tuple[bool, float, float]:
        """By what the best of several is chosen: fit, weight of what holds, score."""
        weight = sum(f.rule.weight for f in self.findings if f.holds)
        return self.fits, weight if self.fits else self.score, self.score

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "system": self.name,
            "fits": self.fits,
            "score": round(self.score, 3),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def parse_rules(table: Mapping[str, Any], origin: str) -> tuple[Rule, ...]:
    """The rules of a ``[match]`` table.

    Raises:
        ConfigurationError: one asks for a fact that systems are not recognised by, or in a way
            that there is not.
    """
    return tuple(_rule(key, wanted, origin) for key, wanted in table.items())


def match(name: str, rules: tuple[Rule, ...], facts: Facts) -> Match:
    """Hold the rules of one system against the facts of a machine."""
    findings = tuple(_find(rule, facts) for rule in rules)
    whole = sum(rule.weight for rule in rules)
    held = sum(finding.rule.weight for finding in findings if finding.holds)
    return Match(name, findings, held / whole if whole else 0.0)


def shown(key: str, value: Any) -> str:
    """A fact's value for people, in the unit that the key's end tells."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "\n".join(map(str, value))
    if key.endswith("_bytes") and isinstance(value, int | float):
        return readable_memory(value)
    for ending, unit in (("_mhz", "MHz"), ("_w", "W")):
        if key.endswith(ending):
            return f"{value} {unit}"
    return str(value)


def readable_memory(size: float) -> str:
    """Bytes in powers of 1024, as memory is sold: ``179 GiB``."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= factor:
            amount = size / factor
            return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.3g} {unit}"
    return f"{size:.0f} bytes"


def _find(rule: Rule, facts: Facts) -> Finding:
    fact = facts[rule.key]
    if fact.value is None:
        return Finding(rule, None, None, f"unknown: {fact.why}")
    if rule.holds(fact.value):
        return Finding(rule, fact.value, holds=True)
    return Finding(rule, fact.value, holds=False, why=_difference(rule, fact.value))


def _difference(rule: Rule, value: Value) -> str:
    told = f"it is {shown(rule.key, value)}"
    if rule.form not in ("any", "pattern") and is_number(value) and is_number(rule.wanted):
        less = value < rule.wanted
        by = shown(rule.key, abs(value - rule.wanted))
        share = f" ({100 * abs(value - rule.wanted) / rule.wanted:.0f} %)" if rule.wanted else ""
        return f"{told}, {by} {'less' if less else 'more'}{share}"
    return told


def _same(value: Value, wanted: Any) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return fold(value) == fold(wanted)
    if is_number(value) and is_number(wanted):
        return value == wanted
    return type(value) is type(wanted) and value == wanted


def _rule(key: str, wanted: Any, origin: str) -> Rule:
    if key not in RECOGNISABLE:
        raise UnknownNameError("fact in [match]", key, RECOGNISABLE, where=origin)
    if not isinstance(wanted, dict):
        return Rule(key, "is", wanted)
    for option in wanted:
        if option not in (*_FORMS, *_OPTIONS):
            known = (*_FORMS, *_OPTIONS)
            raise UnknownNameError(f"option of {key!r}", option, known, where=f"{origin} [match]")
    forms = [form for form in _FORMS if form in wanted]
    if len(forms) != 1:
        raise _wrong(key, f"it needs one of {', '.join(_FORMS)}, and has {len(forms)}", origin)
    form, value = forms[0], wanted[forms[0]]
    if form in ("near", "least", "most") and not is_number(value):
        raise _wrong(key, f"{form!r} takes a number, not {value!r}", origin)
    if form == "any" and not isinstance(value, list):
        raise _wrong(key, f"'any' takes a list, not {value!r}", origin)
    if form == "pattern":
        try:
            re.compile(str(value))
        except re.error as error:
            raise _wrong(key, f"{value!r} is not a regular expression: {error}", origin) from error
    tolerance, weight = wanted.get("tolerance", 0.0), wanted.get("weight", 1.0)
    required = wanted.get("required", True)
    if not is_number(tolerance) or not 0 <= tolerance < 1:
        raise _wrong(key, f"the tolerance is a fraction from 0 to 1, not {tolerance!r}", origin)
    if not is_number(weight) or weight <= 0:
        raise _wrong(key, f"the weight is a number above 0, not {weight!r}", origin)
    if not isinstance(required, bool):
        raise _wrong(key, f"'required' is true or false, not {required!r}", origin)
    return Rule(key, form, value, float(tolerance), float(weight), required)


def _wrong(key: str, what: str, origin: str) -> ConfigurationError:
    return ConfigurationError(
        f"the rule for {key!r} is wrong: {what}",
        where=f"{origin} [match]",
        remedy='write it as "accelerator.memory_bytes" = { near = 1.5e11, tolerance = 0.05 }',
    )
