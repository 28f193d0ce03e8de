"""Settings of the ``triton`` backend, the table ``[backend]``."""

from __future__ import annotations

from pathlib import Path

import attrs

from mlpinf_core.config.schema import setting

_positive = attrs.validators.gt(0)


@attrs.frozen
class TritonSettings:
    """Settings of the ``triton`` backend, the table ``[backend]``."""

    urls: tuple[str, ...] = setting(
        ("127.0.0.1:8001",),
        "Where the servers' gRPC ports are: host and port. The one with the fewest requests gets "
        "the next.",
        validator=attrs.validators.min_len(1),
    )
    model: str = setting("tensorrt_llm", "The model's name at the servers.")
    model_version: str = setting("", "Its version; the server's newest where it is empty.")
    concurrency: int = setting(
        256,
        "Most requests on their way to one server at the same time; the others wait here.",
        validator=attrs.validators.ge(1),
    )
    ready_timeout: float = setting(
        120.0,
        "Longest wait for every server and its model to be ready.",
        unit="s",
        validator=_positive,
    )
    request_timeout: float = setting(
        3600.0, "Longest that a request may take in all.", unit="s", validator=_positive
    )
    ca_file: Path | None = setting(
        None, "Certificates that the servers are checked against; unset speaks without TLS."
    )
