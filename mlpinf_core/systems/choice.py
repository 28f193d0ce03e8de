"""Which system a run is made on: one that is named, one that is recognised, or a new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import UnknownNameError
from mlpinf_core.systems.files import SystemFile, read_system_file, sanitised
from mlpinf_core.systems.matching import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpinf_core.systems.facts import Facts
    from mlpinf_core.systems.registry import Registry

NAME_VARIABLE: Final = "SYSTEM_NAME"
"""The environment variable that MLPerf users know: the system's name, whatever the machine is."""

NONE: Final = "none"
"""As a system's name: no system file, and no recognition."""


@attrs.frozen
class Choice:
    """The system of a run.

    Attributes:
        name: of the system.
        how: why it is this one: ``--system``, ``environment variable SYSTEM_NAME``,
            ``recognised`` or ``not registered``.
        file: its file; None where there is none.
        match: how well the machine fits it, where it was recognised.
    """

    name: str
    how: str
    file: SystemFile | None = None
    match: Match | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``run.json``."""
        path = None if self.file is None else str(self.file.path)
        return {"name": self.name, "how": self.how, "file": path}


def choose(
    asked: str | None,
    registry: Registry,
    facts: Callable[[], Facts],
    environ: Mapping[str, str] | None = None,
) -> Choice:
    """Settle on a system.

    Args:
        asked: a name or a system file; None means ``SYSTEM_NAME``, and without that recognition.
        registry: the known ones.
        facts: of the machine; called where they are needed.
        environ: the environment; the process's own by default.

    Raises:
        UnknownNameError: a system was named that is not known.
        ConfigurationError: a system file was named that is wrong.
    """
    environ = os.environ if environ is None else environ
    how = "--system"
    if asked is None and environ.get(NAME_VARIABLE):
        asked, how = environ[NAME_VARIABLE], f"environment variable {NAME_VARIABLE}"
    if asked == NONE:
        return Choice(NONE, how)
    if asked is not None:
        file = _named(asked, how, registry)
        return Choice(file.name, how, file)
    known = facts()
    best = next((m for m in registry.matches(known) if m.fits), None)
    if best is not None:
        return Choice(best.name, "recognised", registry.systems[best.name], best)
    return Choice(generated_name(known), "not registered")


def generated_name(facts: Facts) -> str:
    """The name of a machine that nobody has described: ``UNREGISTERED_x86_64_NVIDIA-L4x4``."""
    architecture = facts.text("cpu.architecture") or "unknown"
    count = facts.number("accelerator.total")
    if count is None:
        what = "unknown-accelerators"
    elif count == 0:
        what = f"CPUx{facts.value('cpu.sockets') or 1}"
    else:
        name = facts.text("accelerator.name") or "accelerator"
        # A name may be that of the maker and of a product line; all of it tells machines apart.
        if facts.value("accelerator.mig"):
            each = (facts.number(f"accelerator.{n}.mig_devices") for n in range(int(count)))
            name, count = f"{name} MIG", sum(filter(None, each)) or count
        what = f"{name}x{int(count)}"
    return f"UNREGISTERED_{sanitised(architecture)}_{sanitised(what)}"


def _named(asked: str, how: str, registry: Registry) -> SystemFile:
    if Path(asked).is_file():
        return read_system_file(Path(asked))
    try:
        return registry.find(asked)
    except UnknownNameError as error:
        remedy = (
            f"{error.remedy}; `mlpinf system add --name {sanitised(asked)}` describes a new one"
        )
        raise UnknownNameError("system", asked, error.known, where=how, remedy=remedy) from None
