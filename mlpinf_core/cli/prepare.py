"""``mlpinf fetch``, ``mlpinf prepare`` and ``mlpinf build``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, print_table, set_up_logging
from mlpinf_core.cli.options import request_options
from mlpinf_core.plan import Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.scratch import Scratch, readable

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.benchmark import AnySource


@click.command(
    "fetch",
    epilog="\b\nExamples:\n"
    "  mlpinf fetch llama3.1-8b --variant tiny\n"
    "  mlpinf fetch llama3.1-8b --variant tiny --status",
)
@request_options
@click.option(
    "--status", is_flag=True, help="Show what is there and what is missing; fetch nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def fetch_command(verbose: int, request: Request, status: bool, as_json: bool) -> None:
    """Fetch and check the files and folders that benchmarks need, into the scratch space.

    That is MLPERF_SCRATCH_PATH, or the user's cache directory without it. What is already there and
    right is left alone; an interrupted download goes on where it stopped.
    """
    set_up_logging(verbose)
    from mlpinf_core import downloads

    scratch = Scratch.from_environment()
    plugins = Plugins.from_environment()
    sources: dict[AnySource, Path | None] = {}
    for planned in make_plan(request, plugins).runs:
        sources |= planned.sources(plugins)
    if not status:
        from mlpinf_core.cli.transfer import transfer_progress

        for source, local in sources.items():
            with transfer_progress(source) as progress:
                downloads.fetch(source, scratch, local=local, progress=progress, remedy=source.hint)
    rows = [(s, downloads.status(s, scratch, local=local)) for s, local in sources.items()]
    if as_json:
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
                    for source, found in rows
                ],
            }
        )
        return
    if not rows:
        click.echo("nothing to fetch")
        return
    print_table(
        ("file", "size", "licence", "state", "path"),
        [
            (source.name, readable(source.size), source.licence, found.state.value, found.path)
            for source, found in rows
        ],
    )


@click.command(
    "prepare",
    epilog="\b\nExamples:\n  mlpinf prepare llama3.1-8b --variant tiny",
)
@request_options
@click.pass_obj
def prepare_command(verbose: int, request: Request) -> None:
    """Fetch, preprocess and build engines, so that later runs start at once. Runs no test."""
    _prepare(verbose, request)
    click.echo("prepared")


@click.command(
    "build",
    epilog="\b\nExamples:\n"
    "  mlpinf build sdxl --variant tiny --backend tensorrt --set backend.target=8.9\n"
    "  mlpinf build sdxl --backend tensorrt --scenarios Offline,Server",
)
@request_options
@click.pass_obj
def build_command(verbose: int, request: Request) -> None:
    """Build the engines of benchmarks, and say which were built and which were there.

    An engine is built again when something that decides its content has changed, and it is said
    what. What it is made from is fetched and prepared first. Runs no test.
    """
    scratch = Scratch.from_environment()
    before = set(_engines(scratch))
    _prepare(verbose, request)
    engines = _engines(scratch)
    if not engines:
        click.echo("no engines: this backend builds none")
        return
    print_table(
        ("engine", "size", "state"),
        [
            (path.name, readable(size), "was there" if path in before else "built")
            for path, size in engines.items()
        ],
    )


def _engines(scratch: Scratch) -> dict[Path, int]:
    """The engines of a scratch space and their sizes in bytes."""
    from mlpinf_core.manifest import FILE_NAME

    return {
        path.parent: sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        for path in sorted(scratch.engines.glob(f"[!.]*/{FILE_NAME}"))
    }


def _prepare(verbose: int, request: Request) -> None:
    set_up_logging(verbose)
    from mlpinf_core.cli.progress import ConsoleReporter
    from mlpinf_core.preparing import prepare

    plugins = Plugins.from_environment()
    plan = make_plan(request, plugins)
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        prepare(plan, plugins, reporter=reporter, debug=verbose > 1)
