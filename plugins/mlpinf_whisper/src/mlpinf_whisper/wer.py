"""The word error rate as the benchmark counts it.

Both texts go through OpenAI's English normaliser. Words that are the same but for being written
together or apart (``tea cup`` and ``teacup``, up to three words to one) count as one right word.
The rest is the Levenshtein distance between the lists of words, and the rate is the sum of
distances over the sum of the references' words (the reference's ``accuracy_eval.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST_JOINED: Final = 3
"""Words that may be written as one."""


@attrs.frozen
class WordErrors:
    """How many words are wrong.

    Attributes:
        errors: substitutions, insertions and deletions.
        words: of the references.
    """

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """The word error rate; may be above 1.

        Raises:
            ZeroDivisionError: the references have no words.
        """
        return self.errors / self.words


def normaliser() -> Callable[[str], str]:
    """OpenAI's English normaliser: spelling, contractions, numbers, punctuation."""
    from whisper_normalizer.english import EnglishTextNormalizer

    normalise: Callable[[str], str] = EnglishTextNormalizer()
    return normalise


def word_errors(hypotheses: Sequence[str], references: Sequence[str]) -> WordErrors:
    """Count the wrong words of transcripts.

    Args:
        hypotheses: what the system heard.
        references: what was said, in the same order.
    """
    from rapidfuzz.distance import Levenshtein

    normalise = normaliser()
    errors = words = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        heard, said = normalise(hypothesis).split(), normalise(reference).split()
        errors += Levenshtein.distance(*joined(heard, said))
        words += len(said)
    return WordErrors(errors, words)


def joined(heard: Sequence[str], said: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two texts' words, with those joined that the other text writes as one.

    Goes through both texts side by side, as the reference does: after a word too many in one of
    them it compares words that do not belong together, and joins fewer than an alignment would.
    """
    left: list[str] = []
    right: list[str] = []
    i = j = 0
    while i < len(said) and j < len(heard):
        take_said, take_heard = _match(said, i, heard, j)
        right.append("".join(said[i : i + take_said]))
        left.append("".join(heard[j : j + take_heard]))
        i += take_said
        j += take_heard
    return left + list(heard[j:]), right + list(said[i:])


def _match(said: Sequence[str], i: int, heard: Sequence[str], j: int) -> tuple[int, int]:
    """How many words at ``i`` and ``j`` belong together; one and one where none are the same."""
    if said[i] == heard[j]:
        return 1, 1
    for count in range(2, _MOST_JOINED + 1):
        if i + count <= len(said) and "".join(said[i : i + count]) == heard[j]:
            return count, 1
        if j + count <= len(heard) and "".join(heard[j : j + count]) == said[i]:
            return 1, count
    return 1, 1
