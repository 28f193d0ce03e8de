"""Which samples are open: the bookkeeping behind the Responder, without LoadGen or payloads.

A sample that LoadGen issues gets a *slot*; slots are consecutive numbers from 0, and never used
again. The table holds a window of them, from the oldest open one on, in arrays that whole batches
are looked up and marked in at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlpinf_core.protocols import Slots

_FREE: Final = 0
_OPEN: Final = 1
_STARTED: Final = 2
"""Open, and its first token has been reported."""
_DONE: Final = 3

Ids: TypeAlias = Sequence[int] | npt.NDArray[np.uint64]
"""LoadGen's own names for samples."""

_LEAST_ROOM: Final = 4096
"""Slots that the arrays hold at least."""


@attrs.define(eq=False)  # frozen costs a microsecond a query
class Taken:
    """What became of slots that were to be closed.

    Attributes:
        ids: of those that were open, in order.
        unstarted: of those among them whose first token had not been reported.
        positions: where they are among the slots asked for; None means all of them.
        duplicates: how many had been closed before, or were named before in the same call.
        unknown: how many were never given out.
    """

    ids: Ids
    unstarted: Ids
    positions: Sequence[int] | npt.NDArray[np.int64] | None = None
    duplicates: int = 0
    unknown: int = 0


class SlotTable:
    """The slots of a test. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        """No slot has been given out."""
        self.issued = 0
        """How many slots were given out; also the next one."""
        self.open_count = 0
        """How many of them are open."""
        self._base = 0  # the slot that index 0 of the arrays stands for
        self._allocate(_LEAST_ROOM)

    def open(self, ids: Sequence[int]) -> range:
        """Give out slots for ids."""
        count = len(ids)
        if self.issued + count - self._base > len(self._state):
            self._make_room(count)
        first = self.issued - self._base
        if count == 1:
            self._ids[first] = ids[0]
            self._state[first] = _OPEN
        else:
            self._ids_view[first : first + count] = ids
            self._state_view[first : first + count] = _OPEN
        slots = range(self.issued, self.issued + count)
        self.issued += count
        self.open_count += count
        return slots

    def every(self) -> range:
        """A range that holds all open slots."""
        return range(self._base, self.issued)

    def count_open(self, slots: Slots) -> int:
        """How many of the slots are open; one named twice counts once."""
        return len(self._positions(slots)) if self.open_count else 0

    def unstarted(self, slots: Slots) -> tuple[Slots, npt.NDArray[np.uint64]]:
        """Those of the slots that are open and not started, and their ids."""
        found = _as_array(slots)[self._positions(slots)]
        at = found - self._base
        fresh = self._state_view[at] == _OPEN
        return found[fresh], self._ids_view[at[fresh]]

    def start(self, slots: Slots) -> None:
        """Mark open slots started."""
        self._state_view[_as_array(slots) - self._base] = _STARTED

    def take(self, slots: Slots) -> Taken:
        """Close slots: many at once."""
        if isinstance(slots, range) and self._all_open(slots):
            at: Any = slice(slots.start - self._base, slots.stop - self._base)
            return Taken(*self._close(at))
        positions = self._positions(slots)
        every = _as_array(slots)
        ids, unstarted = self._close(every[positions] - self._base)
        if len(positions) == len(every):
            return Taken(ids, unstarted)
        unknown = int(np.count_nonzero((every < 0) | (every >= self.issued)))
        duplicates = len(every) - len(positions) - unknown
        return Taken(ids, unstarted, positions, duplicates, unknown)

    def take_few(self, slots: Slots) -> Taken:
        """Close slots: the same as :meth:`take`, faster for up to ten or so."""
        ids, unstarted, positions = [], [], []
        duplicates = unknown = 0
        used = self.issued - self._base
        for position, slot in enumerate(slots if isinstance(slots, range) else slots.tolist()):
            at = slot - self._base
            state = self._state[at] if 0 <= at < used else _FREE
            if _FREE < state < _DONE:
                self._state[at] = _DONE
                ids.append(self._ids[at])
                positions.append(position)
                if state == _OPEN:
                    unstarted.append(self._ids[at])
            elif 0 <= slot < self.issued:
                duplicates += 1
            else:
                unknown += 1
        self.open_count -= len(ids)
        if not duplicates and not unknown:
            return Taken(ids, unstarted)
        return Taken(ids, unstarted, positions, duplicates, unknown)

    # -- inside ----------------------------------------------------------------------------------

    def _allocate(self, size: int) -> None:
        """New arrays; each is written through its buffer (one item) or its view (many)."""
        self._ids = array("Q", bytes(8 * size))
        self._state = bytearray(size)
        self._ids_view = np.frombuffer(self._ids, dtype=np.uint64)
        self._state_view = np.frombuffer(self._state, dtype=np.uint8)

    def _make_room(self, count: int) -> None:
        """Drop the slots before the oldest open one, and grow when that is not enough."""
        used = self.issued - self._base
        first = used
        if self.open_count:
            first = int(np.argmax(_is_open(self._state_view[:used])))
        ids, state = self._ids_view[first:used], self._state_view[first:used]
        kept = used - first
        self._allocate(max(_LEAST_ROOM, kept + count, 2 * kept))
        self._ids_view[:kept] = ids
        self._state_view[:kept] = state
        self._base += first

    def _all_open(self, slots: range) -> bool:
        """Whether every slot of a range is open: two counts over bytes, and no array."""
        if slots.step != 1 or slots.start < self._base or slots.stop > self.issued:
            return False
        start, stop = slots.start - self._base, slots.stop - self._base
        count = self._state.count(_OPEN, start, stop)
        return count == len(slots) or count + self._state.count(_STARTED, start, stop) == len(slots)

    def _positions(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Positions in ``slots`` that name an open one for the first time."""
        every = _as_array(slots)
        good = (every >= self._base) & (every < self.issued)
        # Slots outside the window are looked up at index 0, and stay excluded.
        good &= _is_open(self._state_view[np.where(good, every - self._base, 0)])
        if not isinstance(slots, range) and not np.all(every[1:] > every[:-1]):
            first = np.zeros(len(every), dtype=bool)
            first[np.unique(every, return_index=True)[1]] = True
            good &= first
        return np.flatnonzero(good)

    def _close(self, at: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Mark open slots done; their ids, and the ids of those not started."""
        ids = self._ids_view[at].copy()
        unstarted = ids[self._state_view[at] == _OPEN]
        self._state_view[at] = _DONE
        self.open_count -= len(ids)
        return ids, unstarted


def _is_open(state: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (state != _FREE) & (state != _DONE)
    return found


def _as_array(slots: Slots) -> npt.NDArray[np.int64]:
    if isinstance(slots, range):
        return np.arange(slots.start, slots.stop, slots.step, dtype=np.int64)
    return slots
