"""What a child process tells its parent while it works: one JSON object a line, over a pipe.

The parent keeps them as ``events.jsonl`` in the run directory.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PHASE: Final = "phase"
"""``name``: preparing, loading, warming up, running, scoring."""
STEP: Final = "step"
"""``text``, ``done``, ``total``: progress of something long in a phase."""
PROGRESS: Final = "progress"
"""``issued``, ``completed``, ``failed``, ``tokens``: of the test; ``busy``: whether LoadGen waits
for the SUT to return. Also a sign of life."""
FAILURE: Final = "failure"
"""``code``, ``message``, ``count``: samples that were not answered as they should have been."""
NOTE: Final = "note"
"""``text``: what else to know of the run; it goes into the verdict's notes."""
SETTINGS: Final = "settings"
"""``embedded_round``, ``loadgen_version``, ``user_conf``, ``seeds_enforced``: of LoadGen; and
``concurrency``: most samples that the SUT computes at the same time, None where it does not say."""
BINDING: Final = "binding"
"""``cpus``, ``memory_nodes``, ``not_applied``: what the child bound itself to; ``worker_cpus``: and
its workers. A later event of the kind stands above the earlier."""
ERROR: Final = "error"
"""``type``, ``what``, ``where``, ``remedy``, ``exit_code``: why the child gives up."""
RESULT: Final = "result"
"""What the task made: see :mod:`mlpinf_core.loadgen.child`."""


class EventWriter:
    """Writes events; thread-safe. Without a descriptor it drops them."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Write to ``descriptor``, an open pipe."""
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def emit(self, kind: str, **fields: Any) -> None:
        """Write one event.

        A parent that is gone is not an error here: it ends the child by other means.
        """
        if self._descriptor is None:
            return
        event = {"event": kind, "time": round(time.time(), 3), **fields}
        line = (json.dumps(event) + "\n").encode()
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except BrokenPipeError:
                self._descriptor = None

    def phase(self, name: str) -> None:
        """A phase begins."""
        self.emit(PHASE, name=name)

    def step(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Progress of something long: bytes, samples or tensors ``done`` of ``total``."""
        self.emit(STEP, text=text, done=done, total=total)

    def note(self, text: str) -> None:
        """Something to know of the run beside its verdict: how it was counted, what limited it."""
        self.emit(NOTE, text=text)


def parse(line: bytes) -> Mapping[str, Any] | None:
    """One event; None for a line that a dying child did not finish."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
