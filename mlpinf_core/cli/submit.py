"""``mlpinf submit``: from runs to a tree, checked, cut and packed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, print_table, readers_may_leave, set_up_logging
from mlpinf_core.cli.groups import NamedGroup
from mlpinf_core.cli.options import json_option, round_option
from mlpinf_core.errors import ConfigurationError, ExitCode, PrerequisiteError
from mlpinf_core.plan import DEFAULT_OUTPUT

if TYPE_CHECKING:
    from mlpinf_core.submission.model import Report
    from mlpinf_core.submission.official import OfficialVerdict

_PATH = click.Path(path_type=Path)
_SHOWN = 10
_tree = click.argument("tree", type=_PATH, metavar="TREE")
_password = click.option(
    "--password-file",
    metavar="FILE",
    type=_PATH,
    help="Take the password from the first line of a file, and ask nobody.",
)


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


@submit_command.command(
    "check",
    epilog="\b\nExamples:\n"
    "  mlpinf submit check submission --round v6.1\n"
    "  mlpinf submit check submission --backup whole-logs\n"
    "  mlpinf submit check submission --official ../inference",
)
@_tree
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


@submit_command.command(
    "pack",
    epilog="\b\nExamples:\n"
    "  mlpinf submit pack submission --output ACME.tar.gz\n"
    "  mlpinf submit pack submission --output ACME.tar.gz --encrypt",
)
@_tree
@round_option
@click.option(
    "--output", "archive", metavar="FILE", type=_PATH, required=True, help="The archive to make."
)
@click.option("--encrypt", is_flag=True, help="Encrypt it; asks for a password.")
@_password
@click.option("--replace", is_flag=True, help="An archive that is there gives way.")
@click.option("--unchecked", is_flag=True, help="Pack it although the check finds errors.")
@json_option
@click.pass_obj
def pack_command(
    verbose: int,
    tree: Path,
    round_: str,
    archive: Path,
    encrypt: bool,
    password_file: Path | None,
    replace: bool,
    unchecked: bool,
    as_json: bool,
) -> int:
    """Check a tree, pack it, and unpack it once more to see that nothing is lost."""
    set_up_logging(verbose)
    from mlpinf_core.submission.checking import check
    from mlpinf_core.submission.packing import pack

    if not unchecked:
        report = check(tree, round=round_)
        if not report.ok:
            count = len(list(report.errors()))
            raise PrerequisiteError(
                f"the tree has {count} errors",
                where=str(tree),
                remedy="see `mlpinf submit check`, or pack it all the same with --unchecked",
            )
    password = None
    if encrypt or password_file is not None:
        password = _password_of(password_file, confirm=True)
    packed = pack(tree, archive, password=password, replace=replace)
    if as_json:
        print_json(
            {
                "archive": str(packed.archive),
                "encrypted": packed.encrypted,
                "sha1": packed.sha1,
                "sha256": packed.sha256,
                "files": len(packed.members),
            }
        )
        return 0
    click.echo(f"{packed.archive}: {len(packed.members)} files, unpacked once more and compared")
    click.echo(f"sha1   {packed.sha1}")
    click.echo(f"sha256 {packed.sha256}")
    if packed.encrypted:
        command = f"openssl enc -d -aes256 -pbkdf2 -in {packed.archive.name} | tar -xz"
        click.echo(f"to be unpacked with: {command}")
    return 0


@submit_command.command(
    "verify",
    epilog="\b\nExamples:\n"
    "  mlpinf submit verify ACME.tar.gz\n"
    "  mlpinf submit verify ACME.tar.gz --unpack elsewhere",
)
@click.argument("archive", type=_PATH, metavar="ARCHIVE")
@_password
@click.option(
    "--unpack", "into", metavar="DIR", type=_PATH, help="Keep what is unpacked in this new folder."
)
@click.pass_obj
def verify_command(
    verbose: int, archive: Path, password_file: Path | None, into: Path | None
) -> None:
    """Unpack an archive, and compare every file with its manifest."""
    set_up_logging(verbose)
    from mlpinf_core.submission.encryption import is_encrypted
    from mlpinf_core.submission.packing import verify

    password = None
    if password_file is not None or is_encrypted(archive):
        password = _password_of(password_file, confirm=False)
    packed = verify(archive, password=password, into=into)
    click.echo(f"{packed.archive}: {len(packed.members)} files, as they were packed")
    if into is not None:
        click.echo(f"unpacked to {into}")


def _password_of(file: Path | None, *, confirm: bool) -> str:
    if file is None:
        typed: str = click.prompt("password", hide_input=True, confirmation_prompt=confirm)
        return typed
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"the password cannot be read: {error}", where=str(file)) from error
    if not lines or not lines[0]:
        raise ConfigurationError("the password is empty", where=str(file), remedy="write one")
    return lines[0]


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
