"""``run.json``: everything a run was made from, so that it can be explained and repeated."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import LogError, PrerequisiteError
from mlpinf_core.hashing import write_atomically
from mlpinf_core.machine import total_memory, usable_processors
from mlpinf_core.rules import load_round

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.plugins import PluginInfo
    from mlpinf_core.vocabulary import Mode, Workload

FORMAT: Final = 1
"""Of the files in a run directory; rises when a reader of the old would misread the new."""
FILE_NAME: Final = "run.json"


def make(
    workload: Workload,
    mode: Mode,
    config: Mapping[str, Any],
    *,
    directory: Path,
    scratch: Path,
    plugins: list[PluginInfo],
    system: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of a run that is about to start.

    Args:
        workload: what is run.
        mode: what is measured of it.
        config: as :func:`mlpinf_core.config.dump.to_dict` writes it.
        directory: of the run.
        scratch: the root of the scratch space.
        plugins: every one that is installed, with its state.
        system: which system it is made on, and what was detected of it.
    """
    seeds = load_round(workload.round).seeds
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "workload": workload.to_dict(),
        "mode": mode.value,
        "directory": str(directory),
        "scratch": str(scratch),
        "config": dict(config),
        "seeds": {
            "qsl_rng_seed": seeds.qsl_rng_seed,
            "sample_index_rng_seed": seeds.sample_index_rng_seed,
            "schedule_rng_seed": seeds.schedule_rng_seed,
        },
        "plugins": [
            {"name": p.name, "distribution": p.distribution, "version": p.version, "state": p.state}
            for p in plugins
        ],
        "versions": _versions(),
        "system": {**_system(), **(system or {})},
        "command": sys.argv,
    }


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file of the run directory whole or not at all."""
    text = json.dumps(finite(data), indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def finite(data: Any) -> Any:
    """The same data with None for numbers that JSON does not have: NaN and the infinities."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of the run directory.

    Raises:
        LogError: it is not there, not JSON, or of a later format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LogError(
            f"there is no {path.name}", where=str(path.parent), remedy="is this a run directory?"
        ) from None
    except (OSError, ValueError) as error:
        raise LogError(f"{path.name} cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise LogError(f"{path.name} is damaged: it holds no object", where=str(path))
    if data.get("format", FORMAT) > FORMAT:
        raise LogError(
            f"{path.name} was written by a later mlpinf", where=str(path), remedy="upgrade mlpinf"
        )
    return data


def new_directory(output: Path) -> Path:
    """A new directory for the runs of one command, named by the time (UTC).

    Raises:
        PrerequisiteError: it cannot be made.
    """
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for number in itertools.count(1):
        directory = output / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError as error:
            if not directory.is_dir():
                raise unwritable(output, error) from error
        except OSError as error:
            raise unwritable(directory, error) from error
        else:
            return directory
    raise AssertionError("counting never ends")


def unwritable(directory: Path, error: OSError) -> PrerequisiteError:
    """The error for a run directory that cannot be written."""
    return PrerequisiteError(
        f"the output directory cannot be written: {error.strerror or error}",
        where=str(error.filename or directory),
        remedy="choose another with --output, or make room",
    )


def _versions() -> dict[str, str]:
    """Every installed distribution: what a result depends on is not known in advance."""
    found = {d.name: d.version for d in importlib.metadata.distributions() if d.name}
    return {"python": platform.python_version()} | dict(sorted(found.items()))


def _system() -> dict[str, Any]:
    """The facts that need no detection."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "usable_processors": usable_processors(),
        "memory_bytes": total_memory(),
    }
