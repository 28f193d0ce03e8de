"""Settings of the ``openai`` backend, the table ``[backend]``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from mlpinf_core.config.schema import setting

_positive = attrs.validators.gt(0)


@attrs.frozen
class OpenAISettings:
    """Settings of the ``openai`` backend, the table ``[backend]``."""

    urls: tuple[str, ...] = setting(
        ("http://127.0.0.1:30000",),
        "Where the servers are: scheme, host and port; without /v1. Each answers a share of the "
        "requests.",
        validator=attrs.validators.min_len(1),
    )
    server: Literal["generic", "vllm", "sglang", "trtllm", "llama.cpp"] = setting(
        "generic",
        "What the servers are, which decides how token ids are asked for; `generic` asks as vLLM "
        "wants it and sends standard fields besides.",
    )
    model: str = setting("", "The model's name at the servers; asked of them where it is empty.")
    stream: bool | None = setting(
        None,
        "Have answers streamed. Unset: in the scenarios that measure the time to the first token.",
    )
    token_source: Literal["ids", "text"] = setting(
        "ids",
        "Where the tokens of an answer come from: the ids that the server sends, or, for a server "
        "that sends none, its text, encoded again; then the run is marked as not submittable.",
    )
    prompt_format: Literal["ids", "text"] = setting(
        "ids",
        "How prompts are sent: their ids, or, to a server that takes none, their text, whose count "
        "at the server is checked.",
    )
    tokenizer: Path | None = setting(
        None,
        "A tokenizer.json, or a directory with one, for `text`; unset is the variant's own.",
    )
    routing: Literal["round-robin", "least-requests", "least-tokens"] = setting(
        "least-requests",
        "Which server gets the next request: each in turn, the one with the fewest requests, or "
        "with the fewest tokens (prompt and longest answer) on their way.",
    )
    connections: int = setting(
        256,
        "Most requests on their way to one server at the same time; the others wait here.",
        validator=attrs.validators.ge(1),
    )
    client_workers: int = setting(
        1,
        "Processes that speak to the servers and share the connections; 1 is the run's own.",
        validator=attrs.validators.ge(1),
    )
    ready_timeout: float = setting(
        120.0, "Longest wait for every server to be healthy.", unit="s", validator=_positive
    )
    connect_timeout: float = setting(
        10.0, "Longest wait for a connection.", unit="s", validator=_positive
    )
    stall_timeout: float = setting(
        120.0,
        "Longest silence of a server within an answer that it has begun.",
        unit="s",
        validator=_positive,
    )
    request_timeout: float = setting(
        3600.0, "Longest that a request may take in all.", unit="s", validator=_positive
    )
    retries: int = setting(
        2,
        "How often a request is sent again that failed before the first byte of its answer.",
        validator=attrs.validators.ge(0),
    )
    api_key_variable: str = setting(
        "",
        "Environment variable that holds the servers' API key, sent as a bearer token and written "
        "nowhere; empty sends none.",
    )
    ca_file: Path | None = setting(
        None, "Certificates that https servers are checked against, instead of the system's."
    )
    stop_ids: tuple[int, ...] | None = setting(
        None,
        "Ids that end an answer and are not part of it; unset are the benchmark's own.",
    )

    @property
    def recodes(self) -> bool:
        """Whether tokens are made from the servers' text."""
        return self.token_source == "text"  # noqa: S105 - no password
