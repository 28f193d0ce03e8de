"""``mlpinf submit check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.options import json_option, round_option
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ExitCode

if TYPE_CHECKING:
    from mlpinf_core.submission.model import Report
    from mlpinf_core.submission.official import OfficialVerdict

_PATH = click.Path(path_type=Path)
_SHOWN = 10


@click.command(
    "check",
    epilog="\b\nExamples:\n"
    "  mlpinf submit check submission --round v6.1\n"
    "  mlpinf submit check submission --backup whole-logs\n"
    "  mlpinf submit check submission --official ../inference",
)
@click.argument("tree", type=_PATH, metavar="TREE")
@round_option
@click.option(
    "--backup",
    metavar="DIR",
    type=_PATH,
    help="Where `mlpinf submit truncate` put the whole logs: their checksums are compared.",
)
@click.option("--submitter", metavar="NAME", help="Check this submitter alone.")
@click.option(
    "--official",
    "checkout",
    metavar="CHECKOUT",
    type=_PATH,
    help="Run the official checkers of this checkout of mlcommons/inference as well.",
)
@click.option(
    "--official-python",
    metavar="PYTHON",
    help="The interpreter for them; it needs PyYAML.  [default: this one]",
)
@json_option
@click.pass_obj
def check_command(
    verbose: int,
    tree: Path,
    round_: str,
    backup: Path | None,
    submitter: str | None,
    checkout: Path | None,
    official_python: str | None,
    as_json: bool,
) -> int:
    """Hold a tree against the rules of its round: file, rule and remedy of all that is wrong.

    Ends with 3 while something is.
    """
    set_up_logging(verbose)
    from mlpinf_core.submission.checking import check
    from mlpinf_core.submission.official import run_official

    report = check(tree, round=round_, backup=backup, submitter=submitter)
    verdicts = (
        run_official(checkout, tree, round=report.round, python=official_python)
        if checkout is not None
        else []
    )
    if as_json:
        said = [
            {
                "checker": verdict.checker,
                "ok": verdict.ok,
                "agrees": verdict.agrees(report),
                "command": list(verdict.command),
                "lines": list(verdict.lines),
            }
            for verdict in verdicts
        ]
        print_json({**report.to_dict(), "official": said})
    else:
        with readers_may_leave():
            _print_report(report, verdicts)
    good = report.ok and all(verdict.ok for verdict in verdicts)
    return int(ExitCode.OK if good else ExitCode.INVALID)


def _print_report(report: Report, verdicts: list[OfficialVerdict]) -> None:
    for finding in report.findings:
        click.echo(f"{finding.severity}: {finding}")
    if report.results:
        rows = [
            (
                each.name,
                None if each.value is None else f"{each.value:,.5g} {each.unit}",
                ", ".join(f"{metric} {value:g}" for metric, value in each.accuracy.items()),
                "ok" if each.valid else "failed",
            )
            for each in report.results
        ]
        print_table(("result", "figure", "accuracy", ""), rows)
    errors = len(list(report.errors()))
    warnings = len(report.findings) - errors
    good = sum(each.valid for each in report.results)
    click.echo(
        f"{report.round}: {good} of {len(report.results)} results without errors; "
        f"{errors} errors, {warnings} warnings"
    )
    for verdict in verdicts:
        word = {True: "looks OK", False: "has errors", None: "no verdict"}[verdict.ok]
        same = "agrees" if verdict.agrees(report) else "disagrees"
        click.echo(f"official {verdict.checker}: {word} ({same} with ours)")
        if not verdict.ok:
            for line in verdict.lines[:_SHOWN]:
                click.echo(f"  {line}")
