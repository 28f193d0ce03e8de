"""One gRPC stream to a server, with many requests on it at the same time.

Triton answers them in whatever order; each response names its request. That is what makes one
stream enough, where the client library's own streams cannot tell whose an error is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from mlpinf_llm.faults import RequestError, lost
from mlpinf_llm.triton.messages import check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

log = logging.getLogger(__name__)


class Stream:
    """Sends requests and sorts out responses, in the background, until it breaks."""

    def __init__(self, stub: Any, address: str) -> None:
        """Open a stream.

        Args:
            stub: of the server.
            address: of it, for messages.
        """
        self._address = address
        self._waiting: dict[str, asyncio.Queue[Any]] = {}
        self._call = stub.ModelStreamInfer()
        self._sending = asyncio.Lock()
        self.broken: RequestError | None = None
        """Why it is of no use any more."""
        self._reader = asyncio.create_task(self._read())

    async def ask(self, request: Any) -> AsyncGenerator[Any, None]:
        """Send a request, and give its responses as they come.

        Raises:
            RequestError: the server failed it, or the stream broke.
        """
        if self.broken is not None:
            raise self.broken
        mine: asyncio.Queue[Any] = asyncio.Queue()
        self._waiting[request.id] = mine
        try:
            await self._send(request)
            while True:
                response = await mine.get()
                if isinstance(response, RequestError):
                    raise response
                check(response.error_message)
                yield response.infer_response
        finally:
            self._waiting.pop(request.id, None)

    async def _send(self, request: Any) -> None:
        import grpc

        try:
            async with self._sending:  # gRPC wants one write at a time
                await self._call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise self._break(lost(f"{self._address}: {_words(error)}")) from error

    async def _read(self) -> None:
        import grpc

        try:
            async for response in self._call:
                self._sort(response)
            broken = lost(f"{self._address}: the server ended the stream")
        except grpc.RpcError as error:
            broken = lost(f"{self._address}: {_words(error)}")
        self._break(broken)

    def _sort(self, response: Any) -> None:
        whose = self._waiting.get(response.infer_response.id)
        if whose is not None:
            whose.put_nowait(response)
        elif response.error_message and not response.infer_response.id:
            # Nobody knows whose it is; waiting for what never comes would be worse.
            self._break(lost(f"{self._address}: {response.error_message}"))

    def _break(self, why: RequestError) -> RequestError:
        """Nothing comes any more; gives the first reason that was told."""
        self.broken = self.broken or why
        self._call.cancel()
        for queue in self._waiting.values():
            queue.put_nowait(self.broken)
        return self.broken

    async def close(self) -> None:
        """End the stream."""
        self._call.cancel()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader


def _words(error: Exception) -> str:
    """What gRPC says of a failure: its code and details."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):
        return f"{code().name}: {details()}"
    return str(error)
