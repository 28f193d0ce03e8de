"""What the client knows of one server: its load, its connections, whether it can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl

    from mlpinf_llm.openai.address import Address
    from mlpinf_llm.openai.connection import Connection

_FIRST_BACKOFF: Final = 0.1
_MOST_BACKOFF: Final = 2.0
"""Seconds until a server that refused a connection is tried again; doubled each time."""


class Server:
    """A server, seen from here.

    Attributes:
        address: where it is.
        requests: on their way to it.
        tokens: of their prompts and longest answers.
        answered: how many it has answered.
        connected: connections that stand.
        unreachable_since: when it first refused a connection, of those since it last took one.
        refusals: connections it refused in all.
        why: it refused the last one of them.
    """

    def __init__(
        self, address: Address, *, limit: int, head: bytes, tls: ssl.SSLContext | None
    ) -> None:
        """Know of a server.

        Args:
            address: where it is; resolved here.
            limit: most requests on their way to it.
            head: what every request to it begins with, up to the length of the body.
            tls: how to speak TLS with it; None is not at all.
        """
        self.address = address
        self.head = head
        self.tls = tls
        self.family, self.socket_address = address.resolve()
        self.requests = 0
        self.tokens = 0
        self.answered = 0
        self.refusals = 0
        self.why = ""
        self.connected = 0
        self.unreachable_since: float | None = None
        self.idle: list[Connection] = []
        self.retry_at = 0.0
        self._limit = limit
        self._backoff = _FIRST_BACKOFF

    @property
    def has_room(self) -> bool:
        """Whether it may get another request now."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many more requests it may get now."""
        limit = self._limit
        if self.unreachable_since is not None:
            # The connections that stand go on; one more request tries whether it takes another.
            limit = min(limit, self.connected + (0 if self.retry_at else 1))
        return max(0, limit - self.requests)

    def refused(self, now: float, why: str) -> None:
        """It took no connection; it is left alone for a moment."""
        self.refusals += 1
        self.why = why
        if self.unreachable_since is None:
            self.unreachable_since = now
        if not self.retry_at:
            self.retry_at = now + self._backoff
            self._backoff = min(2 * self._backoff, _MOST_BACKOFF)

    def reached(self) -> None:
        """It took a connection."""
        if self.unreachable_since is not None:
            self.unreachable_since = None
            self.retry_at = 0.0
            self._backoff = _FIRST_BACKOFF

    def gone(self, now: float, patience: float) -> bool:
        """Whether it has taken no connection for so long, and none stands."""
        since = self.unreachable_since
        return since is not None and not self.connected and now - since >= patience


class Deadlines:
    """What is due after the same patience each, in order; constant time for everything."""

    def __init__(self, patience: float) -> None:
        """Nothing is due."""
        self._patience = patience
        self._due: dict[Any, float] = {}

    def start(self, what: Any, now: float) -> None:
        """It is due after the patience, from now on, whatever was said before."""
        self._due.pop(what, None)
        self._due[what] = now + self._patience

    def stop(self, what: Any) -> None:
        """It is not due any more."""
        self._due.pop(what, None)

    def next(self) -> float | None:
        """When the first one is due."""
        for due in self._due.values():
            return due
        return None

    def overdue(self, now: float) -> list[Any]:
        """Those that are due, taken out."""
        found = []
        for what, due in self._due.items():
            if due > now:
                break
            found.append(what)
        for what in found:
            del self._due[what]
        return found
