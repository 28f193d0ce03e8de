"""``mlpinf fetch``, ``mlpinf prepare`` and ``mlpinf build``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.options import fetching_options, preparing_options
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.inventory import Needed, bytes_by_hand, require_room, sources_of_all
from mlpinf_core.plan import Plan, Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.preflight import CheckState, check
from mlpinf_core.scratch import Scratch, readable, sizes_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mlpinf_core.benchmark import AnySource

_all_option = click.option(
    "--all", "every", is_flag=True, help="Every installed benchmark, in every variant that runs."
)


@click.command(
    "fetch",
    epilog="\b\nExamples:\n"
    "  mlpinf fetch llama3.1-8b --variant tiny\n"
    "  mlpinf fetch --all --variant tiny\n"
    "  mlpinf fetch llama3.1-8b --variant tiny --status",
)
@fetching_options
@_all_option
@click.option(
    "--status", is_flag=True, help="Show what is there and what is missing; fetch nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def fetch_command(verbose: int, request: Request, every: bool, status: bool, as_json: bool) -> None:
    """Fetch and check the files and folders that benchmarks need, into the scratch space.

    That is MLPERF_SCRATCH_PATH, or the user's cache directory without it. What is to be fetched is
    said first, and nothing is if it would not fit. What is already there and right is left alone;
    an interrupted download goes on where it stopped. What only a person can get comes last.
    """
    set_up_logging(verbose)
    scratch = Scratch.from_environment()
    needed = list(_needed(request, every=every))
    if not status:
        _fetch(needed, scratch)
    if as_json:
        _print_status_json(needed, scratch)
    elif needed:
        _print_status(needed, scratch)
    else:
        click.echo("nothing to fetch")


def _needed(request: Request, *, every: bool) -> Iterator[Needed]:
    plugins = Plugins.from_environment()
    if not every:
        for planned in make_plan(request, plugins).runs:
            whose = f"{planned.workload.benchmark} {planned.workload.variant}"
            for source, local in planned.sources(plugins).items():
                yield Needed(source, local, whose)
        return
    _refuse_names(request)
    found, left_out = sources_of_all(plugins, request.variant)
    for reason in left_out:
        click.echo(f"left out: {reason}", err=True)
    yield from found


def _refuse_names(request: Request) -> None:
    if request.benchmarks:
        raise ConfigurationError("--all and a benchmark were both given", remedy="give one of them")


def _fetch(needed: Sequence[Needed], scratch: Scratch) -> None:
    """Say what is to be fetched, see that it fits, and fetch it."""
    from mlpinf_core import downloads
    from mlpinf_core.cli.transfer import transfer_progress

    left = require_room(needed, scratch)
    by_hand = bytes_by_hand(needed, scratch)
    if by_hand:
        click.echo(f"{readable(by_hand)} are for you to get: nothing here can fetch them", err=True)
    if left:
        click.echo(
            f"{readable(left)} to fetch into {scratch.root}, {readable(scratch.free_bytes())} free",
            err=True,
        )
    # One that cannot be had keeps no other from being fetched; what a person has to get comes last.
    failed: list[tuple[AnySource, PrerequisiteError]] = []
    for each in sorted(dict.fromkeys(needed), key=lambda each: each.source.by_hand):
        source = each.source
        try:
            quiet: AbstractContextManager[Any] = contextlib.nullcontext()
            with quiet if source.by_hand else transfer_progress(source) as progress:
                downloads.fetch(
                    source, scratch, local=each.local, progress=progress, remedy=source.hint
                )
        except PrerequisiteError as error:
            failed.append((source, error))
    if failed:
        raise _all_of(failed, scratch)


def _all_of(
    failed: Sequence[tuple[AnySource, PrerequisiteError]], scratch: Scratch
) -> PrerequisiteError:
    """One error for all that could not be had; what is got in one way is told of together."""
    if len(failed) == 1:
        return failed[0][1]
    told: dict[str, list[str]] = {}
    for source, error in failed:
        missing = source.by_hand and not isinstance(error, IntegrityError)
        told.setdefault(str(source.gated if missing else error), []).append(source.name)
    lines = [f"{len(failed)} files or folders could not be had:"]
    for text, names in told.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        by_hand = not text.startswith(names[0])
        lines.append(f"{names[0]}{more} cannot be fetched unattended: {text}" if by_hand else text)
    return PrerequisiteError(
        "\n- ".join(lines),
        where=str(scratch.root),
        remedy="do what is said of each, and fetch again; what has been fetched stays",
    )


def _print_status_json(needed: Sequence[Needed], scratch: Scratch) -> None:
    from mlpinf_core import downloads

    rows = [(n.source, downloads.status(n.source, scratch, local=n.local)) for n in needed]
    print_json(
        {
            "scratch": str(scratch.root),
            "files": [
                {
                    "name": source.name,
                    "size": source.size,
                    "licence": source.licence,
                    "state": found.state.value,
                    "path": str(found.path),
                }
                for source, found in dict(rows).items()
            ],
        }
    )


def _print_status(needed: Sequence[Needed], scratch: Scratch) -> None:
    from mlpinf_core import downloads

    rows = {n.source: downloads.status(n.source, scratch, local=n.local) for n in needed}
    print_table(
        ("file", "size", "licence", "state", "path"),
        [
            (source.name, readable(source.size), source.licence, found.state.value, found.path)
            for source, found in rows.items()
        ],
    )


@click.command(
    "prepare",
    epilog="\b\nExamples:\n"
    "  mlpinf prepare llama3.1-8b --variant tiny\n"
    "  mlpinf prepare --all --variant tiny",
)
@preparing_options
@_all_option
@click.pass_obj
def prepare_command(verbose: int, request: Request, every: bool) -> None:
    """Fetch, preprocess and build engines, so that later runs start at once. Runs no test.

    What is missing is said first, and nothing is begun that would not fit or could not be had.
    """
    _prepare(verbose, request, every=every)
    click.echo("prepared")


@click.command(
    "build",
    epilog="\b\nExamples:\n"
    "  mlpinf build sdxl --variant tiny --backend tensorrt --set backend.target=8.9\n"
    "  mlpinf build sdxl --backend tensorrt --scenarios Offline,Server",
)
@preparing_options
@click.pass_obj
def build_command(verbose: int, request: Request) -> None:
    """Build the engines of benchmarks, and say which were built and which were there.

    An engine is built again when something that decides its content has changed, and it is said
    what. What it is made from is fetched and prepared first. Runs no test.
    """
    folder = Scratch.from_environment().engines
    engines = [
        (path.name, readable(_size(path)), "built" if built_now else "was there")
        for path, built_now in _prepare(verbose, request).items()
        if path.parent == folder
    ]
    if engines:
        print_table(("engine", "size", "state"), engines)
    else:
        click.echo("no engines: this backend builds none")


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(size for _, size in sizes_in(folder))


def _prepare(verbose: int, request: Request, *, every: bool = False) -> dict[Path, bool]:
    """Prepare; the folders of the artifacts that were needed, and whether each was built now."""
    set_up_logging(verbose)
    from mlpinf_core.cli.progress import ConsoleReporter
    from mlpinf_core.preparing import prepare

    plugins = Plugins.from_environment()
    plans = list(_plans(request, plugins)) if every else [make_plan(request, plugins)]
    for plan in plans:
        _require_ready(plan, plugins)
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        artifacts: dict[Path, bool] = {}
        for plan in plans:
            artifacts |= prepare(plan, plugins, reporter=reporter, debug=verbose > 1)
    return artifacts


def _plans(request: Request, plugins: Plugins) -> Iterator[Plan]:
    """A plan for each benchmark and variant that can be run."""
    _refuse_names(request)
    for benchmark in plugins.benchmarks():
        for variant in benchmark.variants:
            if request.variant in (None, variant):
                one = attrs.evolve(
                    request,
                    benchmarks=(benchmark.name,),
                    variant=variant,
                    scenarios=request.scenarios or benchmark.scenarios[:1],
                )
                try:
                    yield make_plan(one, plugins)
                except PrerequisiteError as error:
                    click.echo(f"left out: {error.what}", err=True)


def _require_ready(plan: Plan, plugins: Plugins) -> None:
    """Say what is still to be fetched, and refuse what would fail."""
    found = check(plan, plugins, Scratch.from_environment())
    for each in found:
        if each.state is CheckState.TO_DO:
            click.echo(f"{each.name}: {each.detail}", err=True)
    failed = [each for each in found if each.state is CheckState.FAILED]
    if failed:
        raise PrerequisiteError(
            "; ".join(f"{each.name}: {each.detail}" for each in failed),
            remedy="; ".join(dict.fromkeys(each.remedy for each in failed if each.remedy)) or None,
        )
