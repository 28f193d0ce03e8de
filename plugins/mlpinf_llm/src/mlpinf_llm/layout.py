"""What a data set's file must hold."""

from __future__ import annotations

import attrs


@attrs.frozen
class Layout:
    """What a data set's file holds.

    Attributes:
        prompts: the column of token ids.
        lengths: the column that says how many there are; None where there is none.
        references: the column of reference answers, by the names it may have; empty where there is
            nothing to score against.
        kinds: the column that says how an answer is judged; None where all are judged alike.
        rows: how many samples there must be; None for any number.
        max_tokens: the longest prompt that there may be; None for any.
        vocabulary: ids are below it; None for any.
        md5: of the file, where a sha256 is not published; None for any.
    """

    prompts: str = "tok_input"
    lengths: str | None = None
    references: tuple[str, ...] = ()
    kinds: str | None = None
    rows: int | None = None
    max_tokens: int | None = None
    vocabulary: int | None = None
    md5: str | None = None
