"""What the ways of fetching a file have in common: their failure, progress, and the last check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.hashing import checksum_fault, sha256_of, size_fault
from mlpinf_core.scratch import readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.benchmark import Source


@attrs.frozen
class Patience:
    """How long to try.

    Attributes:
        timeout_s: seconds without a byte before a connection counts as dead.
        tries: attempts in a row that may fail for a reason that can pass.
        backoff_s: seconds before the second attempt; each later one waits twice as long.
    """

    timeout_s: float = 30.0
    tries: int = 3
    backoff_s: float = 1.0


class WayFailedError(Exception):
    """One way of fetching a file did not lead to it; the next may.

    Attributes:
        reason: in one line.
        wrong: whether it led to a file that is not the one wanted.
        status: the HTTP status that a server refused with, or None.
    """

    def __init__(self, reason: str, *, wrong: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = " ".join(reason.split())
        self.wrong = wrong
        self.status = status


class Progress:
    """Reports bytes to a callback: the first and the last ones, and at most ten times a second."""

    _INTERVAL_S = 0.1

    def __init__(self, callback: Callable[[int, int], None] | None, total: int) -> None:
        self._callback = callback
        self._total = total
        self._next = 0.0
        self._told = -1

    def almost(self, done: int) -> None:
        """As a call, for bytes that are not yet checked to be all of them."""
        self(min(done, self._total - 1))

    def __call__(self, done: int) -> None:
        """``done`` bytes are there, out of the file's size."""
        if self._callback is None or done == self._told:
            return
        now = time.monotonic()
        if now < self._next and done < self._total:
            return
        self._next = now + self._INTERVAL_S
        self._told = done
        self._callback(done, self._total)


def no_room(need: int, free: int) -> str:
    """The words for a disk that is too full, the same everywhere."""
    return f"there is no room ({readable(need)} needed, {readable(free)} free)"


def accept(candidate: Path, source: Source) -> None:
    """Check a fetched file; a wrong one is deleted, so that nothing is ever resumed from it.

    Raises:
        WayFailedError: its size or checksum is not the source's; names both.
        OSError: it cannot be read.
    """
    fault = size_fault(candidate, source.size)
    if fault is None:
        actual = sha256_of(candidate)
        if actual == source.sha256:
            return
        fault = checksum_fault(actual, source.sha256)
    candidate.unlink(missing_ok=True)
    raise WayFailedError(f"what was fetched {fault}", wrong=True)
