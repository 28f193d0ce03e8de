"""``mlpinf system``: what this machine is, which known system it is, and its description."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from mlpinf_core.cli.console import print_json, set_up_logging
from mlpinf_core.cli.describe import add_command, describe_command
from mlpinf_core.cli.groups import NamedGroup
from mlpinf_core.cli.options import (
    complete_system,
    json_option,
    known_systems,
    machine_option,
    system_directories,
)
from mlpinf_core.cli.tables import print_table
from mlpinf_core.systems.matching import shown
from mlpinf_core.systems.recording import RememberingHost, host_of

if TYPE_CHECKING:
    from mlpinf_core.systems.matching import Match


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
@machine_option
@click.option(
    "--record",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write what the machine was asked and what it answered, to look at it elsewhere.",
)
@json_option
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
@json_option
@click.pass_obj
def list_command(verbose: int, system_dirs: tuple[Path, ...], as_json: bool) -> None:
    """Every known system, and where its file is."""
    set_up_logging(verbose)
    systems = known_systems(system_dirs).systems.values()
    if as_json:
        rows = [{"name": s.name, "summary": s.summary, "file": str(s.path)} for s in systems]
        print_json({"systems": rows})
        return
    print_table(("system", "", "file"), [(s.name, s.summary, s.path) for s in systems])


@system_command.command("show", epilog="\b\nExamples:\n  mlpinf system show H200-SXM-141GBx8")
@click.argument("name", shell_complete=complete_system)
@system_directories
@json_option
@click.pass_obj
def show_command(verbose: int, name: str, system_dirs: tuple[Path, ...], as_json: bool) -> None:
    """How a known system is recognised, described and run."""
    set_up_logging(verbose)
    system = known_systems(system_dirs).find(name)
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
@machine_option
@system_directories
@json_option
@click.pass_obj
def match_command(
    verbose: int, machine: Path | None, system_dirs: tuple[Path, ...], as_json: bool
) -> None:
    """Which known system this machine is: what fits, what differs, and by how much."""
    set_up_logging(verbose)
    from mlpinf_core.systems.choice import choose
    from mlpinf_core.systems.detection import detect_enough

    registry, facts = known_systems(system_dirs), detect_enough(host_of(machine))
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


system_command.add_command(add_command)
system_command.add_command(describe_command)


# -- parts -----------------------------------------------------------------------------------------


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
