"""The texts of a tree that are made, not copied: what was run, how, and from what."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlpinf_core.submission.candidates import Candidate
    from mlpinf_core.submission.collecting import Chosen

_PACKAGES: Final = ("mlpinf", "mlcommons", "torch", "ctranslate2", "numpy", "tensorrt", "vllm")
"""How the distributions begin that a reader asks about first."""


def readme(chosen: Chosen, benchmark: str, model: str) -> str:
    """The ``README.md`` of one result.

    Args:
        chosen: its runs.
        benchmark: as the tree names it.
        model: as the round names it.
    """
    workload = chosen.workload
    lines = [
        f"# {benchmark} {workload.scenario}",
        "",
        f"Made with mlpinf for round {workload.round} on `{chosen.system}`.",
    ]
    if benchmark != model:
        lines += [
            "",
            (
                f"`{benchmark}` stands for {model} in the open division. Its model and its data "
                f"are mlpinf's {workload.variant} variant, not the round's."
            ),
        ]
    total = _values(chosen.performance)["loadgen"].get("total_sample_count")
    if total is not None:
        lines += [
            "",
            (
                f"LoadGen was told of {total:,} samples: after the variant's last one, the data "
                "set begins anew. Accuracy is that of the first answer to each of its own samples."
            ),
        ]
    for title, candidate in (("Performance", chosen.performance), ("Accuracy", chosen.accuracy)):
        lines += ["", f"## {title}", "", *_run(candidate)]
    return "\n".join([*lines, ""])


def source_note(chosen: Iterable[Chosen]) -> str:
    """The ``README.md`` in the folder of source code: which releases the results came from."""
    versions: dict[str, set[str]] = {}
    for each in chosen:
        for name, version in each.performance.record["versions"].items():
            versions.setdefault(str(name), set()).add(str(version))
    ours = {name: found for name, found in versions.items() if name.startswith("mlpinf")}
    packages = [
        f"{name}=={version}" for name, found in sorted(ours.items()) for version in sorted(found)
    ]
    rows = [f"- {name} {', '.join(sorted(found))}" for name, found in sorted(versions.items())]
    return "\n".join(
        [
            "# Source code",
            "",
            "The results were made with released packages, and with no code beside them:",
            "",
            "```",
            f"pip install {' '.join(packages)}",
            "```",
            "",
            "The command of each run is in the README.md beside its result.",
            "",
            "Everything that was installed:",
            "",
            *rows,
            "",
        ]
    )


def calibration_note(measurements: Mapping[str, Mapping[str, Any]]) -> str:
    """``calibration.md`` of a submission that calibrated nothing: what was done to the weights.

    Args:
        measurements: the tree's name of a benchmark to its file of measurements.
    """
    rows = [
        f"- {name}: {said['weight_transformations']} (weights: {said['weight_data_types']})"
        for name, said in sorted(measurements.items())
    ]
    return "\n".join(
        [
            "# Calibration and quantization",
            "",
            "What was done to the weights of each benchmark:",
            "",
            *rows,
            "",
        ]
    )


def _run(candidate: Candidate) -> list[str]:
    record = candidate.record
    values, origins = _values(candidate), record["config"]["origins"]
    versions = record["versions"]
    used = [f"{n} {v}" for n, v in versions.items() if n == "python" or n.startswith(_PACKAGES)]
    lines = ["```", f"mlpinf {shlex.join(map(str, record['command'][1:]))}", "```", ""]
    if candidate.result.verdict.notes:
        lines += [*(f"- note: {note}" for note in candidate.result.verdict.notes), ""]
    lines += ["| setting | value | from |", "| --- | --- | --- |"]
    for key, origin in origins.items():
        table, _, name = key.partition(".")
        value = (values.get(table) or {}).get(name)
        if value is not None and origin != "default":
            lines.append(f"| {key} | {value} | {origin} |")
    return [*lines, "", f"With {', '.join(used)}."]


def _values(candidate: Candidate) -> Mapping[str, Any]:
    values: Mapping[str, Any] = candidate.record["config"]["values"]
    return values
