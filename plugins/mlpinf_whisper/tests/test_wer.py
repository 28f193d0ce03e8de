"""Wrong words are counted as the reference counts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_whisper.wer import WordErrors, joined, normaliser, word_errors

# What the reference's accuracy_eval.py says of each pair: heard, said, errors, words.
COUNTED = [
    ("he was there", "he was there", 0, 3),
    ("he was their", "he was there", 1, 3),
    ("he was", "he was there", 1, 3),
    ("he was there again", "he was there", 1, 3),
    ("", "he was there", 3, 3),
    ("he was there", "", 3, 0),
    ("", "", 0, 0),
    ("a teacup of tea", "a tea cup of tea", 0, 5),
    ("a tea cup of tea", "a teacup of tea", 0, 4),
    ("never the less we went", "nevertheless we went", 0, 3),
    ("nevertheless we went", "never the less we went", 0, 5),
    ("some one or other body", "someoneorother body", 4, 2),
    ("a b c d e", "abcd e", 4, 2),
    ("the a teacup", "a tea cup", 3, 3),
    ("a old tea pot", "a teapot", 3, 2),
    ("tea cup tea cup", "teacup teacup", 0, 2),
    ("mr smith's colour", "mister smith is color", 0, 4),
    ("twenty one dollars", "$21", 0, 1),
]


@pytest.mark.parametrize(("heard", "said", "errors", "words"), COUNTED)
def test_a_transcript_is_counted_as_by_the_reference(
    heard: str, said: str, errors: int, words: int
) -> None:
    assert word_errors([heard], [said]) == WordErrors(errors, words)


def test_a_log_s_errors_are_summed_over_its_words() -> None:
    found = word_errors(["one word", "and the rest"], ["a word", "and the best of it"])
    assert found == WordErrors(4, 7)
    assert found.rate == pytest.approx(4 / 7)


def distance(heard: list[str], said: list[str]) -> int:
    """Levenshtein's, as it is defined."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(heard, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(said, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


# No two of these words make a third one, and the normaliser leaves them alone.
WORDS = st.lists(st.sampled_from(["apple", "river", "stone", "cloud", "table"]), max_size=12)


@given(WORDS, WORDS)
def test_where_nothing_is_joined_the_errors_are_the_edit_distance(
    heard: list[str], said: list[str]
) -> None:
    found = word_errors([" ".join(heard)], [" ".join(said)])
    assert found == WordErrors(distance(heard, said), len(said))


@given(WORDS, st.randoms())
def test_words_written_together_are_right(said: list[str], random: object) -> None:
    heard: list[str] = []
    rest = list(said)
    while rest:
        count = random.randint(1, 3)  # type: ignore[attr-defined]
        heard.append("".join(rest[:count]))
        del rest[:count]
    assert word_errors([" ".join(heard)], [" ".join(said)]).errors == 0
    assert word_errors([" ".join(said)], [" ".join(heard)]).errors == 0


@given(WORDS, WORDS)
def test_joining_loses_no_letter(heard: list[str], said: list[str]) -> None:
    left, right = joined(heard, said)
    assert "".join(left) == "".join(heard)
    assert "".join(right) == "".join(said)


def test_the_normaliser_is_openais() -> None:
    # The examples of OpenAI's own tests.
    normalise = normaliser()
    assert normalise("Let's") == "let us"
    assert normalise("he's like") == "he is like"
    assert normalise("She's been like") == "she has been like"
    assert normalise("10km") == "10 km"
    assert normalise("10mm") == "10 mm"
    assert normalise("RC232") == "rc 232"
    assert normalise("Mr. Park visited Assoc. Prof. Kim Jr.") == (
        "mister park visited associate professor kim junior"
    )
