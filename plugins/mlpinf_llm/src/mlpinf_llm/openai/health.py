"""Before a test: whether the servers are healthy, and what they call their model.

Outside the hot path, so with the standard library's own HTTP client.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import BackendError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from mlpinf_llm.openai.address import Address

_PAUSE: Final = 0.25
"""Seconds between two looks at a server that is starting."""
_TIMEOUT: Final = 10.0
"""Seconds that a look may take."""


def get(
    address: Address,
    path: str,
    *,
    key: str | None,
    tls: ssl.SSLContext | None,
    timeout: float = _TIMEOUT,
) -> tuple[int, bytes]:
    """Status and body of a page.

    Raises:
        OSError: the server cannot be reached, or TLS was not agreed upon.
        http.client.HTTPException: it does not speak HTTP.
    """
    connection: http.client.HTTPConnection
    if address.secure:
        connection = http.client.HTTPSConnection(
            address.host, address.port, timeout=timeout, context=tls
        )
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        connection.request("GET", f"{address.base}{path}", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(1 << 20)
    finally:
        connection.close()


def why_not_ready(
    address: Address,
    *,
    key: str | None,
    tls: ssl.SSLContext | None,
    timeout: float = _TIMEOUT,
) -> str | None:
    """What keeps a server from being used; None when it is healthy."""
    try:
        status, _ = get(address, "/health", key=key, tls=tls, timeout=timeout)
        if status in (404, 405):  # not every server has that page; every one lists its models
            status, _ = get(address, "/v1/models", key=key, tls=tls, timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None if status == 200 else f"HTTP {status}"


def wait_until_ready(
    addresses: Sequence[Address],
    *,
    key: str | None,
    tls: ssl.SSLContext | None,
    timeout: float,
    step: Callable[[str, int, int], None],
) -> None:
    """Return when every server is healthy.

    Args:
        addresses: of the servers.
        key: sent as a bearer token; None sends none.
        tls: for https.
        timeout: seconds for all of them together.
        step: told of the number that are ready, as it rises.

    Raises:
        BackendError: one is not, in time; says why.
    """
    deadline = time.monotonic() + timeout
    for number, address in enumerate(addresses):
        step("waiting for servers", number, len(addresses))
        patience = min(timeout, _TIMEOUT)
        while (why := why_not_ready(address, key=key, tls=tls, timeout=patience)) is not None:
            if time.monotonic() >= deadline:
                raise BackendError(
                    f"the server {address} is not ready: {why}",
                    where="backend.urls",
                    remedy="start it (`mlpinf serve`), or set backend.urls or "
                    "backend.ready_timeout",
                )
            time.sleep(_PAUSE)
    step("waiting for servers", len(addresses), len(addresses))


def model_of(address: Address, *, key: str | None, tls: ssl.SSLContext | None) -> str:
    """The name of the first model that a server lists.

    Raises:
        BackendError: it lists none.
    """
    found: Any = None
    try:
        status, body = get(address, "/v1/models", key=key, tls=tls)
        if status == 200:
            found = json.loads(body)["data"][0]["id"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, str):
        raise BackendError(
            f"the server {address} does not say what its model is called",
            where="backend.model",
            remedy="set it",
        )
    return found
