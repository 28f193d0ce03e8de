"""The Python API: the same as ``mlpinf run``, with typed results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import DEFAULT_OUTPUT, Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import DEFAULT_ROUND
from mlpinf_core.runner import Runner
from mlpinf_core.vocabulary import Mode, Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlpinf_core.reporting import Reporter
    from mlpinf_core.results import Results


def run(
    benchmarks: str | Iterable[str],
    *,
    scenarios: str | Iterable[str] | None = None,
    modes: str | Iterable[str] = ("performance", "accuracy"),
    round: str = DEFAULT_ROUND,  # noqa: A002 - the word of the field
    variant: str | None = None,
    accuracy_target: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    files: str | Path | Iterable[str | Path] = (),
    system: str | None = None,
    output: str | Path = DEFAULT_OUTPUT,
    reporter: Reporter | None = None,
) -> Results:
    """Run benchmarks and judge them.

    Args:
        benchmarks: one name, or several.
        scenarios: one or several; None means those that a submission needs.
        modes: ``performance``, ``accuracy`` or both.
        round: of the rules.
        variant: ``full`` or ``tiny``; None means the full one, or the benchmark's only one.
        accuracy_target: ``99``, ``99.9``; None is the benchmark's default, ``highest`` its highest.
        settings: tables of settings (``{"loadgen": {"target_qps": 10}}``), above every file.
        files: settings files, the lowest first.
        system: a known system's name, or a system file; None means ``SYSTEM_NAME``, and without
            that the one that this machine is recognised as; ``none`` means none.
        output: where run directories are made.
        reporter: who is told what happens while it does.

    Returns:
        Every run with its verdict, its figures and its directory. A run that is INVALID or
        inaccurate is a result, not an exception.

    Raises:
        ConfigurationError: a name, a key or a value is wrong.
        PrerequisiteError: something that is needed is missing.
        InterruptedRunError: the process was interrupted.
    """
    plugins = Plugins.from_environment()
    request = Request(
        benchmarks=_names(benchmarks),
        scenarios=None if scenarios is None else tuple(map(Scenario.parse, _names(scenarios))),
        modes=tuple(map(Mode.parse, _names(modes))),
        round=round,
        variant=None if variant is None else Variant.parse(variant),
        accuracy_target=accuracy_target,
        files=tuple(map(Path, (files,) if isinstance(files, str | Path) else files)),
        system=system,
        layers=() if settings is None else (Layer("mlpinf_core.run(settings=)", settings),),
        output=Path(output),
    )
    return Runner(make_plan(request, plugins), plugins, reporter=reporter).run()


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"{name!r} is not a name", remedy="give text")
    return names
