"""``mlpinf check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.tables import print_table
from mlpinf_core.config.layers import merge
from mlpinf_core.config.overrides import parse_assignment

if TYPE_CHECKING:
    from mlpinf_core.testing.check import Report
    from mlpinf_core.testing.rule import Rule


@click.command(
    "check",
    short_help="Put a plugin through the conformance kit.",
    epilog="\b\nExamples:\n"
    "  mlpinf check core\n"
    "  mlpinf check llm --benchmark llama3.1-8b --variant tiny\n"
    "  mlpinf check digits --scenarios Offline,Server --output check-runs --json",
)
@click.argument("plugin")
@click.option("--benchmark", metavar="NAME", help="Which to run.  [default: the plugin's first]")
@click.option(
    "--variant", metavar="VARIANT", help="full or tiny.  [default: tiny where there is one]"
)
@click.option("--backend", metavar="NAME", help="What computes, where there is a choice.")
@click.option("--scenarios", metavar="X,Y", help="Those to run.  [default: all]")
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set one value in every run: --set loadgen.target_qps=10. Repeatable.",
)
@click.option(
    "--not-repeatable",
    is_flag=True,
    help="The backend's answers may differ in the last bit; compare scores instead.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep the runs there.  [default: they are removed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def check_command(
    verbose: int,
    plugin: str,
    benchmark: str | None,
    variant: str | None,
    backend: str | None,
    scenarios: str | None,
    assignments: tuple[str, ...],
    not_repeatable: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Put a plugin through the conformance kit: short real runs, some with faults made in them.

    Ends with 0 when it keeps every rule, and with 5 when it breaks one.
    """
    set_up_logging(verbose)
    from mlpinf_core.testing.check import check_plugin

    report = check_plugin(
        plugin,
        benchmark=benchmark,
        variant=variant,
        backend=backend,
        settings=merge([parse_assignment(text) for text in assignments])[0],
        scenarios=None if scenarios is None else [s for s in scenarios.split(",") if s.strip()],
        repeatable=not not_repeatable,
        directory=None if output is None else output.absolute(),
        on_rule=_announce,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    return int(report.exit_code)


def _announce(rule: Rule) -> None:
    click.echo(f"checking {rule.name}", err=True)


def _print(report: Report) -> None:
    print_table(
        ("rule", "", "seconds", "detail", "remedy"),
        [
            (r.rule.name, r.state.value, f"{r.seconds:.1f}", r.detail or r.rule.statement, r.remedy)
            for r in report.results
        ],
    )
    verdict = "keeps every rule" if report.passed else "breaks rules"
    click.echo(f"plugin {report.plugin!r} {verdict}")
