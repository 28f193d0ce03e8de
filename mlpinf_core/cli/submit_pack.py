"""``mlpinf submit pack`` and ``mlpinf submit verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.options import json_option, round_option
from mlpinf_core.errors import ConfigurationError, PrerequisiteError

_PATH = click.Path(path_type=Path)
_password = click.option(
    "--password-file",
    metavar="FILE",
    type=_PATH,
    help="Take the password from the first line of a file, and ask nobody.",
)


@click.command(
    "pack",
    epilog="\b\nExamples:\n"
    "  mlpinf submit pack submission --output ACME.tar.gz\n"
    "  mlpinf submit pack submission --output ACME.tar.gz --encrypt",
)
@click.argument("tree", type=_PATH, metavar="TREE")
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


@click.command(
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
        try:
            typed: str = click.prompt("password", hide_input=True, confirmation_prompt=confirm)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise PrerequisiteError(
                "a password is needed, and there is nobody to ask for it",
                remedy="give --password-file FILE, with the password on its first line",
            ) from None
        return typed
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"the password cannot be read: {error}", where=str(file)) from error
    if not lines or not lines[0]:
        raise ConfigurationError("the password is empty", where=str(file), remedy="write one")
    return lines[0]
