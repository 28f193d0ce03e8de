"""What the tokens of every answer are held to, whichever engine or server they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from mlpinf_llm.faults import wrong_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    import numpy.typing as npt


def exact(ids: Sequence[int], cap: int, stop_ids: Set[int]) -> npt.NDArray[np.int32]:
    """The tokens of a complete answer as LoadGen is told of them, int32 [n].

    Args:
        ids: as they came.
        cap: most tokens that there may be.
        stop_ids: ids that end an answer; one at its end is no part of it.

    Raises:
        RequestError: there are more than the cap, the answer goes on after its end, or an id is
            none of any vocabulary.
    """
    if ids and ids[-1] in stop_ids:
        ids = ids[:-1]
    if len(ids) > cap:
        refuse_longer(cap)
    if not stop_ids.isdisjoint(ids):
        raise wrong_tokens("an answer goes on after the id that ends it")
    try:
        return np.array(ids, dtype=np.int32)
    except (OverflowError, ValueError) as error:
        raise wrong_tokens("there are token ids that no vocabulary has") from error


def refuse_longer(cap: int) -> NoReturn:
    """An answer has more tokens than it may have."""
    raise wrong_tokens(f"an answer has more than the {cap} tokens that were asked for")
