"""What runs came to, for people: one table, then every cause with what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ExitCode
from mlpinf_core.vocabulary import Mode

if TYPE_CHECKING:
    from mlpinf_core.accuracy import MetricScore
    from mlpinf_core.logs.result import Performance
    from mlpinf_core.results import Results, RunResult

_MEANING = {
    ExitCode.OK: "every run is valid, and accurate where accuracy was measured",
    ExitCode.USAGE: "a setting is wrong",
    ExitCode.INVALID: "a run is INVALID",
    ExitCode.ACCURACY: "accuracy is outside the limits",
    ExitCode.FAILED: "a plugin, a backend or a prerequisite failed",
    ExitCode.INTERRUPTED: "interrupted",
}


def print_results(results: Results, *, now: bool) -> None:
    """The table of runs, with the causes below it; ``now`` if the command has just made them."""
    print_table(
        ("benchmark", "variant", "scenario", "mode", "result", "verdict", "accuracy"),
        [_row(run) for run in results.runs],
    )
    for run in results.runs:
        _print_why(run)
    for reason in results.skipped:
        click.echo(f"skipped: {reason}")
    for note, whose in _notes(results).items():
        click.echo(f"note: {note} ({whose})")
    click.echo(f"runs: {results.directory}")
    code = "exit code" if now else "exit code then:"
    click.echo(f"{code} {int(results.exit_code)}: {_MEANING.get(results.exit_code, '')}")


def _row(run: RunResult) -> tuple[object, ...]:
    return (
        run.workload.benchmark,
        run.workload.variant,
        run.workload.scenario,
        run.mode,
        headline(run.performance) if run.performance is not None else None,
        "VALID" if run.verdict.valid else "INVALID",
        _accuracy(run),
    )


def headline(performance: Performance) -> str:
    """The figure that counts, in its published unit."""
    value, unit = performance.value, performance.unit
    if unit == "ms" and value < 1:
        value, unit = 1000 * value, "µs"
    digits = f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
    return f"{digits} {unit}"


def _accuracy(run: RunResult) -> str | None:
    if run.mode is not Mode.ACCURACY:
        return None
    if run.accuracy is None:
        return "not scored"
    if run.accuracy.not_graded and all(s.passed or s.not_graded for s in run.accuracy.scores):
        return "not graded"
    return "passed" if run.accuracy.passed else "failed"


def _print_why(run: RunResult) -> None:
    """Scores, causes and notes of one run."""
    what = f"{run.workload.benchmark} {run.workload.scenario} {run.mode}"
    if run.accuracy is not None:
        scores = ", ".join(_score(score) for score in run.accuracy.scores)
        click.echo(f"{what}: {scores}")
    for cause in (*run.verdict.causes, *([run.unscored] if run.unscored else [])):
        click.echo(click.style(f"{what}: ", bold=True) + cause.message)
        if cause.suggestion:
            click.echo(f"  remedy: {cause.suggestion}")
    if not run.verdict.valid:
        click.echo(f"  logs: {run.directory}")


def _notes(results: Results) -> dict[str, str]:
    """Each note once, with the runs it is about."""
    found: dict[str, list[str]] = {}
    for run in results.runs:
        for note in run.verdict.notes:
            found.setdefault(note, []).append(f"{run.workload.scenario} {run.mode}")
    return {
        note: "all runs" if len(whose) == len(results.runs) > 1 else ", ".join(whose)
        for note, whose in found.items()
    }


def _score(score: MetricScore) -> str:
    if score.not_graded is not None:
        return f"{score.metric} not graded ({score.not_graded})"
    limit = score.limit
    bounds = []
    if limit is not None and limit.lower is not None:
        bounds.append(f"≥ {limit.lower:g}")
    if limit is not None and limit.upper is not None:
        bounds.append(f"≤ {limit.upper:g}")
    text = " and ".join(bounds)
    return f"{score.metric} {score.value:.4g}" + (f" ({text})" if text else "")
