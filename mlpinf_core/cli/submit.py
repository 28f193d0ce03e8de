"""``mlpinf submit``: from runs to a tree, checked, cut and packed."""

from __future__ import annotations

from pathlib import Path

import click

from mlpinf_core.cli.console import print_json, readers_may_leave, set_up_logging
from mlpinf_core.cli.groups import NamedGroup
from mlpinf_core.cli.options import json_option, round_option
from mlpinf_core.cli.submit_check import check_command
from mlpinf_core.cli.submit_pack import pack_command, verify_command
from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.plan import DEFAULT_OUTPUT

_PATH = click.Path(path_type=Path)
_SHOWN = 10
_tree = click.argument("tree", type=_PATH, metavar="TREE")


@click.group(
    "submit",
    cls=NamedGroup,
    short_help="From runs to a submission: stage, check, truncate, pack, verify.",
    epilog="\b\nExamples:\n"
    "  mlpinf submit stage --division open --submitter ACME --output submission\n"
    "  mlpinf submit truncate submission --backup whole-logs\n"
    "  mlpinf submit check submission\n"
    "  mlpinf submit pack submission --output ACME.tar.gz --encrypt",
)
def submit_command() -> None:
    """From runs to a submission: stage, check, truncate, pack, verify."""


@submit_command.command(
    "stage",
    epilog="\b\nExamples:\n"
    "  mlpinf submit stage --division open --submitter ACME --output submission\n"
    "  mlpinf submit stage mlpinf-runs/20261123-152415 --round v6.1 --division closed \\\n"
    "    --submitter ACME --source ./code --calibration calibration.md --output submission",
)
@click.argument("runs", nargs=-1, type=_PATH, metavar="[RUNS]...")
@round_option
@click.option("--division", metavar="DIVISION", required=True, help="closed or open.")
@click.option("--submitter", metavar="NAME", required=True, help="The organisation.")
@click.option(
    "--output", metavar="TREE", type=_PATH, required=True, help="The tree to make, or to add to."
)
@click.option(
    "--field",
    "fields",
    metavar="KEY=VALUE",
    multiple=True,
    help="Say one field of the systems' descriptions. Repeatable.",
)
@click.option(
    "--measurement",
    "measurements",
    metavar="KEY=VALUE",
    multiple=True,
    help="Say one field of the files of measurements. Repeatable.",
)
@click.option(
    "--source",
    metavar="PATH",
    type=_PATH,
    help="Source code to submit; in the open division, a note of the packages does.",
)
@click.option(
    "--calibration",
    metavar="FILE",
    type=_PATH,
    help="The calibration note; in the open division, one is made.",
)
@click.option("--replace", is_flag=True, help="What the submitter has there gives way.")
@json_option
@click.pass_obj
def stage_command(
    verbose: int,
    runs: tuple[Path, ...],
    round_: str,
    division: str,
    submitter: str,
    output: Path,
    fields: tuple[str, ...],
    measurements: tuple[str, ...],
    source: Path | None,
    calibration: Path | None,
    replace: bool,
    as_json: bool,
) -> None:
    """Put the best valid runs below RUNS (mlpinf-runs) into a tree, whole or not at all."""
    set_up_logging(verbose)
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.submission.staging import stage
    from mlpinf_core.vocabulary import Division

    staged = stage(
        runs or (DEFAULT_OUTPUT,),
        output,
        plugins=Plugins.from_environment(),
        round=round_,
        division=Division.parse(division),
        submitter=submitter,
        fields=_said(fields, "--field"),
        measurements=_said(measurements, "--measurement"),
        source=source,
        calibration=calibration,
        replace=replace,
    )
    if as_json:
        left = [{"what": each.what, "why": each.why} for each in staged.left]
        print_json({"tree": str(staged.tree), "entries": list(staged.entries), "left_out": left})
        return
    with readers_may_leave():
        for entry in staged.entries:
            click.echo(f"staged: {entry}")
        for each in staged.left[:_SHOWN]:
            click.echo(f"left out: {each}")
        if len(staged.left) > _SHOWN:
            click.echo(f"left out: {len(staged.left) - _SHOWN} more; --json lists them")
        click.echo(f"{len(staged.entries)} results in {staged.tree}")


submit_command.add_command(check_command)


@submit_command.command(
    "truncate", epilog="\b\nExamples:\n  mlpinf submit truncate submission --backup whole-logs"
)
@_tree
@round_option
@click.option(
    "--backup",
    metavar="DIR",
    type=_PATH,
    required=True,
    help="Where the whole logs are kept; they may be asked for.",
)
@click.pass_obj
def truncate_command(verbose: int, tree: Path, round_: str, backup: Path) -> None:
    """Cut the accuracy logs to what the repository takes; the whole ones are kept."""
    set_up_logging(verbose)
    from mlpinf_core.rules import load_round
    from mlpinf_core.submission.truncation import truncate

    if not tree.is_dir():
        raise PrerequisiteError("there is no such folder", where=str(tree))
    cut = truncate(tree, backup, load_round(round_).submission)
    for each in cut:
        click.echo(f"{each.path}: {each.size:,} bytes, sha256 {each.sha256}")
    click.echo(f"{len(cut)} logs cut; the whole ones are in {backup}" if cut else "nothing to cut")


submit_command.add_command(pack_command)
submit_command.add_command(verify_command)


def _said(assignments: tuple[str, ...], option: str) -> dict[str, str]:
    said = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise ConfigurationError(
                f"{text!r} says nothing",
                where=f"{option} {text}",
                remedy=f"write {option} KEY=VALUE",
            )
        said[key.strip()] = value.strip()
    return said
