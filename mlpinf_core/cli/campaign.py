"""``mlpinf campaign``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.campaign.file import DEFAULT_FILE, read_campaign
from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.groups import NamedGroup
from mlpinf_core.cli.options import json_option
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ExitCode
from mlpinf_core.plugins import Plugins

if TYPE_CHECKING:
    from mlpinf_core.campaign.running import Campaign
    from mlpinf_core.campaign.status import CampaignStatus
    from mlpinf_core.errors import MlpinfError

_file = click.argument(
    "file", required=False, type=click.Path(path_type=Path), metavar="[CAMPAIGN.TOML]"
)


class _CampaignGroup(NamedGroup):
    """Takes a file for a command: ``mlpinf campaign campaign.toml`` runs it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or ``run`` before what looks like a file."""
        if args and args[0] not in self.commands and args[0].endswith(".toml"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(
    "campaign",
    cls=_CampaignGroup,
    short_help="Many workloads from nothing to a packed submission; goes on where it stopped.",
    epilog="\b\nExamples:\n  mlpinf campaign campaign.toml\n  mlpinf campaign status campaign.toml",
)
def campaign_command() -> None:
    """Many workloads from nothing to a packed submission; goes on where it stopped.

    `mlpinf campaign FILE.toml` is short for `mlpinf campaign run FILE.toml`.
    """


@campaign_command.command(
    "run", epilog="\b\nExamples:\n  mlpinf campaign run\n  mlpinf campaign campaign.toml"
)
@_file
@click.pass_obj
def run_command(verbose: int, file: Path | None) -> int:
    """Do what is not done yet: prepare, run, audit, stage, check, pack.

    May be killed at any moment and started again. Without a file, campaign.toml.
    """
    set_up_logging(verbose)
    from mlpinf_core.campaign.running import carry_out
    from mlpinf_core.campaign.status import status_of
    from mlpinf_core.cli.progress import ConsoleReporter

    campaign = _campaign(file)
    with ConsoleReporter(verbose=bool(verbose)) as reporter:
        code = carry_out(campaign, _tell, reporter, debug=verbose > 1)
    with readers_may_leave():
        _show(status_of(campaign))
    return code


@campaign_command.command(
    "status",
    epilog="\b\nExamples:\n  mlpinf campaign status\n  mlpinf campaign status campaign.toml --json",
)
@_file
@json_option
@click.pass_obj
def status_command(verbose: int, file: Path | None, as_json: bool) -> int:
    """Where a campaign stands, from what is on disk. Changes nothing, also while it runs."""
    set_up_logging(verbose)
    from mlpinf_core.campaign.status import status_of

    status = status_of(_campaign(file))
    with readers_may_leave():
        if as_json:
            print_json(status.to_dict())
        else:
            _show(status)
    return ExitCode.OK


def _campaign(file: Path | None) -> Campaign:
    from mlpinf_core.campaign.jobs import check_submittable
    from mlpinf_core.campaign.running import Campaign

    campaign = Campaign.of(read_campaign(file or DEFAULT_FILE), Plugins.from_environment())
    check_submittable(campaign.file, campaign.jobs, campaign.plugins)
    return campaign


def _tell(step: str, error: MlpinfError | None = None) -> None:
    if error is None:
        click.echo(f"campaign: {step}", err=True)
        return
    click.echo(click.style(f"campaign: {step} failed: ", bold=True) + error.what, err=True)
    if error.where:
        click.echo(f"  where: {error.where}", err=True)
    if error.remedy:
        click.echo(f"  remedy: {error.remedy}", err=True)


def _show(status: CampaignStatus) -> None:
    print_table(
        ("workload", "prepare", "performance", "accuracy", "audits"),
        [
            (
                job.workload,
                job.prepare,
                job.performance,
                job.accuracy,
                ", ".join(f"{test} {state}" for test, state in job.audits.items()) or "none asked",
            )
            for job in status.jobs
        ],
    )
    for reason in status.left_out:
        click.echo(f"left out: {reason}")
    for job in status.jobs:
        if job.problem is not None:
            click.echo(click.style(f"{job.workload}: ", bold=True) + job.problem)
    for step, text in status.steps.items():
        click.echo(f"{step}: {text}")
    if status.running is not None:
        step, since, pid = (status.running.get(key, "?") for key in ("step", "since", "pid"))
        click.echo(f"running: {step}, since {since} (process {pid})")
    done, every = status.done
    click.echo(f"{done} of {every} steps are done")
