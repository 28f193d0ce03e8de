"""``mlpinf doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.options import json_option, machine_option, round_option
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ExitCode
from mlpinf_core.preflight import CheckState

if TYPE_CHECKING:
    from pathlib import Path


@click.command("doctor", epilog="\b\nExamples:\n  mlpinf doctor\n  mlpinf doctor --json")
@round_option
@machine_option
@json_option
@click.pass_obj
def doctor_command(verbose: int, round_: str, machine: Path | None, as_json: bool) -> int:
    """What on this machine would hurt a result, with the remedy. Changes nothing.

    Ends with 0 where there are warnings alone, and with 5 where something prevents runs.
    """
    set_up_logging(verbose)
    from mlpinf_core.doctor import examine
    from mlpinf_core.rules import load_round
    from mlpinf_core.scratch import Scratch
    from mlpinf_core.systems.recording import host_of

    checks = examine(host_of(machine), Scratch.from_environment(), load_round(round_).name)
    failed = any(check.state is CheckState.FAILED for check in checks)
    if as_json:
        print_json({"round": load_round(round_).name, "checks": [c.to_dict() for c in checks]})
    else:
        print_table(
            ("check", "", "detail", "remedy"),
            [(c.name, c.state.value, c.detail, c.remedy) for c in checks],
        )
        warnings = sum(check.state is CheckState.WARNING for check in checks)
        click.echo("something prevents runs" if failed else f"warnings: {warnings}")
    return int(ExitCode.FAILED if failed else ExitCode.OK)
