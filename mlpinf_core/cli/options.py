"""The options that say what to run, shared by the commands that need them."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from mlpinf_core.config.layers import Layer
from mlpinf_core.config.overrides import parse_assignment
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.names import lookup
from mlpinf_core.plan import DEFAULT_OUTPUT, Request
from mlpinf_core.rules import DEFAULT_ROUND, ROUNDS, load_round
from mlpinf_core.vocabulary import Category, Mode, Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from mlpinf_core.systems.registry import Registry

_MODES = {**{mode.value: (mode,) for mode in Mode}, "both": tuple(Mode)}

TEST_RUN_SECONDS = 60.0
"""The least duration with ``--test-run``."""


def complete_benchmark(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of benchmarks, with their summaries."""
    from click.shell_completion import CompletionItem

    from mlpinf_core.plugins import Plugins

    del ctx, parameter
    return [
        CompletionItem(b.name, help=b.summary)
        for b in Plugins.from_environment().benchmarks()
        if b.name.startswith(incomplete)
    ]


def _complete(*words: str) -> Any:
    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        return [head + comma + w for w in words if w.casefold().startswith(last.casefold())]

    return complete


def known_systems(directories: Sequence[Path]) -> Registry:
    """The known systems, with those in directories that the command line names."""
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.systems.registry import Registry

    return Registry.load(Plugins.from_environment().system_directories(), directories)


