"""The ``openai`` backend: servers that are healthy, and a client, or several in processes."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.errors import BackendError
from mlpinf_core.events import EventWriter
from mlpinf_core.suts.spread import SpreadEngine
from mlpinf_core.vocabulary import Scenario
from mlpinf_llm import locate
from mlpinf_llm.openai import health
from mlpinf_llm.openai.address import Address, api_key, tls_context
from mlpinf_llm.openai.blueprint import Blueprint, make_client
from mlpinf_llm.openai.client import Client
from mlpinf_llm.openai.dialects import Ask
from mlpinf_llm.openai.settings import OpenAISettings
from mlpinf_llm.samples import TokenSamples
from mlpinf_llm.tokenizer import ChatTokenizer
from mlpinf_llm.warm_up import answer_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpinf_core.context import Run
    from mlpinf_llm.openai.summary import Summary

log = logging.getLogger(__name__)

_WARM_UP: Final = 4
"""Requests of the warm-up to every server."""
_BUSY: Final = 0.9
"""Share of the time without a pause from which on the client is said to have been the limit."""


def make(run: Run, samples: TokenSamples) -> OpenAIBackend:
    """The backend of a run."""
    settings: OpenAISettings = run.config.backend
    stream = settings.stream
    if stream is None:
        stream = run.workload.scenario is not Scenario.OFFLINE
    tokenizer = None
    if settings.recodes or settings.prompt_format == "text":
        tokenizer = ChatTokenizer.load(settings.tokenizer or locate.tokenizer(run))
    return OpenAIBackend(
        settings=settings,
        samples=samples,
        stream=stream,
        max_tokens=run.config.benchmark.max_output_tokens,
        min_tokens=run.config.benchmark.min_output_tokens,
        stop_ids=(
            locate.generation(run).eos_ids if settings.stop_ids is None else settings.stop_ids
        ),
        tokenizer=tokenizer,
        events=run.events,
        worker_cpus=run.config.sut.worker_cpus,
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
    worker_cpus: tuple[str, ...] = ()
    _engine: Client | SpreadEngine | None = None

    def load(self) -> None:
        """Wait until every server is healthy, and write all requests down.

        Raises:
            ConfigurationError: a URL, the key or the certificates are wrong.
            BackendError: a server cannot be reached, or does not become healthy in time.
        """
        settings = self.settings
        ask = Ask(
            model=self._model(),
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            stop_ids=self.stop_ids,
            stream=self.stream,
            want_ids=not settings.recodes,
        )
        prompts = self.samples.store.prompts
        blueprint = Blueprint(settings, ask, prompts.values, prompts.offsets, self.tokenizer)
        count = settings.client_workers
        if count == 1:
            self._engine = blueprint.client()
        else:
            self._engine = SpreadEngine(
                functools.partial(make_client, blueprint, count),
                count,
                capacity=max(1, self.concurrency // count),
                cpus=self.worker_cpus,
            )

    def _model(self) -> str:
        """The model's name, once every server is healthy."""
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
        return settings.model or health.model_of(addresses[0], key=key, tls=tls)

    @property
    def engine(self) -> Client | SpreadEngine:
        """What answers samples; there once the backend is loaded."""
        if self._engine is None:
            raise RuntimeError("the backend is not loaded")
        return self._engine

    @property
    def concurrency(self) -> int:
        """Most requests that are on their way at the same time."""
        return self.settings.connections * len(self.settings.urls)

    def warm_up(self) -> None:
        """A few requests to every server, whose answers are checked as those of the test are.

        Raises:
            BackendError: one was not answered as it should have been.
        """
        count = min(_WARM_UP * len(self.settings.urls), len(self.samples))
        found = answer_first(self.engine, count)
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
        engine, self._engine = self._engine, None
        if engine is None:
            return
        summaries = [engine.summary()] if isinstance(engine, Client) else engine.summaries
        for note in notes(summaries, recoded=self.settings.recodes):
            self.events.note(note)
        engine.close()


def notes(summaries: Sequence[Summary], *, recoded: bool) -> Iterator[str]:
    """What there is to know of a test beside its verdict.

    Args:
        summaries: of the clients.
        recoded: whether tokens were made from text.
    """
    for summary in summaries:
        log.info(
            "%d requests in %.3f s, in %.3f s of which the client waited for nothing; "
            "processor seconds: %.3f of its thread, %.3f in all",
            summary.answered,
            summary.wall,
            summary.busy,
            summary.processor,
            summary.process,
        )
    shares = [summary.busy / summary.wall for summary in summaries if summary.wall]
    if shares and max(shares) > _BUSY:
        yield (
            f"the client, not the server, was the limit: its thread was busy for "
            f"{100 * max(shares):.0f} % of the test; raise backend.client_workers"
        )
    if again := sum(summary.sent_again for summary in summaries):
        yield (
            f"{again:,} requests were sent again: their connections failed before an answer began"
        )
    refusals: dict[str, int] = {}
    for summary in summaries:
        for address, count in summary.refusals.items():
            refusals[address] = refusals.get(address, 0) + count
    for address, count in refusals.items():
        yield f"{address} took no connection {count:,} times"
    if unchecked := sum(summary.unchecked for summary in summaries):
        yield f"the server said no token count of {unchecked:,} answers: they are as it sent them"
    if recounted := sum(summary.recounted for summary in summaries):
        yield (
            f"the text of {recounted:,} answers is of another number of tokens than the server "
            "counted"
        )
    if recoded:
        yield (
            "not submittable: tokens were counted by encoding the servers' text again "
            "(backend.token_source)"
        )
