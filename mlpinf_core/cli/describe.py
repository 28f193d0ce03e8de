"""``mlpinf system add`` and ``mlpinf system describe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.options import (
    complete_system,
    json_option,
    known_systems,
    machine_option,
    round_option,
    system_directories,
)
from mlpinf_core.cli.tables import print_table
from mlpinf_core.errors import ConfigurationError, ExitCode, PrerequisiteError
from mlpinf_core.rules import DEFAULT_ROUND
from mlpinf_core.systems.recording import host_of

if TYPE_CHECKING:
    from mlpinf_core.systems.choice import Choice
    from mlpinf_core.systems.description import Description

_name = click.option(
    "--system",
    metavar="NAME",
    shell_complete=complete_system,
    help="A known system or a system file, instead of what is recognised.",
)


@click.command(
    "add",
    epilog="\b\nExamples:\n"
    "  mlpinf system add\n"
    "  mlpinf system add --name my-server --system-dir ./systems",
)
@click.option("--name", metavar="NAME", help="Of the system.  [default: a generated one]")
@click.option(
    "--system-dir",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to write the file.  [default: the user's configuration]",
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@machine_option
@json_option
@click.pass_obj
def add_command(
    verbose: int,
    name: str | None,
    directory: Path | None,
    force: bool,
    machine: Path | None,
    as_json: bool,
) -> None:
    """Write a system file for this machine: what was detected filled in, the rest marked."""
    set_up_logging(verbose)
    from mlpinf_core.systems.adding import system_file_text, write_system_file
    from mlpinf_core.systems.choice import generated_name
    from mlpinf_core.systems.description import describe
    from mlpinf_core.systems.detection import detect
    from mlpinf_core.systems.files import proper_name
    from mlpinf_core.systems.registry import new_files_directory

    facts = detect(host_of(machine))
    name = proper_name(name, "--name") if name is not None else generated_name(facts)
    place = directory or new_files_directory()
    if place is None:
        raise PrerequisiteError(
            "the user's home directory is unknown", remedy="name a directory with --system-dir"
        )
    path = place / f"{name}.toml"
    _refuse_name_of_another(name, path, (place,) if place.is_dir() else ())
    description = describe(name, facts, {}, origins={}, round=DEFAULT_ROUND)
    write_system_file(path, system_file_text(name, facts, description), force=force)
    missing = [field.key for field in description.missing]
    if as_json:
        print_json({"name": name, "file": str(path), "missing": missing})
        return
    click.echo(f"{name} is written to {path}")
    if missing:
        click.echo(f"to fill in: {', '.join(missing)}")


@click.command(
    "describe",
    epilog="\b\nExamples:\n"
    "  mlpinf system describe --round v5.1\n"
    "  mlpinf system describe --field submitter=ACME --field division=open\n"
    "  mlpinf system describe --output systems/my-server.json",
)
@round_option
@_name
@system_directories
@machine_option
@click.option("--power", is_flag=True, help="Ask for what a power measurement wants as well.")
@click.option(
    "--field",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Say one field: --field submitter=ACME. Repeatable.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the official JSON there, when it is complete.",
)
@click.option("--draft", is_flag=True, help="Write it although fields are missing.")
@json_option
@click.pass_obj
def describe_command(
    verbose: int,
    round_: str,
    system: str | None,
    system_dirs: tuple[Path, ...],
    machine: Path | None,
    power: bool,
    assignments: tuple[str, ...],
    output: Path | None,
    draft: bool,
    as_json: bool,
) -> int:
    """The official description: what is detected, what the system file says, what is missing.

    Ends with 5 while a field is missing.
    """
    set_up_logging(verbose)
    from mlpinf_core.systems.choice import choose
    from mlpinf_core.systems.description import describe_system
    from mlpinf_core.systems.detection import detect

    facts = detect(host_of(machine))
    choice = choose(system, known_systems(system_dirs), lambda: facts)
    found = describe_system(
        choice,
        facts,
        round=round_,
        power=power,
        fields=_said(assignments),
        fields_from="--field",
    )
    written = output is not None and (found.complete or draft)
    if output is not None and written:
        from mlpinf_core.systems.writing import write_file

        write_file(output, found.official_json(), "description")
    if as_json:
        print_json(
            {
                "system": choice.to_dict(),
                "round": found.round,
                "complete": found.complete,
                "missing": [field.key for field in found.missing],
                "fields": [field.to_dict() for field in found.fields],
                "description": found.official(),
            }
        )
    else:
        _print_description(found, choice, output if written else None)
    return int(ExitCode.OK if found.complete else ExitCode.FAILED)


def _refuse_name_of_another(name: str, path: Path, directories: tuple[Path, ...]) -> None:
    """A second system of that name would make every later look-up fail."""
    from mlpinf_core.names import fold

    for known in known_systems(directories).systems.values():
        if fold(known.name) == fold(name) and known.path != path.resolve():
            raise ConfigurationError(
                f"there is a system named {known.name!r} already",
                where=str(known.path),
                remedy="choose another name with --name",
            )


def _said(assignments: tuple[str, ...]) -> dict[str, str]:
    """The fields that the command line says."""
    said = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise ConfigurationError(
                f"{text!r} says nothing",
                where=f"--field {text}",
                remedy="write --field KEY=VALUE",
            )
        said[key.strip()] = value.strip()
    return said


def _print_description(found: Description, choice: Choice, written: Path | None) -> None:
    rows = []
    for field in found.fields:
        note = field.source or f"expected: {field.expected}"
        if field.detected is not None:
            note += f"; detected: {field.detected}"
        rows.append((field.key, field.state.value, field.value, note))
    title = f"{found.name} ({choice.how}), {found.round}"
    print_table(("field", "", "value", "from"), rows, title=title)
    if written is not None:
        click.echo(f"written to {written}")
    if found.complete:
        click.echo(f"complete: {len(found.fields)} fields")
    else:
        names = ", ".join(field.key for field in found.missing)
        count = len(found.missing)
        click.echo(f"not complete: {count} of {len(found.fields)} fields are missing: {names}")
        click.echo("say them in a system file (`mlpinf system add`) or with --field KEY=VALUE")
