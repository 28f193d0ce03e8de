"""Descriptions of systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.vocabulary import Category, Division

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.rules.model import Round, SystemDescriptionRules
    from mlpinf_core.submission.checking.notes import Notes
    from mlpinf_core.submission.layout import SubmitterPlace

_NETWORK: Final = "is_network"
_YES: Final = "true"
"""The only word for a network that the official checkers know."""
_NO: Final = ("false", "no", "n", "0", "off", "none", "n/a")
"""Words that are none to them either, and plain to a reader; of any other it is said."""
_COUNTS = ("number_of_nodes", "accelerators_per_node", "host_processors_per_node")


def check_system(
    place: SubmitterPlace, system: str, round_: Round, *, power: bool, notes: Notes
) -> tuple[Category, ...]:
    """One description; returns the categories that the system is in, none where nobody can tell.

    Args:
        place: whose it is.
        system: its name.
        round_: the rules.
        power: whether a result of the system has its power measured.
        notes: takes the findings.
    """
    path = place.description(system)
    data = notes.json_object(path, "system-missing", "system-damaged")
    if data is None:
        return ()
    rules = round_.system_description
    for key in rules.required + (rules.power if power else ()):
        if key not in data:
            notes.add("system-field", path, f"{key!r} is missing")
        elif key in rules.meaningful and not _says_something(data[key]):
            zero = ' (write the text "0", not the number)' if data[key] == 0 else ""
            notes.add("system-field", path, f"{key!r} says nothing{zero}")
    _check_words(data, round_, path, notes)
    _check_network(data, place.division, rules, path, notes)
    for key, wanted in (("submitter", place.submitter), ("division", place.division)):
        said = data.get(key)
        if said is not None and str(said).casefold() != wanted.casefold():
            notes.add("system-owner", path, f"{key!r} is {said!r:.60} in the folder of {wanted!r}")
    said = str(data.get("system_type", ""))
    return tuple(category for category in Category if category.value in said.split(","))


def _says_something(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _check_network(
    data: dict[str, Any], division: str, rules: SystemDescriptionRules, path: Path, notes: Notes
) -> None:
    """That no closed result was measured over a network; an open one may have been."""
    said = data.get(_NETWORK)
    if said is None or said == "":
        return
    word = str(said).strip().casefold()
    if word == _YES and division == Division.CLOSED:
        notes.add("network", path, f"{_NETWORK!r} is {said!r:.60} in the closed division")
        return
    if not isinstance(said, str):
        message = f"{_NETWORK!r} is {said!r:.60}, and a text is expected"
        notes.add("system-field", path, message)
        return
    if missing := [key for key in rules.network if key not in data]:
        # The new official checker takes any text for a reason to ask, also one that denies it.
        message = f"{_NETWORK!r} is {said!r:.60}, and with any text there {missing[0]!r} is asked"
        remedy = None if word == _YES else f"leave {_NETWORK} out"
        notes.add("system-field", path, message, remedy=remedy)
    if word == _YES:
        message = f"{_NETWORK!r} is {said!r:.60}; what a network asks besides is not looked at"
        notes.warn("network", path, message, remedy="have it checked officially as well")
    elif word not in _NO:
        message = f"{_NETWORK!r} is {said!r:.60}, which counts as no network"
        notes.warn("system-word", path, message, remedy=f"say {_YES!r}, or leave {_NETWORK} out")


def _check_words(data: dict[str, Any], round_: Round, path: Path, notes: Notes) -> None:
    rules = round_.system_description
    words = {"status": rules.statuses, "system_type": rules.types, "division": rules.divisions}
    for key, admitted in words.items():
        # Categories are read off the system's type, so that it has to be the very word.
        word = str(data.get(key)) if key == "system_type" else str(data.get(key)).casefold()
        if key in data and word not in admitted:
            known = ", ".join(admitted)
            notes.add("system-word", path, f"{key!r} is {data[key]!r:.60}, not one of {known}")
    for key in _COUNTS:
        said = data.get(key)
        if said is not None and _says_something(said) and not str(said).isdigit():
            notes.add("system-word", path, f"{key!r} is {said!r:.60}, not a whole number")
    for key, value in data.items():
        if key not in rules.keys:
            notes.warn("system-field", path, f"no round knows {key!r}", remedy="leave it out")
        elif key != _NETWORK and not isinstance(value, str | int | float):
            notes.add("system-field", path, f"{key!r} is neither text nor a number")
