"""The descriptions of the systems in a tree, from what runs recorded of their machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.systems.description import describe
from mlpinf_core.systems.facts import Fact, Facts
from mlpinf_core.systems.files import check_description_key, proper_name, read_system_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlpinf_core.submission.candidates import Candidate
    from mlpinf_core.submission.collecting import Chosen

_IDENTITY: Final = ("cpu.model", "cpu.sockets", "accelerator.name", "accelerator.total")
"""Facts in which two machines of one name may not differ."""


def descriptions_of(
    chosen: Iterable[Chosen], fields: Mapping[str, str], round_: str
) -> dict[str, str]:
    """System's name to the text of its official description.

    Args:
        chosen: the runs; each recorded the machine it was made on.
        fields: what stands above the system files.
        round_: whose keys.

    Raises:
        ConfigurationError: two machines have one name, or a key or a value is wrong.
        PrerequisiteError: a description is not complete.
    """
    for key in fields:
        check_description_key(key, "--field")
    found: dict[str, Chosen] = {}
    power: set[str] = set()
    for each in chosen:
        proper_name(each.system, "the runs' system")
        first = found.setdefault(each.system, each)
        for run in (each.performance, each.accuracy):
            _check_same(first.performance, run, each.system)
        if each.workload.power:
            power.add(each.system)
    return {
        name: _description(name, each, fields, round_, power=name in power)
        for name, each in found.items()
    }


def _check_same(first: Candidate, second: Candidate, name: str) -> None:
    one, other = _facts(first), _facts(second)
    for key in _IDENTITY:
        if one.value(key) != other.value(key):
            raise ConfigurationError(
                f"two systems are named {name!r}: {key} is {one.value(key)} and {other.value(key)}",
                where=f"{first.result.directory} and {second.result.directory}",
                remedy="give one another name: make its runs with --system",
            )


def _description(
    name: str, each: Chosen, fields: Mapping[str, str], round_: str, *, power: bool
) -> str:
    given: dict[str, Any] = {}
    origins: dict[str, str] = {}
    file = each.performance.record["system"].get("file")
    if file and Path(file).is_file():
        given |= read_system_file(Path(file)).description
        origins |= dict.fromkeys(given, str(file))
    given |= fields
    origins |= dict.fromkeys(fields, "--field")
    facts = _facts(each.performance)
    found = describe(name, facts, given, origins=origins, round=round_, power=power)
    if not found.complete:
        missing = ", ".join(field.key for field in found.missing)
        raise PrerequisiteError(
            f"the description of {name!r} is not complete: {missing}",
            where=str(file or name),
            remedy="say them in a system file (`mlpinf system add`), or with --field KEY=VALUE",
        )
    return found.official_json()


def _facts(candidate: Candidate) -> Facts:
    """What a run recorded of its machine."""
    recorded: Mapping[str, Mapping[str, Any]] = candidate.record["system"].get("facts") or {}
    return Facts(
        {
            key: Fact(
                tuple(said["value"]) if isinstance(said["value"], list) else said["value"],
                str(said["source"]),
                said.get("why"),
            )
            for key, said in recorded.items()
        }
    )
