"""What every double answers, and how it fails on demand (``MLPINF_TEST_FAULT``)."""

from __future__ import annotations

import os

FAULT = os.environ.get("MLPINF_TEST_FAULT", "")
"""construct, dies, one-fails, over-cap, no-tokens, ended-early, cancelled, two-ends, or nothing."""
DIES_AFTER = 10
FAILS_AT = 5


def answer(prompt: list[int], cap: int, least: int, end: int) -> tuple[list[int], str]:
    """The ids of an answer, and why it ends: after some tokens, or at the cap."""
    assert all(type(token) is int for token in prompt), "prompts are lists of int"
    wanted = least + (sum(prompt) + len(prompt)) % (cap + 2)
    ids = [100 + (prompt[0] + number) % 900 for number in range(min(wanted, cap))]
    if FAULT == "over-cap":
        return [*ids, *range(100, 102 + cap)], "length"
    if FAULT == "no-tokens":
        return [end], "stop"
    if FAULT == "two-ends":
        return [100, end, 101, end], "stop"
    return (ids, "length") if wanted >= cap else ([*ids, end], "stop")
