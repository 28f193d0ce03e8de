"""A system file for a machine that has none: what was detected filled in, the rest marked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.systems.description import FieldState
from mlpinf_core.systems.toml import toml_value
from mlpinf_core.systems.writing import write_file

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.systems.description import Description
    from mlpinf_core.systems.facts import Facts

MARK: Final = "TO FILL IN"
"""What stands beside everything that a person has to say."""

_TOLERANCE: Final = 0.05
"""Of memory: drivers and firmware keep more or less of it for themselves."""

_CHANGING: Final = ("framework", "operating_system", "other_software_stack")
"""Keys whose values an upgrade changes."""


def system_file_text(name: str, facts: Facts, description: Description) -> str:
    """The text of a system file.

    Args:
        name: of the system.
        facts: of the machine.
        description: of the machine, without a file; what is missing in it is marked.
    """
    parts = [
        f"# {name}: written by `mlpinf system add` from what was detected. What is marked",
        f'# "{MARK}" is for you to say;',
        f"# `mlpinf system describe --system {name}` tells what is left.",
        "",
        "[system]",
        f"name = {toml_value(name)}",
        f"summary = {toml_value(_summary(facts))}",
        "",
        "# The machine is recognised as this system where all of these hold.",
        "[match]",
        *_rules(facts),
        "",
        "# The official description, as far as it was detected. Of software, which changes, it is",
        "# detected anew each time unless you say it here.",
        "[description]",
        *_description(description),
        "",
        *_settings(facts),
    ]
    return "\n".join(parts) + "\n"


def write_system_file(path: Path, text: str, *, force: bool) -> None:
    """Write a system file whole or not at all.

    Raises:
        ConfigurationError: it is there already, and ``force`` was not given.
        PrerequisiteError: it cannot be written.
    """
    if os.path.lexists(path) and not force:
        raise ConfigurationError(
            "there is a system file of that name already",
            where=str(path),
            remedy="choose another --name, or overwrite it with --force",
        )
    write_file(path, text, "system file")


def _summary(facts: Facts) -> str:
    count, name = facts.number("accelerator.count"), facts.text("accelerator.name")
    sockets, model = facts.value("cpu.sockets"), facts.text("cpu.model") or "unknown processor"
    processors = f"{sockets} × {model}" if sockets else model
    return f"{int(count)} × {name}, {processors}" if count and name else processors


def _rules(facts: Facts) -> list[str]:
    lines = []
    keys = ["cpu.architecture", "accelerator.count"]
    if facts.value("accelerator.count"):
        keys += ["accelerator.name", "accelerator.memory_bytes", "accelerator.mig"]
    keys += ["cpu.model", "cpu.sockets", "cpu.cores", "memory.total_bytes"]
    for key in keys:
        fact = facts[key]
        if fact.value is None:
            lines.append(f"# {key}: {_comment(fact.why or 'unknown')}")
        elif key.endswith("_bytes"):
            wanted = {"near": fact.value, "tolerance": _TOLERANCE}
            lines.append(f"{toml_value(key)} = {toml_value(wanted)}")
        else:
            lines.append(f"{toml_value(key)} = {toml_value(fact.value)}")
    return lines


def _description(description: Description) -> list[str]:
    lines = []
    for field in description.fields:
        key = field.key if field.key.replace("_", "").isalnum() else toml_value(field.key)
        match field.state:
            case FieldState.MISSING:
                lines.append(f'{key} = ""  # {MARK}: {field.expected}')
            case FieldState.EMPTY:
                lines.append(
                    f'{key} = ""  # {field.expected.removesuffix("; may be empty")}; may stay empty'
                )
            case _:
                anew = "# " if field.key in _CHANGING else ""
                lines.append(
                    f"{anew}{key} = {toml_value(field.value)}  # detected: {_comment(field.source)}"
                )
    return lines


def _comment(text: str) -> str:
    """A text that a machine may have written, fit for a comment: one line, nothing that acts."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def _settings(facts: Facts) -> list[str]:
    """Where tuned settings go, and how the machine's processors could be shared out."""
    lines = [
        "# Tuned settings go here, for every workload or in [[for]] entries, as in any settings",
        "# file. Nothing is set: what is not set is measured, or has a default.",
    ]
    nodes = [k.split(".")[1] for k in facts if k.startswith("numa.") and k.endswith(".cpus")]
    if len(nodes) > 1:
        lists = [f"node:{node}" for node in nodes]
        lines += [
            "",
            "# One worker a NUMA node, each on that node's processors:",
            "# [sut]",
            f"# workers = {len(nodes)}",
            f"# worker_cpus = {toml_value(lists)}",
        ]
    return lines
