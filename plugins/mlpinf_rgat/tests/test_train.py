"""Training the tiny variant's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
import torch

from mlpinf_rgat import tiny, train

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = attrs.evolve(tiny.GRAPH, papers=800, classes=8)
SHORT = train.Recipe(hidden=32, epochs=2, batch=20)


@pytest.fixture
def other_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_training_learns_the_classes_of_papers_it_has_not_seen() -> None:
    chance = 1 / SMALL.classes
    assert train.accuracy(train.train(SMALL, SHORT), SMALL) > 3 * chance
    idle = attrs.evolve(SHORT, rate=1e-9)
    assert train.accuracy(train.train(SMALL, idle), SMALL) < 3 * chance


@pytest.mark.slow
@pytest.mark.usefixtures("other_threads")
def test_the_weights_do_not_depend_on_the_number_of_threads() -> None:
    made, recipe = attrs.evolve(tiny.GRAPH, papers=3000), train.Recipe(epochs=1)
    one, other = [], []
    for count, found in ((1, one), (4, other)):
        torch.set_num_threads(count)
        found += train.train(made, recipe).parameters()
        assert torch.get_num_threads() == count
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
