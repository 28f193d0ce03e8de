"""Which of several servers gets the next request."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Load(Protocol):
    """What a policy knows of a server."""

    requests: int
    """On their way."""
    tokens: int
    """Of their prompts and longest answers."""

    @property
    def has_room(self) -> bool:
        """Whether it may get another request now."""


Policy: TypeAlias = "Callable[[Sequence[Load]], int | None]"
"""Chooses among servers: a position, or None while none has room."""


def round_robin() -> Policy:
    """Each in turn; one without room is passed over."""
    counter = itertools.count()

    def choose(servers: Sequence[Load]) -> int | None:
        if not any(server.has_room for server in servers):
            return None
        while True:
            position = next(counter) % len(servers)
            if servers[position].has_room:
                return position

    return choose


def _least(key: Callable[[Load], int]) -> Callable[[], Policy]:
    def make() -> Policy:
        turn = itertools.count()

        def choose(servers: Sequence[Load]) -> int | None:
            count = len(servers)
            start = next(turn) % count if count > 1 else 0
            best, least = None, 0
            for step in range(count):  # from another one each time, so that ties are shared
                position = (start + step) % count
                server = servers[position]
                if server.has_room and (best is None or key(server) < least):
                    best, least = position, key(server)
            return best

        return choose

    return make


POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {
    "round-robin": round_robin,
    "least-requests": _least(lambda server: server.requests),
    "least-tokens": _least(lambda server: server.tokens),
}
"""By the value of ``backend.routing``."""
