"""``mlpinf run`` and ``mlpinf plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.options import request_options
from mlpinf_core.cli.serve import (
    Wanted,
    refuse_without_serve,
    running_servers,
    server_options,
    with_servers,
)
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ConfigurationError, ExitCode, InterruptedRunError
from mlpinf_core.plan import Plan, PlannedRun, Request, make_plan
from mlpinf_core.plugins import Plugins
from mlpinf_core.preflight import (
    Check,
    CheckState,
    check,
    estimate_of,
    expected_seconds,
    needs_measuring,
)
from mlpinf_core.repeating import request_to_repeat
from mlpinf_core.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.results import Results
    from mlpinf_core.vocabulary import Mode


@click.command(
    "run",
    short_help="Run benchmarks: LoadGen, performance, accuracy, verdict.",
    epilog="\b\nExamples:\n"
    "  mlpinf run llama3.1-8b --variant tiny --scenarios Offline,Server\n"
    "  mlpinf run --benchmarks llama3.1-8b,llama2-70b --variant tiny --mode performance\n"
    "  mlpinf run llama3.1-8b --variant tiny --scenarios Server --set loadgen.target_qps=8\n"
    "  mlpinf run llama3.1-8b --variant tiny --dry-run\n"
    "  mlpinf run --repeat mlpinf-runs/20260101-120000/llama3.1-8b-.../performance",
)
@request_options
@click.option("--dry-run", is_flag=True, help="Show the plan and what is missing; run nothing.")
@click.option(
    "--repeat",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Repeat an earlier run from its run.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--serve", is_flag=True, help="Start servers first, run against them, stop them.")
@server_options
@click.pass_obj
def run_command(
    verbose: int,
    request: Request,
    dry_run: bool,
    repeat: Path | None,
    as_json: bool,
    serve: bool,
    wanted: Wanted,
) -> int:
    """Run benchmarks × scenarios × modes through LoadGen, and judge each run.

    A target rate that is configured nowhere is measured in a short pass first, and recorded with
    that origin. Every run has a directory of its own with all logs.
    """
    set_up_logging(verbose)
    if repeat is not None:
        _refuse_beside_repeat()
        if request.benchmarks:
            raise ConfigurationError(
                "--repeat and a benchmark were both given", remedy="give one of them"
            )
        request = request_to_repeat(repeat, request)
    if not serve:
        refuse_without_serve()
        return _run(request, verbose, dry_run=dry_run, as_json=as_json)
    first = f"http://{wanted.options.host}:{wanted.options.port}"
    against = with_servers(request, {}, [first])  # refuses now what cannot be
    if dry_run:
        return _run(against, verbose, dry_run=True, as_json=as_json)
    with running_servers(request, wanted, verbose=verbose) as servers:
        against = with_servers(request, servers.settings, servers.urls)
        return _run(against, verbose, dry_run=False, as_json=as_json)


def _run(request: Request, verbose: int, *, dry_run: bool, as_json: bool) -> int:
    """Plan and carry out, or show the plan."""
    plugins = Plugins.from_environment()
    plan = make_plan(request, plugins)
    if dry_run:
        return _show_plan(plan, plugins, as_json=as_json)
    from mlpinf_core.cli.progress import ConsoleReporter
    from mlpinf_core.runner import Runner

    for reason in plan.left_out:
        click.echo(f"left out: {reason}", err=True)
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        runner = Runner(plan, plugins, reporter=reporter, debug=verbose > 1)
        try:
            results = runner.run()
        except InterruptedRunError as error:
            results = error.results
    return show_results(results, as_json=as_json)


@click.command(
    "plan",
    short_help="Show what `run` would do, how long it takes, what is missing.",
    epilog="\b\nExamples:\n"
    "  mlpinf plan llama3.1-8b --variant tiny --scenarios Offline,Server\n"
    "  mlpinf plan llama2-70b --category datacenter --json",
)
@request_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def plan_command(verbose: int, request: Request, as_json: bool) -> int:
    """Show what `mlpinf run` with the same options would do. Nothing is run or written."""
    set_up_logging(verbose)
    plugins = Plugins.from_environment()
    return _show_plan(make_plan(request, plugins), plugins, as_json=as_json)


_DECIDED_BY_REPEAT = (
    "benchmarks", "scenarios", "mode", "variant", "round_", "accuracy_target", "high_accuracy",
    "category",
)  # fmt: skip


def _refuse_beside_repeat() -> None:
    """The record says what is run; an option that says it too would be ignored in silence."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in _DECIDED_BY_REPEAT and source is ParameterSource.COMMANDLINE:
            raise ConfigurationError(
                f"--repeat and {parameter.opts[0]} were both given",
                remedy="give one of them; settings may be changed with --set",
            )


