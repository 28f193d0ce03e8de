"""How answers are generated: what the rules fix for every submission."""

from __future__ import annotations

import attrs


@attrs.frozen
class Generation:
    """A benchmark's sampling and its special tokens, as in its reference implementation.

    With a top-k of 1 the likeliest token is taken, whatever the temperature and top-p. Engines and
    servers are asked for just that, greedy decoding, which all of them know.

    Attributes:
        temperature: of the softmax; 0 is greedy.
        top_p: probability mass that is sampled from.
        top_k: tokens that are sampled from.
        bos_id: begins a prompt, and is in the data set's prompts already.
        eos_ids: any of them ends an answer, and is not part of it.
        min_tokens: least tokens of an answer.
        max_tokens: most tokens of an answer.
        seed: of the sampling.
        beams: of beam search; 1 is none.
    """

    temperature: float
    top_p: float
    top_k: int
    bos_id: int
    eos_ids: tuple[int, ...]
    max_tokens: int
    min_tokens: int = 1
    seed: int = 0
    beams: int = 1
