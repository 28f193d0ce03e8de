"""Finding out what a machine is: every fact with where it was read, none of them an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.systems.detection.accelerators import look_for_accelerators
from mlpinf_core.systems.detection.peripherals import look_for_network, look_for_storage
from mlpinf_core.systems.detection.processors import (
    look_for_details,
    look_for_memory,
    look_for_processors,
)
from mlpinf_core.systems.detection.software import look_for_software, look_for_surroundings
from mlpinf_core.systems.facts import Facts, Looking
from mlpinf_core.systems.recording import RememberingHost

if TYPE_CHECKING:
    from mlpinf_core.systems.host import Host


def detect(host: Host) -> Facts:
    """All facts of a machine. Takes no root, changes nothing, and raises nothing."""
    looking = _recognisable(host)
    look_for_details(looking)
    look_for_network(looking)
    look_for_storage(looking)
    look_for_software(looking)
    return looking.facts


def detect_enough(host: Host) -> Facts:
    """The facts that a known system is recognised by, and no others: for every plan anew."""
    return _recognisable(host).facts


def _recognisable(host: Host) -> Looking:
    """Look for processors, memory, accelerators and the number of nodes."""
    looking = Looking(RememberingHost(host))
    look_for_surroundings(looking)
    look_for_processors(looking)
    look_for_memory(looking)
    look_for_accelerators(looking)
    return looking