def show_results(results: Results, *, as_json: bool, now: bool = True) -> int:
    """Print what the runs came to, now or earlier; returns their exit code."""
    with readers_may_leave():
        _print_results(results, as_json=as_json, now=now)
    return int(results.exit_code)


def _print_results(results: Results, *, as_json: bool, now: bool) -> None:
    if as_json:
        print_json(
            {
                "exit_code": int(results.exit_code),
                "directory": str(results.directory),
                "skipped": list(results.skipped),
                "runs": [run.to_dict() for run in results.runs],
            }
        )
    else:
        from mlpinf_core.cli.report import print_results

        print_results(results, now=now)


def _show_plan(plan: Plan, plugins: Plugins, *, as_json: bool) -> int:
    checks = check(plan, plugins, Scratch.from_environment())
    failed = any(c.state is CheckState.FAILED for c in checks)
    runs = [_planned_run(planned, plugins, mode) for planned in plan.runs for mode in planned.modes]
    if as_json:
        print_json(
            {
                "runs": runs,
                "left_out": list(plan.left_out),
                "checks": [c.to_dict() for c in checks],
            }
        )
    else:
        _print_plan(runs, plan, checks)
    return ExitCode.FAILED if failed else ExitCode.OK


def _planned_run(planned: PlannedRun, plugins: Plugins, mode: Mode) -> dict[str, object]:
    """One run of a plan, as ``--json`` prints it."""
    estimate = estimate_of(planned, plugins, mode)
    return {
        **planned.workload.to_dict(),
        "mode": mode.value,
        "backend": planned.config(plugins, mode).run.backend,
        "expected_seconds": expected_seconds(planned, plugins, mode, estimate),
        "rate_is_measured_first": needs_measuring(planned, plugins, mode),
        "estimated_samples_per_second": estimate and estimate.samples_per_second,
        "estimated_target_qps": estimate and estimate.target_qps,
    }


def _print_plan(runs: Sequence[Mapping[str, object]], plan: Plan, checks: list[Check]) -> None:
    print_table(
        ("benchmark", "variant", "scenario", "round", "target", "mode", "backend", "expected"),
        [
            (
                run["benchmark"],
                run["variant"],
                run["scenario"],
                run["round"],
                f"{run['accuracy_target']} %",
                run["mode"],
                run["backend"],
                _expected(run),
            )
            for run in runs
        ],
    )
    for reason in plan.left_out:
        click.echo(f"left out: {reason}")
    print_table(
        ("preflight", "", "detail", "remedy"),
        [(c.name, c.state.value, c.detail, c.remedy) for c in checks],
    )


def _expected(run: Mapping[str, object]) -> str:
    seconds = run["expected_seconds"]
    text = "the data set once" if seconds is None else f"{seconds:.4g} s at least"
    if rate := run["estimated_target_qps"]:
        text += f", at a target QPS of about {rate:.4g}"
    elif rate := run["estimated_samples_per_second"]:
        text += f", at about {rate:.4g} samples/s"
    return text + (", after a measured pass" if run["rate_is_measured_first"] else "")
