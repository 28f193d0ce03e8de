"""The official description of a system: what is detected, what its file says, what is missing."""

from __future__ import annotations

import enum
import functools
import json
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.rules import load_round
from mlpinf_core.systems.answers import answer
from mlpinf_core.systems.files import check_description_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.rules.model import SystemDescriptionRules
    from mlpinf_core.systems.choice import Choice
    from mlpinf_core.systems.facts import Facts


class FieldState(enum.StrEnum):
    """Where a field of a description comes from."""

    DETECTED = "detected"
    GIVEN = "given"
    """By the system file or the command line."""
    EMPTY = "empty"
    """Nobody says it, and the round lets it be empty."""
    MISSING = "missing"


@attrs.frozen
class Field:
    """One field of a description.

    Attributes:
        key: as the round names it.
        value: None where it is missing or empty.
        state: where it comes from.
        source: the file, or what was read; empty where it is missing.
        expected: what it should say.
        detected: what detection says where the file says something else, or None.
    """

    key: str
    value: str | int | float | None
    state: FieldState
    source: str
    expected: str
    detected: str | int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**attrs.asdict(self), "state": self.state.value}


@attrs.frozen
class Description:
    """A description of a system for one round.

    Attributes:
        name: of the system: the file is ``systems/NAME.json``.
        round: whose keys it has.
        fields: in the round's order.
    """

    name: str
    round: str
    fields: tuple[Field, ...]

    @property
    def missing(self) -> tuple[Field, ...]:
        """The fields without which it is not complete."""
        return tuple(f for f in self.fields if f.state is FieldState.MISSING)

    @property
    def complete(self) -> bool:
        """Whether the round accepts it."""
        return not self.missing

    def official(self) -> dict[str, str | int | float]:
        """The content of the official JSON; keys that are missing are not in it."""
        return {
            f.key: "" if f.value is None else f.value
            for f in self.fields
            if f.state is not FieldState.MISSING
        }

    def official_json(self) -> str:
        """The text of the official JSON."""
        return json.dumps(self.official(), indent=2, ensure_ascii=False) + "\n"


def describe(
    name: str,
    facts: Facts,
    given: Mapping[str, Any],
    *,
    origins: Mapping[str, str],
    round: str,  # noqa: A002 - the word of the field
    power: bool = False,
) -> Description:
    """Describe a system.

    Args:
        name: of the system.
        facts: of the machine.
        given: what the system file and the command line say; they stand above what is detected.
        origins: key to who gave it.
        round: of the rules.
        power: ask for what a power measurement wants as well.

    Raises:
        ConfigurationError: a value is none that the round admits.
    """
    found = load_round(round)
    rules = found.system_description
    for key, value in given.items():
        _check(key, value, rules, origins[key])
    wanted = [*rules.required, *(rules.power if power else ())]
    wanted += [
        key for key in given if key not in wanted and key in (*rules.network, *rules.optional)
    ]
    fields = tuple(_field(key, facts, given, origins, rules) for key in wanted)
    return Description(name, found.name, fields)


def describe_system(
    choice: Choice,
    facts: Facts,
    *,
    round: str,  # noqa: A002 - the word of the field
    power: bool = False,
    fields: Mapping[str, Any] | None = None,
    fields_from: str = "",
) -> Description:
    """Describe the system that was chosen.

    Args:
        choice: the system; its file says what detection cannot.
        facts: of the machine.
        round: of the rules.
        power: ask for what a power measurement wants as well.
        fields: what stands above the file.
        fields_from: who says those.

    Raises:
        ConfigurationError: a key is unknown, or a value is none that the round admits.
    """
    given: dict[str, Any] = {} if choice.file is None else dict(choice.file.description)
    origins = {key: str(choice.file.path) for key in given} if choice.file is not None else {}
    for key, value in (fields or {}).items():
        check_description_key(key, fields_from)
        given[key], origins[key] = value, fields_from
    return describe(choice.name, facts, given, origins=origins, round=round, power=power)


def expectation(key: str) -> str:
    """What a key is expected to say."""
    return _expected().get(key, "")


@functools.cache
def _expected() -> Mapping[str, str]:
    package = resources.files("mlpinf_core.systems")
    return tomllib.loads(package.joinpath("expected.toml").read_text(encoding="utf-8"))


def _field(
    key: str,
    facts: Facts,
    given: Mapping[str, Any],
    origins: Mapping[str, str],
    rules: SystemDescriptionRules,
) -> Field:
    expected, detected = expectation(key), answer(key, facts)
    if key in given:
        # The official checker takes the number 0 for a missing answer.
        value = "0" if given[key] == 0 else given[key]
        other = detected.value if detected is not None and detected.value != value else None
        return Field(key, value, FieldState.GIVEN, origins[key], expected, other)
    if detected is not None:
        return Field(key, detected.value, FieldState.DETECTED, detected.source, expected)
    state = FieldState.MISSING if key in rules.meaningful else FieldState.EMPTY
    return Field(key, None, state, "", expected)


def _check(key: str, value: Any, rules: SystemDescriptionRules, origin: str) -> None:
    closed = {"status": rules.statuses, "system_type": rules.types, "division": rules.divisions}
    admitted = closed.get(key)
    if admitted is not None and value not in admitted:
        raise UnknownNameError(key.replace("_", " "), str(value), admitted, where=origin)
    counted = ("number_of_nodes", "host_processors_per_node", "accelerators_per_node")
    if key in counted and not str(value).isdigit():
        raise ConfigurationError(
            f"{key!r} is not a whole number: {value!r}", where=origin, remedy="write a number"
        )
