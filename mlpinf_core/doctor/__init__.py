"""What on this machine would hurt a result, or prevent a run, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.doctor.accelerators import check_accelerators
from mlpinf_core.doctor.processors import check_memory, check_processors
from mlpinf_core.doctor.surroundings import check_disk, check_limits
from mlpinf_core.preflight import Check, check_loadgen
from mlpinf_core.systems.detection import detect
from mlpinf_core.systems.recording import RememberingHost

if TYPE_CHECKING:
    from mlpinf_core.scratch import Scratch
    from mlpinf_core.systems.host import Host


def examine(host: Host, scratch: Scratch, round: str) -> list[Check]:  # noqa: A002 - the word of the field
    """Look at everything. Changes nothing, needs no root.

    Args:
        host: the machine.
        scratch: where data and engines live.
        round: the rules that a result is meant for.

    Returns:
        A check each; a failed one prevents runs, a warning costs speed or steadiness, and what
        cannot be looked at is unknown.
    """
    host = RememberingHost(host)
    facts = detect(host)
    return [
        check_loadgen({round}),
        *check_disk(host, scratch),
        *check_limits(host, facts),
        *check_processors(host, facts),
        *check_memory(host, facts),
        *check_accelerators(host, facts),
    ]
