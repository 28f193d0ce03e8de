"""Settings of the ``simulator`` backend, the table ``[backend]``."""

from __future__ import annotations

import attrs

from mlpinf_core.config.schema import setting

_positive = attrs.validators.gt(0)
_not_negative = attrs.validators.ge(0)


@attrs.frozen
class SimulatorSettings:
    """Settings of the ``simulator`` backend, the table ``[backend]``."""

    instances: int = setting(
        1, "Engines that share the requests, each with batches of its own.", validator=_positive
    )
    prefill_rate: float = setting(
        20_000.0, "Prompt tokens an engine takes in.", unit="tokens/s", validator=_positive
    )
    step_ms: float = setting(
        10.0, "What a step of decoding takes, whatever is in it.", unit="ms", validator=_positive
    )
    sequence_ms: float = setting(
        0.05, "What every sequence adds to a step.", unit="ms", validator=_not_negative
    )
    max_batch_size: int = setting(
        256, "Most sequences in a step of an engine.", unit="sequences", validator=_positive
    )
    max_step_tokens: int = setting(
        8192, "Most prompt tokens taken in with one step.", unit="tokens", validator=_positive
    )
    kv_tokens: int = setting(
        1_000_000,
        "Room of an engine's KV cache; a sequence takes its prompt and its longest answer.",
        unit="tokens",
        validator=_positive,
    )
    prompt_tokens: float | None = setting(
        None,
        "Mean length of the prompts, for `mlpinf plan`; a run takes the data's own.",
        unit="tokens",
        validator=attrs.validators.optional(_positive),
    )
    output_tokens: float | None = setting(
        None,
        "Mean length of the answers; half of the longest where it is unset.",
        unit="tokens",
        validator=attrs.validators.optional(_positive),
    )
    output_spread: float = setting(
        0.3,
        "How much the lengths of answers differ: standard deviation by mean.",
        validator=_not_negative,
    )
    jitter: float = setting(
        0.02,
        "How much the times of steps differ: standard deviation by mean.",
        validator=_not_negative,
    )
    seed: int = setting(0, "Of lengths and jitter.", validator=_not_negative)
    fail_every: int = setting(0, "Fail every so many requests; 0 is none.", validator=_not_negative)
    lose_every: int = setting(
        0, "Never answer every so many requests; 0 is none.", validator=_not_negative
    )
    crash_after: int = setting(
        0, "Let the engine's loop die after so many requests; 0 is never.", validator=_not_negative
    )
