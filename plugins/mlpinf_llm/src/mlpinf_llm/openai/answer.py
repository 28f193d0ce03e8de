"""The answer to one request as it comes in, and the checks that it has to pass.

Token accounting is exact: what LoadGen is told of are the ids that the server sent, without the one
that ends the answer, never more than the cap, and as many as the server itself counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_llm.faults import malformed, refused, wrong_tokens
from mlpinf_llm.token_rules import exact

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GOOD_ENDS: Final = frozenset({"stop", "length", "eos", "eos_token", "stop_sequence"})
"""Reasons to finish that are an answer's own; others ("abort", "error") are failures."""


@attrs.frozen
class Rules:
    """What an answer is held to.

    Attributes:
        cap: most tokens.
        stop_ids: ids that end an answer and are no part of it.
        counts_end: whether the server counts the id that ended the answer without sending it.
        encode: text to ids, where the tokens are to come from the text; None takes the ids.
    """

    cap: int
    stop_ids: frozenset[int]
    counts_end: bool = False
    encode: Callable[[str], list[int]] | None = None


class Answer:
    """What has come of an answer.

    Attributes:
        ids: the token ids so far.
        texts: the text so far, in the parts in which it came.
        finish: why the server ended it; None while it has not.
        counted: tokens of the answer, as the server counts them; None where it does not say.
        prompt_counted: the same of the prompt.
        over: whether the server has said that nothing follows.
        begun: whether its first token has come.
    """

    __slots__ = ("begun", "counted", "finish", "ids", "over", "prompt_counted", "texts")

    def __init__(self) -> None:
        """Nothing has come."""
        self.ids: list[int] = []
        self.texts: list[str] = []
        self.finish: str | None = None
        self.counted: int | None = None
        self.prompt_counted: int | None = None
        self.over = False
        self.begun = False

    def add(self, ids: list[int] | None, text: str | None, finish: str | None) -> None:
        """The next part of the answer.

        Raises:
            RequestError: the answer had ended.
        """
        if ids or text:
            if self.finish is not None or self.over:
                raise malformed("tokens came after the end of an answer")
            if ids:
                self.ids += ids
            if text:
                self.texts.append(text)
        if finish is not None:
            self.finish = finish

    @property
    def first_id(self) -> int | None:
        """The first token; None where only text has come."""
        return self.ids[0] if self.ids else None

    @property
    def has_content(self) -> bool:
        """Whether a first token has come."""
        return bool(self.ids) or bool(self.texts)


def finish(answer: Answer, rules: Rules, prompt_length: int) -> npt.NDArray[np.int32]:
    """The tokens of a complete answer, int32 [n].

    Args:
        answer: all of which has come.
        rules: that it is held to.
        prompt_length: tokens of the prompt that was meant.

    Raises:
        RequestError: it breaks off, or its tokens cannot be right.
    """
    if answer.finish is None:
        raise malformed("an answer ended without a reason: it was cut off")
    if answer.finish not in GOOD_ENDS:
        raise refused(f"the server ended an answer for the reason {answer.finish!r}")
    if answer.prompt_counted is not None and answer.prompt_counted != prompt_length:
        raise wrong_tokens(
            "the server counted other prompt tokens than were sent (a BOS put before them, say)"
        )
    if rules.encode is not None:
        ids = rules.encode("".join(answer.texts))
    else:
        ids = answer.ids
        if not ids and answer.texts:
            raise wrong_tokens("the server sent text and no token ids")
        _check_count(answer, rules)
    return exact(ids, rules.cap, rules.stop_ids)


def _check_count(answer: Answer, rules: Rules) -> None:
    if answer.counted is None or answer.counted == len(answer.ids):
        return
    one_more = answer.counted == len(answer.ids) + 1
    if rules.counts_end and one_more and answer.finish != "length":
        return
    raise wrong_tokens("the server counted another number of tokens than it sent")
