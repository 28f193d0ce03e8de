"""The validation set is the official one."""

from __future__ import annotations

import hashlib

import attrs
import numpy as np
import pytest
import torch

from mlpinf_core.errors import BackendError, IntegrityError
from mlpinf_rgat import split
from mlpinf_rgat.split import Split, labels_of


def test_a_split_is_the_reference_scripts_split() -> None:
    torch.manual_seed(42)  # what the reference does, in its own words
    order = torch.randperm(10_000)
    training, validation = Split(10_000).papers()
    assert np.array_equal(training, order[:6000].numpy())
    assert np.array_equal(validation, order[6000:6050].numpy())


def test_the_full_data_set_has_788379_samples() -> None:
    assert split.FULL.validation_count == 788_379
    assert split.FULL.training_count == 94_605_581


@pytest.mark.slow
def test_the_full_permutation_is_the_one_that_the_official_calibration_list_is_taken_from() -> None:
    training, validation = split.FULL.papers()  # raises where the digest is another
    # The first of the 5,000 papers of the official list.
    assert training[:5].tolist() == [31877852, 109930740, 141387703, 157142553, 148046695]
    assert len(validation) == 788_379


def test_another_permutation_than_the_official_one_is_refused() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    with pytest.raises(BackendError, match="makes another validation set") as caught:
        attrs.evolve(Split(1000), sha256=digest).papers()
    assert "torch" in str(caught.value.remedy)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32, np.uint16])
def test_labels_may_be_stored_as_any_number(dtype: type) -> None:
    labels = np.array([5, 0, 299, 7], dtype=dtype)
    assert labels_of(labels, np.array([2, 0, 2]), 300).tolist() == [299, 5, 299]


@pytest.mark.parametrize(
    ("label", "said"), [(300, "300"), (-1, "-1"), (np.nan, "nan"), (2.5, "2.5"), (1e30, "1e[+]30")]
)
def test_a_label_that_is_no_class_is_refused_with_its_paper(label: float, said: str) -> None:
    labels = np.array([1, 2, label], dtype=np.float32)
    with pytest.raises(IntegrityError, match=f"the label of paper 2 is {said}, and classes") as it:
        labels_of(labels, np.array([0, 2, 1]), 300)
    assert "row 2" in str(it.value.where)


def test_labels_of_papers_that_nobody_asks_for_may_be_anything() -> None:
    assert labels_of(np.array([1.0, np.nan]), np.array([0]), 2).tolist() == [1]