def complete_system(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of known systems, with their summaries."""
    from click.shell_completion import CompletionItem

    del parameter
    known = known_systems(ctx.params.get("system_dirs") or ()).systems
    return [
        CompletionItem(name, help=system.summary)
        for name, system in known.items()
        if name.casefold().startswith(incomplete.casefold())
    ]


json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
machine_option = click.option(
    "--machine",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Look at a recorded machine instead of this one: see `mlpinf system detect --record`.",
)
round_option = click.option(
    "--round",
    "round_",
    metavar="ROUND",
    default=DEFAULT_ROUND,
    show_default=True,
    shell_complete=_complete(*ROUNDS),
    help="Version of the rules: v5.1, v6.0, v6.1.",
)
system_directories = click.option(
    "--system-dir",
    "system_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A directory of system files, beside the known ones. Repeatable.",
)


_Option: TypeAlias = "Callable[[Callable[..., Any]], Callable[..., Any]]"

_OF_MEASURING: Final[tuple[_Option, ...]] = (
    click.option(
        "--client-workers",
        metavar="N",
        type=click.IntRange(min=1),
        help="Processes that speak to servers, for a backend that does: backend.client_workers.",
    ),
    click.option("--test-run", is_flag=True, help="At least 60 s instead of the rules' 600 s."),
    click.option(
        "--min-duration", metavar="S", type=float, help="Least seconds of a performance run."
    ),
)
"""What means nothing where no test is run."""

_OF_OUTPUT: Final[tuple[_Option, ...]] = (
    click.option(
        "--output",
        metavar="DIR",
        type=click.Path(path_type=Path),
        default=DEFAULT_OUTPUT,
        show_default=True,
        help="Where run directories are made.",
    ),
)
"""What means nothing where no run directory is made."""

_OPTIONS: Final[tuple[_Option, ...]] = (
    click.argument("names", nargs=-1, metavar="[BENCHMARK]...", shell_complete=complete_benchmark),
    click.option(
        "--benchmarks", metavar="A,B", help="Benchmarks, comma-separated; the same as arguments."
    ),
    click.option(
        "--scenarios",
        metavar="X,Y",
        shell_complete=_complete(*Scenario),
        help="Offline, Server, Interactive, SingleStream, MultiStream; "
        "those that a submission needs where not given.",
    ),
    click.option(
        "--mode",
        metavar="MODE",
        default="both",
        show_default=True,
        shell_complete=_complete("performance", "accuracy", "both"),
        help="performance, accuracy or both.",
    ),
    click.option(
        "--variant",
        metavar="VARIANT",
        shell_complete=_complete(*Variant),
        help="full (the rules' model and data) or tiny (a small model, on any CPU).  "
        "[default: full]",
    ),
    round_option,
    click.option(
        "--accuracy-target", metavar="PERCENT", help="99 or 99.9, as the benchmark has it."
    ),
    click.option("--high-accuracy", is_flag=True, help="The benchmark's highest accuracy target."),
    click.option(
        "--category",
        metavar="CATEGORY",
        shell_complete=_complete(*Category),
        help="datacenter or edge: leave out scenarios that such a system does not have.",
    ),
    click.option("--backend", metavar="NAME", help="What computes, where there is a choice."),
    *_OF_MEASURING,
    click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set one value: --set loadgen.target_qps=10. Repeatable.",
    ),
    click.option(
        "--config",
        "files",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A TOML file of settings. Repeatable; later files win.",
    ),
    click.option(
        "--system",
        metavar="NAME",
        shell_complete=complete_system,
        help="A known system or a system file, for its settings; `none` for none.  "
        "[default: $SYSTEM_NAME, or what is recognised]",
    ),
    system_directories,
    *_OF_OUTPUT,
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what to run; it gets a ``request``."""
    return _with(command, _OPTIONS)


def preparing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that runs no test."""
    return _with(command, [each for each in _OPTIONS if each not in _OF_MEASURING])


def fetching_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that makes no run directory either."""
    others = (*_OF_MEASURING, *_OF_OUTPUT)
    return _with(command, [each for each in _OPTIONS if each not in others])


def _with(command: Callable[..., Any], options: Sequence[_Option]) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_request(**given: Any) -> Any:
        names = inspect.signature(make_request).parameters.keys() & given.keys()
        own = {name: given.pop(name) for name in names}
        return command(request=make_request(**own), **given)

    wrapped: Callable[..., Any] = with_request
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def make_request(
    *,
    names: tuple[str, ...],
    benchmarks: str | None,
    scenarios: str | None,
    mode: str,
    variant: str | None,
    round_: str,
    accuracy_target: str | None,
    high_accuracy: bool,
    category: str | None,
    backend: str | None,
    client_workers: int | None = None,
    test_run: bool = False,
    min_duration: float | None = None,
    assignments: tuple[str, ...],
    files: tuple[Path, ...],
    system: str | None,
    system_dirs: tuple[Path, ...],
    output: Path = DEFAULT_OUTPUT,
) -> Request:
    """The request that a command line makes.

    Raises:
        ConfigurationError: options contradict each other, or a word is unknown.
    """
    if high_accuracy and accuracy_target is not None:
        raise ConfigurationError(
            "--high-accuracy and --accuracy-target were both given", remedy="give one of them"
        )
    if test_run and min_duration is not None:
        raise ConfigurationError(
            "--test-run and --min-duration were both given", remedy="give one of them"
        )
    duration = TEST_RUN_SECONDS if test_run else min_duration
    layers = []
    if duration is not None:
        option = "--test-run" if test_run else "--min-duration"
        layers.append(Layer(option, {"loadgen": {"min_duration": duration}}))
    if backend is not None:
        layers.append(Layer("--backend", {"run": {"backend": backend}}))
    if client_workers is not None:
        layers.append(Layer("--client-workers", {"backend": {"client_workers": client_workers}}))
    layers += [parse_assignment(text) for text in assignments]
    return Request(
        benchmarks=tuple(part for name in (*names, benchmarks or "") for part in parts(name)),
        scenarios=tuple(map(Scenario.parse, parts(scenarios))) if scenarios else None,
        modes=tuple(dict.fromkeys(m for part in parts(mode) for m in lookup("mode", part, _MODES))),
        round=load_round(round_).name,
        variant=None if variant is None else Variant.parse(variant),
        accuracy_target="highest" if high_accuracy else accuracy_target,
        category=None if category is None else Category.parse(category),
        files=files,
        system=system,
        system_directories=system_dirs,
        layers=tuple(layers),
        output=output,
    )


def parts(text: str) -> list[str]:
    """The words of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]
