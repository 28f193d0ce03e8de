"""``mlpinf system``: what this machine is, which known system it is, and its description."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from mlpinf_core.cli.console import print_json, print_table, set_up_logging
from mlpinf_core.cli.groups import NamedGroup
from mlpinf_core.cli.options import complete_system, round_option, system_directories
from mlpinf_core.errors import ConfigurationError, ExitCode, PrerequisiteError
from mlpinf_core.rules import DEFAULT_ROUND
from mlpinf_core.systems.matching import shown
from mlpinf_core.systems.recording import RememberingHost, host_of

if TYPE_CHECKING:
    from mlpinf_core.systems.choice import Choice
    from mlpinf_core.systems.description import Description
    from mlpinf_core.systems.matching import Match
    from mlpinf_core.systems.registry import Registry


_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_machine = click.option(
    "--machine",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Look at a recorded machine instead of this one: see --record.",
)
_name = click.option(
    "--system",
    metavar="NAME",
    shell_complete=complete_system,
    help="A known system or a system file, instead of what is recognised.",
)


@click.group(
    "system",
    cls=NamedGroup,
    short_help="What this machine is, and how a submission describes it.",
    epilog="\b\nExamples:\n"
    "  mlpinf system detect\n"
    "  mlpinf system match\n"
    "  mlpinf system add --name my-server\n"
    "  mlpinf system describe --round v5.1",
)
def system_command() -> None:
    """What this machine is, which known system it is, and how a submission describes it."""


@system_command.command(
    "detect",
    epilog="\b\nExamples:\n"
    "  mlpinf system detect\n"
    "  mlpinf system detect --json\n"
    "  mlpinf system detect --record machine.toml",
)
@_machine
@click.option(
    "--record",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write what the machine was asked and what it answered, to look at it elsewhere.",
)
@_json
@click.pass_obj
def detect_command(verbose: int, machine: Path | None, record: Path | None, as_json: bool) -> None:
    """Processors, memory, accelerators, network, disks and software; where each was read.

    Needs no root and no GPU, and changes nothing. What is unknown says why.
    """
    set_up_logging(verbose)
    from mlpinf_core.systems.detection import detect

    host = RememberingHost(host_of(machine))
    facts = detect(host)
    if record is not None:
        from mlpinf_core.systems.writing import write_file

        write_file(record, host.recording(), "recording")
    if as_json:
        print_json({"facts": facts.to_dict()})
        return
    print_table(
        ("fact", "value", "source"),
        [
            (key, shown(key, fact.value), fact.source)
            if fact.value is not None
            else (key, None, f"{fact.source}: {fact.why}" if len(fact.source) < 60 else fact.why)
            for key, fact in facts.items()
        ],
    )


@system_command.command("list", epilog="\b\nExamples:\n  mlpinf system list")
@system_directories
@_json
@click.pass_obj
def list_command(verbose: int, system_dirs: tuple[Path, ...], as_json: bool) -> None:
    """Every known system, and where its file is."""
    set_up_logging(verbose)
    systems = _registry(system_dirs).systems.values()
    if as_json:
        rows = [{"name": s.name, "summary": s.summary, "file": str(s.path)} for s in systems]
        print_json({"systems": rows})
        return
    print_table(("system", "", "file"), [(s.name, s.summary, s.path) for s in systems])


@system_command.command("show", epilog="\b\nExamples:\n  mlpinf system show H200-SXM-141GBx8")
@click.argument("name", shell_complete=complete_system)
@system_directories
@_json
@click.pass_obj
def show_command(verbose: int, name: str, system_dirs: tuple[Path, ...], as_json: bool) -> None:
    """How a known system is recognised, described and run."""
    set_up_logging(verbose)
    system = _registry(system_dirs).find(name)
    entries = [
        {"for": dict(entry.selectors), "settings": dict(entry.values)}
        for entry in system.settings.entries
    ]
    if system.settings.values:
        entries.insert(0, {"for": {}, "settings": dict(system.settings.values)})
    if as_json:
        print_json(
            {
                "name": system.name,
                "summary": system.summary,
                "file": str(system.path),
                "match": [attrs.asdict(rule) for rule in system.rules],
                "description": dict(system.description),
                "settings_origin": system.settings.origin,
                "settings": entries,
            }
        )
        return
    click.echo(f"{system.name}: {system.summary}\n{system.path}\n")
    print_table(
        ("recognised by", "expected", ""),
        [(r.key, r.expectation(), "" if r.required else "for the score") for r in system.rules],
    )
    print_table(("description", "value"), list(system.description.items()))
    print_table(
        ("settings for", "value"),
        [(_selected(entry["for"]), _flat(entry["settings"])) for entry in entries],
        title=system.settings.origin,
    )


@system_command.command(
    "match",
    epilog="\b\nExamples:\n  mlpinf system match\n  mlpinf system match --machine machine.toml",
)
@_machine
@system_directories
@_json
@click.pass_obj
def match_command(
    verbose: int, machine: Path | None, system_dirs: tuple[Path, ...], as_json: bool
) -> None:
    """Which known system this machine is: what fits, what differs, and by how much."""
    set_up_logging(verbose)
    from mlpinf_core.systems.choice import choose
    from mlpinf_core.systems.detection import detect_enough

    registry, facts = _registry(system_dirs), detect_enough(host_of(machine))
    choice = choose(None, registry, lambda: facts)
    matches = registry.matches(facts)
    if as_json:
        candidates = [m.to_dict() for m in matches]
        print_json({"system": choice.to_dict(), "candidates": candidates})
        return
    click.echo(f"{choice.name} ({choice.how})\n")
    for found in matches:
        _print_match(found)
    if choice.file is None:
        click.echo("No known system fits. `mlpinf system add` describes this machine as a new one.")


@system_command.command(
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
@_machine
@_json
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


@system_command.command(
    "describe",
    epilog="\b\nExamples:\n"
    "  mlpinf system describe --round v5.1\n"
    "  mlpinf system describe --field submitter=ACME --field division=open\n"
    "  mlpinf system describe --output systems/my-server.json",
)
@round_option
@_name
@system_directories
@_machine
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
@_json
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
    choice = choose(system, _registry(system_dirs), lambda: facts)
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


# -- parts -----------------------------------------------------------------------------------------


def _registry(directories: tuple[Path, ...]) -> Registry:
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.systems.registry import Registry

    return Registry.load(Plugins.from_environment().system_directories(), directories)


def _refuse_name_of_another(name: str, path: Path, directories: tuple[Path, ...]) -> None:
    """A second system of that name would make every later look-up fail."""
    from mlpinf_core.names import fold

    for known in _registry(directories).systems.values():
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


def _print_match(found: Match) -> None:
    fit = "fits" if found.fits else "does not fit"
    print_table(
        ("fact", "", "expected", "found"),
        [
            (
                f.rule.key + ("" if f.rule.required else " (for the score)"),
                "ok" if f.holds else "unknown" if f.holds is None else "differs",
                f.rule.expectation(),
                f.why or shown(f.rule.key, f.value),
            )
            for f in found.findings
        ],
        title=f"{found.name}: {fit}, score {found.score:.2f}",
    )


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


def _selected(selectors: dict[str, tuple[str, ...]]) -> str:
    return "\n".join(f"{k}: {', '.join(v)}" for k, v in selectors.items()) or "every workload"


def _flat(values: dict[str, Any], prefix: str = "") -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines.append(_flat(value, f"{prefix}{key}."))
        else:
            lines.append(f"{prefix}{key} = {value}")
    return "\n".join(lines)
