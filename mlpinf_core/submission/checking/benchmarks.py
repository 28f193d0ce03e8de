"""Names of benchmarks and scenarios, and which of them there have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.submission.checking.entry import Entry, Model, models_of, scenario_of
from mlpinf_core.submission.checking.notes import folders_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.rules.model import Round
    from mlpinf_core.submission.checking.notes import Notes
    from mlpinf_core.submission.layout import SubmitterPlace
    from mlpinf_core.vocabulary import Category, Scenario


def mapping_of(place: SubmitterPlace, round_: Round, notes: Notes) -> Mapping[str, str]:
    """The submitter's own names of benchmarks."""
    path = place.mapping
    if not path.is_file():
        return {}
    if place.division in place.rules.audited_divisions:
        notes.add("mapping", path, f"the {place.division} division has the round's names alone")
        return {}
    data = notes.json_object(path, "mapping", "mapping") or {}
    known = models_of(round_)
    found = {}
    for name, target in data.items():
        if not isinstance(target, str) or target not in known:
            message = f"{name!r:.60} is mapped to {target!r:.60}, which {round_.name} does not have"
            notes.add("mapping", path, message)
        elif name in known and target != name:
            notes.add("mapping", path, f"{name!r} is a benchmark of the round, mapped to another")
        else:
            found[name] = target
    return found


def entries_of(
    place: SubmitterPlace,
    system: str,
    categories: tuple[Category, ...],
    mapping: Mapping[str, str],
    round_: Round,
    notes: Notes,
) -> list[Entry]:
    """Every result of a system, the names and the set of them checked."""
    known = models_of(round_)
    found = []
    folder = place.results / system
    for benchmark in folders_of(folder):
        model = known.get(mapping.get(benchmark, benchmark))
        if model is None:
            notes.add(
                "benchmark-unknown",
                folder / benchmark,
                f"{round_.name} has no benchmark {benchmark!r}, and it is mapped to none",
            )
        scenarios = folders_of(folder / benchmark)
        made = [
            Entry(place.entry(system, benchmark, name), round_, model, scenario_of(name))
            for name in scenarios
        ]
        for entry in made:
            if entry.scenario is None:
                wrong = entry.place.scenario
                notes.add("scenario-unknown", entry.place.folder, f"there is no scenario {wrong!r}")
        if not made:
            notes.add("scenario-missing", folder / benchmark, "there is no scenario")
        if model is not None and made and made[0].closed and categories:
            _check_set(made, model, categories, notes)
        found += made
    return found


def _check_set(
    made: list[Entry], model: Model, categories: tuple[Category, ...], notes: Notes
) -> None:
    """That a closed benchmark has the scenarios of the system's categories, and no others."""
    folder = made[0].place.folder.parent
    required: dict[Scenario, None] = {}
    admitted: dict[Scenario, None] = {}
    for category in categories:
        needed = model.rules.scenarios_required.get(category, ())
        required |= dict.fromkeys(needed)
        more = model.rules.scenarios_optional.get(category, ())
        admitted |= dict.fromkeys((*needed, *more))
    if not admitted:
        names = " and ".join(categories)
        notes.add("category", folder, f"the round does not have {model.name} for {names} systems")
        return
    there = {entry.scenario for entry in made}
    for entry in made:
        if entry.scenario is not None and entry.scenario not in admitted:
            notes.add(
                "scenario-unknown",
                entry.place.folder,
                f"the round does not have {entry.scenario} for {model.name}",
            )
    for scenario in required:
        if scenario not in there:
            notes.add("scenario-missing", folder, f"{scenario} is required")
    choice = made[0].round.submission.one_of
    offered = choice and all(s in admitted and s not in required for s in choice)
    if offered and not there.intersection(choice):
        notes.add("scenario-missing", folder, f"one of {', '.join(choice)} is required")
