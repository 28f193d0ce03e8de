"""The slot table against the plainest model of it: a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlpinf_core.loadgen.slots import SlotTable

if TYPE_CHECKING:
    from mlpinf_core.protocols import Slots

SLOTS = st.one_of(
    st.builds(
        lambda start, length, step: range(start, start + length * step, step),
        st.integers(-3, 40),
        st.integers(0, 30),
        st.sampled_from([1, 1, 2]),
    ),
    st.lists(st.integers(-3, 60), max_size=30).map(lambda found: np.array(found, dtype=np.int64)),
)


class Model(RuleBasedStateMachine):
    """Every operation on the table and on the dictionary, and the same answers from both."""

    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable()
        self.ids: list[int] = []
        self.started: set[int] = set()
        self.open: set[int] = set()

    def near(self, slots: Slots) -> Slots:
        """The slots moved to where the newest are, so that they keep being of interest."""
        shift = max(0, len(self.ids) - 50)
        if isinstance(slots, range):
            return range(slots.start + shift, slots.stop + shift, slots.step)
        return slots + shift

    @rule(count=st.one_of(st.integers(0, 12), st.sampled_from([3000, 5000])))
    def issue(self, count: int) -> None:
        ids = list(range(10**15 + len(self.ids), 10**15 + len(self.ids) + count))
        slots = self.table.open(ids)
        assert slots == range(len(self.ids), len(self.ids) + count)
        self.ids += ids
        self.open |= set(slots)

    @rule(slots=SLOTS, few=st.booleans())
    def take(self, slots: Slots, few: bool) -> None:
        slots = self.near(slots)
        self.compare_taken(slots, few=few)

    @rule(few=st.booleans())
    def take_everything(self, few: bool) -> None:
        self.compare_taken(self.table.every(), few=few)

    def compare_taken(self, slots: Slots, *, few: bool) -> None:
        taken = self.table.take_few(slots) if few else self.table.take(slots)
        positions, duplicates, unknown = [], 0, 0
        unstarted = []
        for position, slot in enumerate(map(int, slots)):
            if slot in self.open:
                self.open.remove(slot)
                positions.append(position)
                if slot not in self.started:
                    unstarted.append(self.ids[slot])
            elif 0 <= slot < len(self.ids):
                duplicates += 1
            else:
                unknown += 1
        assert list(taken.ids) == [self.ids[int(slots[position])] for position in positions]
        assert list(taken.unstarted) == unstarted
        assert (taken.duplicates, taken.unknown) == (duplicates, unknown)
        if len(positions) < len(slots):
            assert taken.positions is not None
            assert list(taken.positions) == positions
        else:
            assert taken.positions is None

    @rule(slots=SLOTS)
    def start(self, slots: Slots) -> None:
        slots = self.near(slots)
        fresh, ids = self.table.unstarted(slots)
        expected = [s for s in dict.fromkeys(map(int, slots)) if s in self.open - self.started]
        assert list(fresh) == expected
        assert list(ids) == [self.ids[slot] for slot in expected]
        self.table.start(fresh)
        self.started |= set(expected)

    @rule(slots=SLOTS)
    def count(self, slots: Slots) -> None:
        slots = self.near(slots)
        assert self.table.count_open(slots) == len(set(map(int, slots)) & self.open)

    @invariant()
    def the_counts_agree(self) -> None:
        assert self.table.issued == len(self.ids)
        assert self.table.open_count == len(self.open)
        assert self.open <= set(self.table.every())


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def filled(count: int) -> SlotTable:
    table = SlotTable()
    table.open(list(range(count)))
    return table


@pytest.mark.parametrize("take", ["take", "take_few"])
def test_of_a_slot_that_is_named_twice_the_first_mention_counts(take: str) -> None:
    taken = getattr(filled(10), take)(np.array([3, 1, 3, 3, 2]))
    assert list(taken.ids) == [3, 1, 2]
    assert list(taken.positions) == [0, 1, 4]
    assert taken.duplicates == 2


@pytest.mark.parametrize("take", ["take", "take_few"])
def test_a_slot_that_the_window_has_left_behind_is_a_duplicate(take: str) -> None:
    table = filled(5000)
    table.take(range(5000))
    table.open(list(range(5000, 15000)))
    assert table.every().start == 5000
    taken: Any = getattr(table, take)(np.array([4999, 5000]))
    assert list(taken.ids) == [5000]
    assert (taken.duplicates, taken.unknown) == (1, 0)


def test_one_slot_that_stays_open_keeps_its_id_however_many_follow() -> None:
    table = filled(1)
    for start in range(1, 200_001, 1000):
        table.take(table.open(list(range(start, start + 1000))))
    assert list(table.take(range(1)).ids) == [0]
    assert table.open_count == 0


def test_the_window_does_not_grow_while_slots_are_closed_as_they_come() -> None:
    table = SlotTable()
    for id_ in range(50_000):
        table.take_few(table.open([id_]))
    assert len(table.every()) <= 4096
