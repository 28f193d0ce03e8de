"""Layers to a configuration: merged, structured, and every problem reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpinf_core.config.layers import DEFAULT, merge
from mlpinf_core.config.leaves import leaves
from mlpinf_core.config.scalars import Problem, StructureError
from mlpinf_core.config.schema import TABLES, Config, LoadGenSettings, RunSettings, SutSettings
from mlpinf_core.config.structure import structure
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.names import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlpinf_core.config.layers import Layer


def resolve(
    layers: Iterable[Layer],
    *,
    benchmark_settings: type,
    backend_settings: Callable[[str], type],
) -> Config:
    """The configuration that the layers add up to.

    Args:
        layers: the lowest first.
        benchmark_settings: the class of the table ``[benchmark]``.
        backend_settings: from the resolved ``run.backend`` (which may be empty) to the class of
            the table ``[backend]``; raises UnknownNameError where there is no such backend.

    Raises:
        ConfigurationError: keys are unknown, values are of the wrong type or refused by a
            validator, or two layers disagree about what is a table. Names all of them, each with
            its dotted key, its value, what was expected, and where it was set.
    """
    merged, origins = merge(layers)
    problems = [_unknown_table(name) for name in merged if name not in TABLES]
    tables: dict[str, Any] = {}

    def take(table: str, kind: type) -> None:
        try:
            tables[table] = structure(merged.get(table, {}), kind)
        except StructureError as error:
            problems.extend(Problem((table, *p.path), p.what, p.remedy) for p in error.problems)

    take("run", RunSettings)
    take("loadgen", LoadGenSettings)
    take("sut", SutSettings)
    take("benchmark", benchmark_settings)
    if "run" in tables:
        take("backend", backend_settings(tables["run"].backend))
    if problems:
        raise _error(problems, origins)
    config = Config(**tables)
    known = {leaf.key: origins.get(leaf.key, DEFAULT) for leaf in leaves(config)}
    return Config(**tables, origins=known)


def _unknown_table(name: str) -> Problem:
    guess = nearest(name, TABLES)
    remedy = f"did you mean {guess!r}?" if guess else f"known: {', '.join(TABLES)}"
    return Problem((name,), "unknown table", remedy)


def _error(problems: list[Problem], origins: Mapping[str, str]) -> ConfigurationError:
    if len(problems) == 1:
        (only,) = problems
        return ConfigurationError(
            f"{'.'.join(only.path)}: {only.what}",
            where=_origin(only.path, origins),
            remedy=only.remedy or "change the value, or leave the key out for its default",
        )
    lines = []
    for problem in problems:
        line = f"\n  - {'.'.join(problem.path)}: {problem.what}"
        line += f" (in {_origin(problem.path, origins)})"
        lines.append(line + (f"; {problem.remedy}" if problem.remedy else ""))
    return ConfigurationError(
        f"{len(problems)} settings are wrong:{''.join(lines)}",
        remedy="change the values, or leave the keys out for their defaults",
    )


def _origin(path: tuple[str, ...], origins: Mapping[str, str]) -> str:
    """Who set a key; of a table, all who set something in it; of an item, who set the list."""
    key = ".".join(path)
    inside = [origin for known, origin in origins.items() if known.startswith(key + ".")]
    if inside:
        return "; ".join(dict.fromkeys(inside))
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key, DEFAULT)
