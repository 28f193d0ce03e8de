"""What runs are called in a tree, and what a submission says of their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import PrerequisiteError, UnknownNameError
from mlpinf_core.submission.candidates import Left
from mlpinf_core.submission.collecting import Chosen
from mlpinf_core.vocabulary import Division, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpinf_core.benchmark import VariantSpec
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.rules.model import Round
    from mlpinf_core.vocabulary import Workload


@attrs.frozen
class Named:
    """Runs with their names in the tree.

    Attributes:
        runs: what is staged.
        benchmark: as the tree names it.
        model: as the round names it; another name in the open division.
        measurements: what the file of measurements says.
    """

    runs: Chosen
    benchmark: str
    model: str
    measurements: Mapping[str, Any]


def named(
    found: Iterable[Chosen],
    rules: Round,
    division: Division,
    plugins: Plugins,
    said: Mapping[str, str],
) -> tuple[list[Named], list[Left]]:
    """Name what the division admits.

    Args:
        found: the best of each workload.
        rules: the round.
        division: closed or open.
        plugins: those the runs were made with.
        said: what stands above the plugins, by key of the file of measurements.

    Raises:
        UnknownNameError: a key is none that the round asks for.
        PrerequisiteError: nobody says what the round asks for.
    """
    known = rules.submission.measurement_fields
    for key in said:
        if key not in known:
            raise UnknownNameError("key of a file of measurements", key, known)
    chosen: dict[tuple[str, str, str], Named] = {}
    left: list[Left] = []
    for each in found:
        workload = each.workload
        loadgen = each.performance.record["config"]["values"]["loadgen"]
        enlarged = bool(loadgen.get("total_sample_count"))
        why = barred(workload, rules, division, enlarged=enlarged)
        if why is not None:
            left.append(Left(f"{workload} on {each.system}", why))
            continue
        model = rules.benchmarks[workload.benchmark].submission_names[workload.accuracy_target]
        tiny = workload.variant is Variant.TINY
        benchmark = f"{model}-tiny" if tiny else model
        place = (each.system, benchmark, workload.scenario.value)
        if place in chosen and not workload.power:
            left.append(Left(f"{workload} on {each.system}", "the run with power takes its place"))
            continue
        variant = plugins.benchmark(workload.benchmark).variant(workload.variant)
        chosen[place] = Named(each, benchmark, model, measurements(benchmark, variant, said, known))
    return list(chosen.values()), left


def barred(workload: Workload, rules: Round, division: Division, *, enlarged: bool) -> str | None:
    """Why a result cannot be in a division; None when it can.

    Args:
        workload: of the result.
        rules: the round.
        division: closed or open.
        enlarged: whether a small data set was presented as a larger one.
    """
    benchmark = rules.benchmarks.get(workload.benchmark)
    if benchmark is None or workload.accuracy_target not in benchmark.submission_names:
        return f"{rules.name} does not have the benchmark"
    if division is not Division.CLOSED:
        return None
    if workload.variant is not Variant.FULL:
        return "the closed division has the round's own model and data alone"
    if enlarged:
        return "the closed division has the round's own data alone"
    return None


def measurements(
    benchmark: str, variant: VariantSpec, said: Mapping[str, str], wanted: tuple[str, ...]
) -> dict[str, str]:
    """What a submission says of a model.

    Args:
        benchmark: the name that it is submitted under.
        variant: which says most of it.
        said: by the submitter, above that.
        wanted: the keys that the round asks for.

    Raises:
        PrerequisiteError: nobody says one of them.
    """
    weights = [source.name for source in variant.sources if source.kind == "models"]
    known = {"retraining": "No"}
    if weights:
        known["starting_weights_filename"] = ", ".join(weights)
    known |= {**variant.measurements, **said}
    missing = [key for key in wanted if not known.get(key)]
    if missing:
        raise PrerequisiteError(
            f"nobody says of {benchmark}: {', '.join(missing)}",
            remedy=f"say it with --measurement {missing[0]}=…",
        )
    return {key: known[key] for key in wanted}
