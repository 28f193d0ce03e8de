"""Rules about what a plugin says of itself, before anything is run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError, MlpinfError, UnknownNameError
from mlpinf_core.plugins import PluginState
from mlpinf_core.testing import declarations
from mlpinf_core.testing.rule import ConformanceError, collect, rule
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.testing.subject import Subject


@rule("The entry point loads, and the plugin is graded as loaded.")
def entry_point_loads(subject: Subject) -> None:
    """A plugin that does not load is left out of every list; its users see only that it is gone."""
    try:
        info = subject.info
    except UnknownNameError as error:
        raise ConformanceError(
            f"no installed distribution has an entry point {error.name!r} in the group 'mlpinf'",
            remedy=f"install the plugin where mlpinf is ({error.remedy}); see `mlpinf plugins`",
        ) from error
    if info.state is not PluginState.LOADED:
        raise ConformanceError(
            f"the plugin is graded {str(info.state)!r}: {info.detail}",
            where=f"{info.module} of {info.distribution} {info.version}",
            remedy="mend what the grade says; `mlpinf plugins` shows it too",
        )


@rule("Importing the plugin and asking what it offers imports no heavy package and does nothing.")
def light_import(subject: Subject) -> None:
    """Every `mlpinf` command imports every installed plugin, `mlpinf --help`'s completion included.

    One plugin that imports torch makes all of them seconds slower, for the users of the others too;
    one that takes the network or writes files does so when nobody asked for it.
    """
    info = subject.loaded()
    process = subprocess.run(
        [sys.executable, "-B", "-m", "mlpinf_core.testing.light", info.module],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise ConformanceError(
            f"the plugin cannot be imported in a fresh process: {last[0]}",
            where=info.module,
            remedy="import what the plugin needs inside its hooks",
        ) from None
    problems = [f"importing the plugin imports {name}" for name in found["heavy"]]
    problems += [f"importing the plugin {deed}" for deed in found["deeds"]]
    collect(
        problems,
        where=info.module,
        remedy="move it into the hook that needs it: hooks of a run are called in its own process",
    )


@rule("What the plugin declares fits together: names, backends, scenarios, limits, defaults.")
def declarations_are_sane(subject: Subject) -> None:
    """A declaration that is wrong in one variant or scenario breaks the run of whoever chooses it.

    It also breaks what others build from declarations: lists, completion, plans, submissions.
    """
    info = subject.loaded()
    plugins = subject.plugins
    problems = []
    for name in info.benchmarks:
        try:
            problems += declarations.of_benchmark(plugins.benchmark(name), plugins)
        except MlpinfError as error:
            problems.append(f"benchmark {name!r} cannot be chosen: {error.what}")
    for name in info.backends:
        problems += declarations.of_backend(name, plugins)
    collect(problems, where=info.module, remedy="correct the declaration")


@rule("A settings key that does not exist is refused, and the nearest one that does is named.")
def unknown_key_refused(subject: Subject) -> None:
    """A misspelt key that is ignored gives a result that was not measured the way its owner thinks.

    The core refuses them wherever settings are attrs classes, which is what they have to be.
    """
    scenario, mode = subject.scenarios()[0], Mode.ACCURACY
    planned = subject.planned(scenario, mode)
    backend = planned.config(subject.plugins, mode).run.backend
    classes: dict[str, type[Any]] = {
        "benchmark": planned.benchmark.settings,
        "backend": subject.plugins.backend(planned.benchmark.name, backend).settings,
    }
    problems = []
    for table, settings in classes.items():
        known = [field.name for field in getattr(settings, "__attrs_attrs__", ())]
        wrong, nearest = (f"{known[0]}x", known[0]) if known else ("no_such_key", None)
        try:
            subject.plan(scenario, mode, Layer("conformance", {table: {wrong: 1}}))
        except ConfigurationError as error:
            if wrong not in str(error) or (nearest is not None and repr(nearest) not in str(error)):
                problems.append(f"the error for [{table}] {wrong} names neither it nor the nearest")
        else:
            problems.append(f"[{table}] {wrong} = 1 is accepted, and there is no such key")
    collect(
        problems,
        where=planned.benchmark.name,
        remedy="declare settings as an attrs class whose fields are made by `setting`",
    )
