"""``mlpinf audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.options import complete_benchmark, parts
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ConfigurationError, ExitCode
from mlpinf_core.plan import DEFAULT_OUTPUT
from mlpinf_core.plugins import Plugins
from mlpinf_core.rules import round_name
from mlpinf_core.vocabulary import Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.audits.auditor import Audits
    from mlpinf_core.audits.counterparts import AuditRequest, Counterparts
    from mlpinf_core.audits.model import AuditResult


@click.command(
    "audit",
    short_help="Make the compliance tests of runs that are to be submitted.",
    epilog="\b\nExamples:\n"
    "  mlpinf audit whisper --variant tiny\n"
    "  mlpinf audit llama3.1-8b --scenarios Offline,Server --round v6.0\n"
    "  mlpinf audit rgat --against mlpinf-runs/20260101-120000\n"
    "  mlpinf audit null --tests TEST01 --dry-run",
)
@click.argument("names", nargs=-1, metavar="[BENCHMARK]...", shell_complete=complete_benchmark)
@click.option(
    "--benchmarks", metavar="A,B", help="Benchmarks, comma-separated; the same as arguments."
)
@click.option("--scenarios", metavar="X,Y", help="Audit runs in these only.  [default: all]")
@click.option("--variant", metavar="VARIANT", help="Audit runs of this one only.")
@click.option("--round", "round_", metavar="ROUND", help="Audit runs of this one only.")
@click.option("--accuracy-target", metavar="PERCENT", help="Audit runs with this one only.")
@click.option(
    "--tests",
    metavar="X,Y",
    help="TEST01, TEST04, TEST06.  [default: those that the round asks of the benchmark]",
)
@click.option(
    "--against",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the runs are that are audited.  [default: --output]",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUTPUT,
    show_default=True,
    help="Where the audits' directories are made.",
)
@click.option("--dry-run", is_flag=True, help="Show which tests of which runs; make none.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def audit_command(
    verbose: int,
    names: tuple[str, ...],
    benchmarks: str | None,
    scenarios: str | None,
    variant: str | None,
    round_: str | None,
    accuracy_target: str | None,
    tests: str | None,
    against: Path | None,
    output: Path,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make every compliance test that the round asks of runs that have been made.

    Each test is one more run with the settings of the best valid performance run, and with an
    audit.config of its own, in a directory of its own. What comes out is held against that run and
    against the accuracy run, and the files that a submission wants are left beside it.
    """
    set_up_logging(verbose)
    from mlpinf_core.audits.counterparts import AuditRequest, find_counterparts

    plugins = Plugins.from_environment()
    asked = tuple(part for name in (*names, benchmarks or "") for part in parts(name))
    if not asked:
        raise ConfigurationError(
            "no benchmark was named", remedy="name one that has been run: `mlpinf show` tells"
        )
    request = AuditRequest(
        benchmarks=tuple(plugins.benchmark(name).name for name in asked),
        against=output if against is None else against,
        output=output,
        scenarios=tuple(map(Scenario.parse, parts(scenarios))) if scenarios else None,
        variant=None if variant is None else Variant.parse(variant),
        round=None if round_ is None else round_name(round_),
        accuracy_target=accuracy_target,
        tests=tuple(parts(tests)) if tests else None,
    )
    found = find_counterparts(request, plugins)
    if dry_run:
        _show_plan(found, as_json=as_json)
        return ExitCode.OK
    return _audit(found, plugins, request, verbose, as_json=as_json)


def _audit(
    found: Sequence[Counterparts],
    plugins: Plugins,
    request: AuditRequest,
    verbose: int,
    *,
    as_json: bool,
) -> int:
    from mlpinf_core.audits.auditor import audit
    from mlpinf_core.cli.progress import ConsoleReporter

    for none in (counterparts for counterparts in found if not counterparts.tests):
        click.echo(f"{none.workload}: the round asks for no audit", err=True)
    wanted = [counterparts for counterparts in found if counterparts.tests]
    if not wanted:
        if as_json:
            print_json({"exit_code": int(ExitCode.OK), "directory": None, "audits": []})
        return ExitCode.OK
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        audits = audit(wanted, plugins, request.output, reporter=reporter, debug=verbose > 1)
    with readers_may_leave():
        _show(audits, as_json=as_json)
    return audits.exit_code


def _show_plan(found: Sequence[Counterparts], *, as_json: bool) -> None:
    rows = [
        (
            str(each.workload),
            ", ".join(each.tests) or "none",
            str(each.performance.directory),
            str(each.accuracy.directory) if each.accuracy else None,
        )
        for each in found
    ]
    columns = ("workload", "tests", "performance run", "accuracy run")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def _show(audits: Audits, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "exit_code": int(audits.exit_code),
                "directory": str(audits.directory),
                "audits": [
                    {**result.to_dict(), "directory": str(result.directory)}
                    for result in audits.results
                ],
            }
        )
        return
    print_table(
        ("benchmark", "variant", "scenario", "round", "test", "verdict"),
        [
            (
                result.workload.benchmark,
                result.workload.variant,
                result.workload.scenario,
                result.workload.round,
                result.test,
                "passed" if result.passed else "failed",
            )
            for result in audits.results
        ],
    )
    for result in audits.results:
        _show_findings(result)
    click.echo(f"audits: {audits.directory}")


def _show_findings(result: AuditResult) -> None:
    what = f"{result.workload.benchmark} {result.workload.scenario} {result.test}"
    for check in result.checks:
        if check.passed is not False:
            click.echo(f"{what}: {check.name}: {check.detail}")
    for reason in result.reasons:
        click.echo(click.style(f"{what}: ", bold=True) + reason.message)
        if reason.suggestion:
            click.echo(f"  remedy: {reason.suggestion}")
    if not result.passed:
        click.echo(f"  logs: {result.directory}")
