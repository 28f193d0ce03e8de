"""``mlpinf show``."""

from __future__ import annotations

from pathlib import Path

import click

from mlpinf_core.cli.console import set_up_logging
from mlpinf_core.cli.report import headline
from mlpinf_core.cli.run import show_results
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import DEFAULT_OUTPUT
from mlpinf_core.record import FILE_NAME
from mlpinf_core.results import CONTACT_SHEET, RESULT_NAME, Results, RunResult


@click.command(
    "show",
    epilog="\b\nExamples:\n"
    "  mlpinf show\n"
    "  mlpinf show mlpinf-runs/20260101-120000\n"
    "  mlpinf show mlpinf-runs/20260101-120000 --json\n"
    "  mlpinf show mlpinf-runs/20260101-120000 --images",
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option(
    "--images", is_flag=True, help="Say where the contact sheet of an accuracy run's images is."
)
@click.pass_obj
def show_command(verbose: int, run: Path | None, as_json: bool, images: bool) -> None:
    """The result of an earlier run: a run directory, or one that holds several.

    Without an argument, the latest below mlpinf-runs. Ends with 0 whatever the result is.
    """
    set_up_logging(verbose)
    directory = run if run is not None else _latest(DEFAULT_OUTPUT)
    if not any(directory.glob("*.json")) and any(directory.glob("*/*/*/" + RESULT_NAME)):
        directory = _latest(directory)  # what was given to --output
    levels = ("", "*/", "*/*/")  # a run, the runs of a workload, those of a command
    results_here = [path for level in levels for path in directory.glob(level + RESULT_NAME)]
    found = sorted(results_here, key=lambda path: path.stat().st_mtime)
    if not found and (directory / FILE_NAME).exists():
        raise ConfigurationError(
            "this run began and never came to an end: its process was killed",
            where=str(directory),
            remedy=f"look at child.log there, or repeat it: mlpinf run --repeat {directory}",
        )
    if not found:
        raise ConfigurationError(
            "there is no result here", where=str(directory), remedy="name a run directory"
        )
    if images:
        _show_images([path.parent for path in found], directory)
        return
    results = Results(tuple(RunResult.read(path.parent) for path in found), directory)
    show_results(results, as_json=as_json, now=False)
    if not as_json and len(results.runs) == 1:
        _show_details(results.runs[0])


def _show_images(runs: list[Path], directory: Path) -> None:
    """Print where the pictures are that scoring wrote."""
    sheets = [sheet for run in runs if (sheet := run / CONTACT_SHEET).is_file()]
    if not sheets:
        raise ConfigurationError(
            "there are no images here",
            where=str(directory),
            remedy="name an accuracy run of a benchmark that makes images",
        )
    for sheet in sheets:
        click.echo(sheet)


def _latest(output: Path) -> Path:
    sessions = sorted(p for p in output.glob("*") if any(p.glob("*/*/" + RESULT_NAME)))
    if not sessions:
        raise ConfigurationError(
            "nothing has been run here yet",
            where=str(output),
            remedy="run something, or name a run directory",
        )
    return sessions[-1]


def _show_details(run: RunResult) -> None:
    performance = run.performance
    if performance is None:
        return
    rows: list[tuple[str, str]] = [
        ("result", headline(performance)),
        ("samples", f"{performance.samples:,}"),
        ("duration", f"{performance.duration:,.1f} s"),
    ]
    for name, spread in (
        ("latency", performance.latency),
        ("time to first token", performance.ttft),
        ("time per output token", performance.tpot),
    ):
        if spread is not None:
            rows.append((f"{name}, mean", f"{spread.mean / 1e6:,.3f} ms"))
            rows += [
                (f"{name}, p{percentile:g}", f"{value / 1e6:,.3f} ms")
                for percentile, value in spread.percentiles.items()
            ]
    print_table(("figure", "value"), rows)
