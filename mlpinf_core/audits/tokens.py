"""TEST06: are the tokens that LoadGen was told of those that are in the answers?

First tokens must be the answers' first tokens, an answer may end with one end-of-sequence token
and not with more, and the reported counts must be the lengths. The official script lets an empty
log pass, an answer of nothing but two such tokens, and answers without a first token; this does
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from mlpinf_core.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from mlpinf_core.logs.accuracy import AccuracyLog


@attrs.frozen
class TokenChecks:
    """What is wrong with the answers of a test, each None where nothing is.

    Attributes:
        entries: answers looked at.
        first_token: in a sentence, with the first sample that shows it.
        eos: likewise.
        length: likewise.
        first_token_needed: whether first tokens are reported in the scenario at all.
    """

    entries: int
    first_token: str | None
    eos: str | None
    length: str | None
    first_token_needed: bool

    @property
    def passed(self) -> bool:
        """Whether there were answers, and nothing is wrong with any."""
        return self.entries > 0 and (self.first_token, self.eos, self.length) == (None,) * 3

    def text(self) -> str:
        """``verify_accuracy.txt``: the official script's lines, which the checker looks for."""
        first = self._word(self.first_token) if self.first_token_needed else "Skipped"
        return (
            f"First token check pass: {first}\n"
            f"EOS check pass: {self._word(self.eos)}\n"
            f"Sample length check pass: {self._word(self.length)}\n"
            f"TEST06 verification {'complete' if self.passed else 'failed'}\n"
        )

    def _word(self, fault: str | None) -> str:
        return str(fault is None and self.entries > 0)


def check_tokens(
    log: AccuracyLog, *, dtype: DTypeLike, eos: int, first_tokens: bool
) -> TokenChecks:
    """Look at every answer of a test.

    Args:
        log: the test's own.
        dtype: of a token id in the answers.
        eos: the token id that ends an answer.
        first_tokens: whether the scenario reports them.

    Raises:
        LogError: the log changed while it was read.
    """
    faults: dict[str, list[int]] = {"first": [], "eos": [], "length": []}
    for entry, payload in enumerate(log.payloads()):
        for kind in _faults(log, entry, payload, np.dtype(dtype), eos, first_tokens=first_tokens):
            faults[kind].append(int(log.qsl_indices[entry]))
    return TokenChecks(
        entries=len(log),
        first_token=_said(faults["first"], "do not begin with the first token that was reported"),
        eos=_said(faults["eos"], f"end with more than one end-of-sequence token ({eos})"),
        length=_said(faults["length"], "have another length than was reported"),
        first_token_needed=first_tokens,
    )


def _faults(
    log: AccuracyLog,
    entry: int,
    payload: bytes,
    dtype: np.dtype[Any],
    eos: int,
    *,
    first_tokens: bool,
) -> Iterator[str]:
    token = log.first_tokens[entry]
    if first_tokens and not (token and payload.startswith(token)):
        yield "first"
    if len(payload) % dtype.itemsize:
        yield "length"
        return
    answer: NDArray[Any] = np.frombuffer(payload, dtype=dtype)
    if len(answer) > 1 and (answer[-2:] == eos).all():
        yield "eos"
    if log.token_counts[entry] != len(answer):
        yield "length"


def _said(samples: list[int], what: str) -> str | None:
    if not samples:
        return None
    return f"{len(samples):,} answers {what}: sample {samples[0]} is the first"


def require_dtype(dtype: str | None, benchmark: str) -> str:
    """The declared dtype of a benchmark's answers.

    Raises:
        LogError: it declares none, so that tokens cannot be counted.
    """
    if dtype is None:
        raise LogError(
            f"{benchmark} does not say what its answers are made of",
            remedy="its plugin must declare Benchmark.response_dtype",
        )
    return dtype
