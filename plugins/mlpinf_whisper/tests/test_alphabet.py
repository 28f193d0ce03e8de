"""A transcript becomes labels as the reference makes them, and labels become text again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_whisper import alphabet
from mlpinf_whisper.alphabet import LABELS, decode, encode, restrict


def reference_labels(text: str) -> list[int]:
    """As the reference does it, character by character."""
    labels = {label: number for number, label in enumerate(LABELS)}
    return [labels[character] for character in text.lower().strip() if character in labels]


def test_there_are_42_labels_and_none_twice() -> None:
    assert len(LABELS) == len(set(LABELS)) == 42
    assert (LABELS[0], LABELS[26], LABELS[27], LABELS[28], LABELS[-1]) == (" ", "z", "'", "0", "-")


def test_a_response_is_int64() -> None:
    response = encode("Mr. Smith's 10%")
    assert response.dtype == np.int64
    assert decode(response) == "mr smith's 10%"


@given(st.text())
def test_any_text_is_encoded_as_the_reference_encodes_it(text: str) -> None:
    assert encode(text).tolist() == reference_labels(text)


@given(st.text(alphabet=LABELS))
def test_what_has_labels_survives(text: str) -> None:
    assert decode(encode(text)) == text.strip()
    assert restrict(text) == text


def test_a_reference_keeps_what_has_labels_and_nothing_else() -> None:
    # The reference does not turn its transcripts to lower case; LibriSpeech's manifest did before.
    assert restrict("don't say “no”, Tom!") == "don't say no om"


@pytest.mark.parametrize("wrong", [-1, 42, 1 << 40])
def test_a_number_that_is_no_label_is_named(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"label {wrong} at position 2; .* 0 to 41"):
        decode(np.array([1, 2, wrong], dtype=alphabet.DTYPE))
