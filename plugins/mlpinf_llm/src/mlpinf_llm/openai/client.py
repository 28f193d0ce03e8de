"""The client's loop: requests to several servers at the same time, in one thread, without waiting.

Sockets and ``epoll`` directly, since the loop is the whole cost of a request on this side. A turn
takes what has come on every connection, hands it in at the desk, and sends as many waiting samples
as the servers have room for.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.loadgen.failures import Failure
from mlpinf_llm.faults import RequestError, lost, timed_out, unreachable
from mlpinf_llm.openai.connection import Connection, Phase, Request
from mlpinf_llm.openai.reading import AnswerReader
from mlpinf_llm.openai.server import Deadlines, Server
from mlpinf_llm.openai.summary import Stopwatch, Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mlpinf_core.suts.worker import EngineDesk
    from mlpinf_llm.openai.answer import Rules
    from mlpinf_llm.openai.dialects import Dialect
    from mlpinf_llm.openai.http import Head
    from mlpinf_llm.openai.routing import Policy

log = logging.getLogger(__name__)

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT
_BROKEN: Final = select.EPOLLERR | select.EPOLLHUP


@attrs.frozen
class Patience:
    """How long things may take, in seconds."""

    connect: float
    stall: float
    request: float


class Client:
    """Sends samples to servers, and hands in what they answer."""

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        policy: Policy,
        dialect: Dialect,
        rules: Rules,
        bodies: Sequence[bytes],
        lengths: npt.NDArray[np.int64],
        patience: Patience,
        retries: int,
        secret: str | None = None,
    ) -> None:
        """Make a client; nothing is connected yet.

        Args:
            servers: at least one.
            policy: chooses among them.
            dialect: reads what they say.
            rules: that answers are held to.
            bodies: of the request for each sample.
            lengths: int64 [samples], tokens of each prompt.
            patience: how long things may take.
            retries: how often a request is sent again that failed before its answer's first byte.
            secret: what a server may say in an error, and nobody may read.
        """
        self._servers = servers
        self._policy = policy
        self._bodies = bodies
        self._costs = (lengths + rules.cap).tolist()
        self._reader = AnswerReader(dialect, rules, lengths.tolist())
        self._patience = patience
        self._retries = retries
        self._secret = secret
        self._poll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._bell, _IN)
        self._connections: dict[int, Connection] = {}
        self._connecting = Deadlines(patience.connect)
        self._stalling = Deadlines(patience.stall)
        self._lasting = Deadlines(patience.request)
        self._again: deque[Request] = deque()
        self._asleep = False
        self._now = 0.0
        self._stopwatch = Stopwatch()
        self._sent_again = 0
        self._answered_before = 0

    # -- the engine of an AsyncSut ---------------------------------------------------------------

    def wake(self) -> None:
        """There are samples at the desk, or there will be no more."""
        if self._asleep:
            os.eventfd_write(self._bell, 1)

    def run(self, desk: EngineDesk) -> None:
        """Answer what comes to the desk until it is closed."""
        self._desk = desk
        self._stopwatch = Stopwatch()
        self._sent_again = self._reader.unchecked = self._reader.recounted = 0
        self._answered_before = self._answered()
        while True:
            self._now = time.monotonic()
            if desk.stopped:
                self._drop_everything()
            else:
                self._expire()
                self._dispatch()
            desk.report()
            self._stopwatch.look(busy=self._in_flight() > 0)
            if desk.closed and not self._in_flight() and not desk.waiting:
                break
            happened = self._sleep()
            self._now = time.monotonic()  # it may have slept for longer than a deadline
            for fd, events in happened:
                if fd == self._bell:
                    os.eventfd_read(self._bell)
                elif (connection := self._connections.get(fd)) is not None:
                    self._on_event(connection, events)

    def summary(self) -> Summary:
        """What it did in the last test."""
        refusals = {str(s.address): s.refusals for s in self._servers if s.refusals}
        answered = self._answered() - self._answered_before
        reader = self._reader
        return Summary(
            *self._stopwatch.times,
            answered,
            self._sent_again,
            refusals,
            reader.unchecked,
            reader.recounted,
        )

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._connections.values()):
            connection.close()
        self._connections.clear()
        for server in self._servers:
            server.idle.clear()
        self._poll.close()
        os.close(self._bell)

    def _answered(self) -> int:
        return sum(server.answered for server in self._servers)

    def _in_flight(self) -> int:
        return len(self._again) + sum(server.requests for server in self._servers)

    def _sleep(self) -> list[tuple[int, int]]:
        """What has happened; waits for it, as long as nothing is due."""
        self._asleep = True  # from here on, samples that come ring the bell
        try:
            due = self._until_due()
            with self._stopwatch.pause():
                return self._poll.poll(due, 1024)
        finally:
            self._asleep = False

    def _until_due(self) -> float | None:
        """Seconds until something is to be done without being told; None is never."""
        in_flight = self._in_flight() > 0
        if (self._desk.closed and not in_flight) or (self._desk.stopped and in_flight):
            return 0.0  # that was said after it was last looked at, and may have rung no bell
        waiting = bool(self._again) or self._desk.waiting > 0
        if waiting and any(server.has_room for server in self._servers):
            return 0.0
        due = [self._connecting.next(), self._stalling.next(), self._lasting.next()]
        if waiting:
            due += [server.retry_at or None for server in self._servers]
        moments = [moment for moment in due if moment is not None]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    # -- sending ---------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Send what waits, as far as there is room."""
        room = 0
        for server in self._servers:
            if server.retry_at and server.retry_at <= self._now:
                server.retry_at = 0.0
            room += server.room
        while self._again and room > 0:
            room -= 1
            self._send(self._again.popleft())
        if room > 0 and self._desk.waiting:
            for slot, index in self._desk.take(room):
                self._send(Request(slot, index, self._costs[index]))
        elif room <= 0 and (self._again or self._desk.waiting):
            self._give_up_if_alone()

    def _send(self, request: Request) -> None:
        chosen = self._policy(self._servers)
        if chosen is None:  # a server has become unreachable in this very turn
            self._again.append(request)
            return
        server = self._servers[chosen]
        server.requests += 1
        server.tokens += request.cost
        body = self._bodies[request.index]
        data = b"%b%d\r\n\r\n%b" % (server.head, len(body), body)
        connection = None
        try:
            if server.idle:
                connection = server.idle.pop()
            else:
                connection = Connection(server, self._poll)
                self._connections[connection.fd] = connection
                self._connecting.start(connection, self._now)
            self._lasting.start(connection, self._now)
            connection.send(request, data)
        except RequestError as error:
            if connection is None:
                server.requests -= 1
                server.tokens -= request.cost
                server.refused(self._now, error.failure.message)
                self._retry_or_fail(request, error)
            else:
                self._end(connection, error)

    def _give_up_if_alone(self) -> None:
        """Fail what waits when no server has taken a connection for long enough."""
        if not all(server.gone(self._now, self._patience.connect) for server in self._servers):
            return
        why = "; ".join(dict.fromkeys(server.why for server in self._servers))
        failure = Failure("unreachable", f"no server can be reached any more: {why}")
        while self._again:
            self._desk.fail(self._again.popleft().slot, failure)
        while taken := self._desk.take(65536):
            for slot, _ in taken:
                self._desk.fail(slot, failure)

    # -- what happens on a connection ------------------------------------------------------------

    def _on_event(self, connection: Connection, events: int) -> None:
        try:
            if connection.phase is not Phase.OPEN:
                if connection.writable():
                    self._connecting.stop(connection)
                    connection.server.reached()
            elif events & _OUT:
                connection.writable()
            elif events & (_IN | _BROKEN):
                self._receive(connection)
        except RequestError as error:
            self._end(connection, error)

    def _receive(self, connection: Connection) -> None:
        data = connection.receive()
        if data is None:
            return
        reader, request = connection.reader, connection.request
        if request is None:  # an idle connection: the server closes it
            connection.server.idle.remove(connection)
            self._close(connection)
            return
        if not data:
            if not reader.end():
                raise lost(f"{connection.server.address}: the connection ended before the answer")
            body = b""
        else:
            self._stalling.start(connection, self._now)
            body = reader.feed(data)
        if (head := reader.head) is None:
            return
        if body and self._reader.take(connection, head, body):
            self._desk.first_token(request.slot, connection.answer.first_id)
        if reader.done:
            self._finish(connection, head, request)

    def _finish(self, connection: Connection, head: Head, request: Request) -> None:
        """An answer is complete."""
        self._desk.answer(request.slot, self._reader.finish(connection, head, request.index))
        connection.server.answered += 1
        self._settle(connection, request)
        if connection.reader.reusable:
            connection.release()
            connection.server.idle.append(connection)
        else:
            self._close(connection)

    def _end(self, connection: Connection, error: RequestError) -> None:
        """A connection is of no use any more; its request is sent again where that is fair."""
        request = connection.request
        untouched = not connection.reader.begun
        if connection.phase is not Phase.OPEN:
            connection.server.refused(self._now, error.failure.message)
        if request is None:
            if connection in connection.server.idle:
                connection.server.idle.remove(connection)
        else:
            self._settle(connection, request)
            if untouched and error.failure.code in ("unreachable", "connection"):
                self._retry_or_fail(request, error)
            else:
                self._fail(request, error.failure)
        self._close(connection)

    def _retry_or_fail(self, request: Request, error: RequestError) -> None:
        reachable = any(s.unreachable_since is None or s.connected for s in self._servers)
        if error.failure.code != "unreachable" or not reachable:
            request.attempts += 1  # it was sent, or there is nobody to send it to
        if request.attempts > self._retries:
            self._fail(request, error.failure)
        else:
            self._sent_again += 1
            self._again.append(request)

    def _fail(self, request: Request, failure: Failure) -> None:
        if self._secret and self._secret in failure.message:
            failure = Failure(failure.code, failure.message.replace(self._secret, "***"))
        self._desk.fail(request.slot, failure)

    def _settle(self, connection: Connection, request: Request) -> None:
        """A request is not on its way any more."""
        connection.server.requests -= 1
        connection.server.tokens -= request.cost
        self._stalling.stop(connection)
        self._lasting.stop(connection)

    def _close(self, connection: Connection) -> None:
        self._connecting.stop(connection)
        self._stalling.stop(connection)
        self._lasting.stop(connection)
        self._connections.pop(connection.fd, None)
        connection.close()

    # -- time ------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """End what has taken too long."""
        patience = self._patience
        for connection in self._connecting.overdue(self._now):
            error = unreachable(
                f"{connection.server.address}: no connection in {patience.connect:g} s"
            )
            self._end(connection, error)
        for connection in self._stalling.overdue(self._now):
            error = timed_out(f"{connection.server.address}: silent for {patience.stall:g} s")
            self._end(connection, error)
        for connection in self._lasting.overdue(self._now):
            error = timed_out(f"{connection.server.address}: no answer in {patience.request:g} s")
            self._end(connection, error)

    def _drop_everything(self) -> None:
        """The test was aborted: nobody wants the answers."""
        for connection in list(self._connections.values()):
            if connection.request is not None:
                self._settle(connection, connection.request)
                self._close(connection)
        self._again.clear()
        self._desk.drop()
