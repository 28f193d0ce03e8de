"""What a client is made from: written down once, so that every worker process can make its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import BackendError
from mlpinf_llm.openai.address import Address, api_key, tls_context
from mlpinf_llm.openai.answer import Rules
from mlpinf_llm.openai.client import Client, Patience
from mlpinf_llm.openai.dialects import DIALECTS, Ask, Dialect
from mlpinf_llm.openai.routing import POLICIES
from mlpinf_llm.openai.server import Server
from mlpinf_llm.openai.settings import OpenAISettings
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen(eq=False)
class Blueprint:
    """A client, before it is made. Can be pickled; holds no key, only its variable's name.

    Attributes:
        settings: of the backend.
        ask: what is asked of every prompt.
        ids: int32 [tokens], all prompts one after the other.
        offsets: int64 [prompts + 1], where each begins.
        tokenizer: for text; None where ids go both ways.
    """

    settings: OpenAISettings
    ask: Ask
    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    tokenizer: ChatTokenizer | None

    def client(self, share: int = 1) -> Client:
        """Make the client.

        Args:
            share: among how many clients the connections are shared.

        Raises:
            ConfigurationError: a URL, the key or the certificates are wrong.
            BackendError: a server's name is not known, or there are too few open files.
        """
        settings = self.settings
        addresses = [Address.parse(url) for url in settings.urls]
        key = api_key(settings.api_key_variable)
        secure = any(address.secure for address in addresses)
        tls = tls_context(settings.ca_file) if secure else None
        limit = max(1, settings.connections // share)
        _allow_sockets(limit * len(addresses))
        dialect = DIALECTS[settings.server]()
        encode = self.tokenizer.encode if settings.recodes and self.tokenizer else None
        servers = [
            Server(
                address,
                limit=limit,
                head=_request_head(address, dialect, key),
                tls=tls if address.secure else None,
            )
            for address in addresses
        ]
        return Client(
            servers,
            policy=POLICIES[settings.routing](),
            dialect=dialect,
            rules=Rules(
                self.ask.max_tokens, frozenset(self.ask.stop_ids), dialect.counts_end, encode
            ),
            bodies=self._bodies(dialect),
            lengths=np.diff(self.offsets),
            patience=Patience(
                settings.connect_timeout, settings.stall_timeout, settings.request_timeout
            ),
            retries=settings.retries,
            secret=key,
        )

    def _bodies(self, dialect: Dialect) -> list[bytes]:
        """The request of every sample: what is the same in every run of it is written once."""
        as_text = self.settings.prompt_format == "text"
        encode = msgspec.json.Encoder().encode
        bodies = []
        for start, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            ids: list[int] = self.ids[start:stop].tolist()
            prompt: Sequence[int] | str = ids
            if as_text and self.tokenizer is not None:
                prompt = self.tokenizer.tokenizer.decode(ids, skip_special_tokens=False)
            bodies.append(encode(dialect.request(self.ask, prompt)))
        return bodies


def make_client(blueprint: Blueprint, share: int, number: int) -> Client:
    """The client of a worker process."""
    del number
    return blueprint.client(share)


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
