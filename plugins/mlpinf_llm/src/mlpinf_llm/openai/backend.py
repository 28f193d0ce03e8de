"""The ``openai`` backend: servers that are healthy, requests ready to be sent, a client."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
import numpy as np

from mlpinf_core.errors import BackendError
from mlpinf_core.events import EventWriter
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.asynchronous import AsyncSut
from mlpinf_core.vocabulary import Scenario
from mlpinf_llm.openai import health
from mlpinf_llm.openai.address import Address, api_key, tls_context
from mlpinf_llm.openai.answer import Rules
from mlpinf_llm.openai.client import Client, Patience
from mlpinf_llm.openai.dialects import DIALECTS, Ask, Dialect
from mlpinf_llm.openai.routing import POLICIES
from mlpinf_llm.openai.server import Server
from mlpinf_llm.openai.settings import OpenAISettings
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.stops import stop_ids_of
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_core.context import Run
    from mlpinf_core.loadgen.failures import Failure
    from mlpinf_core.protocols import Slots

log = logging.getLogger(__name__)

_WARM_UP: Final = 4
"""Requests of the warm-up to every server."""
_BUSY: Final = 0.9
"""Share of a processor from which on the client is said to have been the limit."""


def make(run: Run, samples: TokenSamples) -> OpenAIBackend:
    """The backend of a run."""
    settings: OpenAISettings = run.config.backend
    stream = settings.stream
    if stream is None:
        stream = run.workload.scenario is not Scenario.OFFLINE
    tokenizer = None
    if settings.recodes or settings.prompt_format == "text":
        from mlpinf_llm import ct2

        tokenizer = ChatTokenizer.load(settings.tokenizer or ct2.build(run))
    return OpenAIBackend(
        settings=settings,
        samples=samples,
        stream=stream,
        max_tokens=run.config.benchmark.max_output_tokens,
        min_tokens=run.config.benchmark.min_output_tokens,
        stop_ids=settings.stop_ids or stop_ids_of(run.benchmark.name, run.workload.variant),
        tokenizer=tokenizer,
        events=run.events,
    )


@attrs.define(eq=False)
class OpenAIBackend:
    """Servers that answer prompts over HTTP."""

    settings: OpenAISettings
    samples: TokenSamples
    stream: bool
    max_tokens: int
    min_tokens: int
    stop_ids: tuple[int, ...]
    tokenizer: ChatTokenizer | None
    events: EventWriter
    _client: Client | None = None

    def load(self) -> None:
        """Wait until every server is healthy, and write all requests down.

        Raises:
            ConfigurationError: a URL, the key or the certificates are wrong.
            BackendError: a server cannot be reached, or does not become healthy in time.
        """
        settings = self.settings
        addresses = [Address.parse(url) for url in settings.urls]
        key = api_key(settings.api_key_variable)
        secure = any(address.secure for address in addresses)
        tls = tls_context(settings.ca_file) if secure else None
        for address in addresses:
            address.resolve()
        health.wait_until_ready(
            addresses, key=key, tls=tls, timeout=settings.ready_timeout, step=self.events.step
        )
        model = settings.model or health.model_of(addresses[0], key=key, tls=tls)
        dialect = DIALECTS[settings.server]()
        servers = [
            Server(
                address,
                limit=settings.connections,
                head=_request_head(address, dialect, key),
                tls=tls if address.secure else None,
            )
            for address in addresses
        ]
        _allow_sockets(settings.connections * len(servers))
        encode = self.tokenizer.encode if settings.recodes and self.tokenizer else None
        self._client = Client(
            servers,
            policy=POLICIES[settings.routing](),
            dialect=dialect,
            rules=Rules(self.max_tokens, frozenset(self.stop_ids), dialect.counts_end, encode),
            bodies=self._bodies(dialect, model),
            lengths=self.samples.lengths,
            patience=Patience(
                settings.connect_timeout, settings.stall_timeout, settings.request_timeout
            ),
            retries=settings.retries,
        )

    def _bodies(self, dialect: Dialect, model: str) -> list[bytes]:
        """The request of every sample: what is the same in every run of it is written once."""
        ask = Ask(
            model=model,
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            stop_ids=self.stop_ids,
            stream=self.stream,
            want_ids=not self.settings.recodes,
        )
        as_text = self.settings.prompt_format == "text"
        encode = msgspec.json.Encoder().encode
        bodies = []
        for index in range(len(self.samples)):
            ids: list[int] = self.samples.prompt(index).tolist()
            prompt: Sequence[int] | str = ids
            if as_text and self.tokenizer is not None:
                prompt = self.tokenizer.tokenizer.decode(ids, skip_special_tokens=False)
            bodies.append(encode(dialect.request(ask, prompt)))
        return bodies

    @property
    def client(self) -> Client:
        """What sends the requests; there is one once the backend is loaded."""
        if self._client is None:
            raise RuntimeError("the backend is not loaded")
        return self._client

    @property
    def engine(self) -> Client:
        """The same, as what answers samples."""
        return self.client

    @property
    def concurrency(self) -> int:
        """Most requests that are on their way at the same time."""
        return self.settings.connections * len(self.settings.urls)

    def warm_up(self) -> None:
        """A few requests to every server, whose answers are checked as those of the test are.

        Raises:
            BackendError: one was not answered as it should have been.
        """
        count = min(_WARM_UP * len(self.client.servers), len(self.samples))
        found = _Collector()
        sut = AsyncSut(found, self.client)
        try:
            sut.issue(Query(range(count), np.arange(count)))
            sut.flush()
        finally:
            sut.close()
        if found.failed:
            (failure, failed), *_ = found.failed.items()
            raise BackendError(
                f"{failed} of {count} requests of the warm-up failed: {failure.message}",
                where=", ".join(self.settings.urls),
                remedy="look at the server's log; is backend.server what the server is?",
            )
        if self.stream and found.begun < count:
            raise BackendError(
                "the server answers without streaming",
                where=", ".join(self.settings.urls),
                remedy="set backend.stream = false, or ask the server's manual how it streams",
            )

    def close(self) -> None:
        """Say what there was to notice, and close the connections."""
        if self._client is None:
            return
        for note in self._notes(self._client):
            self.events.note(note)
        self._client.close()
        self._client = None

    def _notes(self, client: Client) -> list[str]:
        notes = []
        usage = client.usage
        if usage.wall:
            share = usage.busy / usage.wall
            log.info(
                "%d requests in %.3f s; processor seconds: %.3f of the client's thread, %.3f in all",
                usage.answered,
                usage.wall,
                usage.busy,
                usage.process,
            )
            if share > _BUSY:
                notes.append(
                    f"the client, not the server, was the limit: its thread was busy for "
                    f"{100 * share:.0f} % of the test; raise backend.client_workers"
                )
        if usage.sent_again:
            notes.append(
                f"{usage.sent_again:,} requests were sent again: their connections failed before "
                "an answer began"
            )
        notes += [
            f"{server.address} took no connection {server.refusals:,} times"
            for server in client.servers
            if server.refusals
        ]
        if self.settings.recodes:
            notes.append(
                "not submittable: tokens were counted by encoding the servers' text again "
                "(backend.token_source)"
            )
        return notes


class _Collector:
    """Stands in for the Responder in the warm-up."""

    least_tokens = 0
    aborted = False

    def __init__(self) -> None:
        self.begun = 0
        self.failed: dict[Failure, int] = {}

    def first_token(self, slots: Slots) -> None:
        self.begun += len(slots)

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        """The answers have been checked by the client."""

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        from mlpinf_core.loadgen.failures import Failure

        failure = Failure.of(reason)
        self.failed[failure] = self.failed.get(failure, 0) + len(slots)

    def abort(self, reason: Failure | BaseException | str) -> None:
        self.fail(range(1), reason)


def _request_head(address: Address, dialect: Dialect, key: str | None) -> bytes:
    """Request line and headers, up to the length of the body."""
    lines = [
        f"POST {address.base}{dialect.path} HTTP/1.1",
        f"Host: {address.authority}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        *([f"Authorization: Bearer {key}"] if key else []),
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode()


def _allow_sockets(count: int) -> None:
    """Raise this process's limit of open files, as far as the system lets it.

    Raises:
        BackendError: that is not far enough.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + 256
    if soft >= need:
        return
    if hard != resource.RLIM_INFINITY and hard < need:
        raise BackendError(
            f"{count} connections need more open files than the {hard} that are allowed",
            where="backend.connections",
            remedy="lower it, or raise the limit (ulimit -Hn)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
