"""The ``triton`` backend: the ``tensorrt_llm`` model of Triton servers, streamed over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import BackendError, ConfigurationError
from mlpinf_llm.engine_backend import EngineBackend, asked
from mlpinf_llm.faults import timed_out
from mlpinf_llm.token_rules import refuse_longer
from mlpinf_llm.triton.messages import Requests, is_last, tokens
from mlpinf_llm.triton.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_llm.engine_backend import Asked
    from mlpinf_llm.samples import TokenSamples
    from mlpinf_llm.triton.settings import TritonSettings

_ASK_AGAIN: Final = 0.25
"""Seconds between two questions whether a server is ready."""
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


def make(run: Run, samples: TokenSamples) -> EngineBackend:
    """The backend of a run."""
    settings: TritonSettings = run.config.backend
    ask = asked(run)
    return EngineBackend(
        title=f"Triton's model {settings.model}",
        where=", ".join(settings.urls),
        make=lambda: TritonService(settings, ask, samples),
        samples=samples,
        ask=ask,
        room=settings.concurrency * len(settings.urls),
        remedy="look at the server's log; is backend.model its name there?",
        events=run.events,
    )


class _Server:
    """One server: its channel, its stream, and how many requests are on their way to it."""

    def __init__(self, address: str, credentials: Any) -> None:
        import grpc
        from tritonclient.grpc import service_pb2_grpc

        self.address = address
        self.requests = 0
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self._stream: Stream | None = None

    @property
    def stream(self) -> Stream:
        """An open stream; a new one when the last one broke."""
        if self._stream is None or self._stream.broken is not None:
            self._stream = Stream(self.stub, self.address)
        return self._stream

    async def close(self) -> None:
        """End the stream and the channel."""
        if self._stream is not None:
            await self._stream.close()
        await self.channel.close()


class TritonService:
    """Servers, and the prompts that they answer."""

    def __init__(self, settings: TritonSettings, ask: Asked, samples: TokenSamples) -> None:
        """Make a service; nothing is connected yet."""
        self._settings = settings
        self._ask = ask
        self._prompt = samples.prompt
        self._requests = Requests(settings, ask)
        self._names = map(str, itertools.count())
        self._servers: list[_Server] = []

    async def open(self) -> None:
        """Wait until every server has the model ready.

        Raises:
            ConfigurationError: the certificates cannot be read.
            BackendError: one does not become ready in time.
        """
        credentials = _credentials(self._settings.ca_file)
        self._servers = [_Server(url, credentials) for url in self._settings.urls]
        until = time.monotonic() + self._settings.ready_timeout
        for server in self._servers:
            await self._ready(server, until)

    async def _ready(self, server: _Server, until: float) -> None:
        import grpc
        from tritonclient.grpc import service_pb2

        settings = self._settings
        question = service_pb2.ModelReadyRequest(
            name=settings.model, version=settings.model_version
        )
        why = "it is not ready"
        while time.monotonic() < until:
            try:
                left = max(0.1, until - time.monotonic())
                if (await server.stub.ModelReady(question, timeout=left)).ready:
                    return
            except grpc.RpcError as error:
                why = f"{error.code().name}: {error.details()}"
            await asyncio.sleep(_ASK_AGAIN)
        raise BackendError(
            f"Triton's model {settings.model!r} did not become ready in "
            f"{settings.ready_timeout:g} s: {why}",
            where=server.address,
            remedy="is the server up, is this its gRPC port (8001), and the model's name right?",
        )

    async def answer(self, index: int, first: Callable[[int], None] | None) -> list[int]:
        """The ids of one answer.

        Raises:
            RequestError: the server failed it, or took too long, or the connection broke.
        """
        server = min(self._servers, key=lambda each: each.requests)
        server.requests += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                return await self._ask_server(server, index, first)
        except TimeoutError as error:
            raise timed_out(
                f"{server.address}: a request took more than {self._settings.request_timeout:g} s"
            ) from error
        finally:
            server.requests -= 1

    async def _ask_server(
        self, server: _Server, index: int, first: Callable[[int], None] | None
    ) -> list[int]:
        ids: list[int] = []
        request = self._requests.make(next(self._names), self._prompt(index))
        async with aclosing(server.stream.ask(request)) as responses:
            async for response in responses:
                if more := tokens(response):
                    if first is not None and not ids:
                        first(more[0])
                    ids += more
                    if len(ids) > self._ask.cap + 1:  # one more may be the id that ends it
                        refuse_longer(self._ask.cap)
                if is_last(response):
                    break
        return ids

    async def close(self) -> None:
        """Close the connections."""
        servers, self._servers = self._servers, []
        for server in servers:
            await server.close()


def _credentials(ca_file: Path | None) -> Any:
    """Credentials that check servers by these certificates; None without TLS."""
    import grpc

    if ca_file is None:
        return None
    try:
        return grpc.ssl_channel_credentials(ca_file.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"the certificates cannot be read: {error.strerror}", where=str(ca_file)
        ) from error
