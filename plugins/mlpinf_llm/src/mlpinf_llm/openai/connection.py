"""One connection to a server: opened without waiting, one request at a time, kept for the next."""

from __future__ import annotations

import contextlib
import enum
import os
import select
import socket
import ssl
from typing import TYPE_CHECKING, Final

from mlpinf_llm.faults import lost, unreachable
from mlpinf_llm.openai.answer import Answer
from mlpinf_llm.openai.http import ResponseReader

if TYPE_CHECKING:
    from mlpinf_llm.openai.server import Server
    from mlpinf_llm.openai.sse import EventReader

_READ: Final = 1 << 16
"""Bytes read at once."""
_IN: Final = select.EPOLLIN
_BOTH: Final = select.EPOLLIN | select.EPOLLOUT
_WAIT: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Request:
    """A sample on its way.

    Attributes:
        slot: of the sample, at the desk.
        index: of the sample, in the data set.
        cost: tokens of its prompt and longest answer.
        attempts: how often it has been sent before.
    """

    __slots__ = ("attempts", "cost", "index", "slot")

    def __init__(self, slot: int, index: int, cost: int) -> None:
        """It has not been sent."""
        self.slot = slot
        self.index = index
        self.cost = cost
        self.attempts = 0


class Phase(enum.Enum):
    """What a connection is doing."""

    CONNECTING = enum.auto()
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()


class Connection:
    """A socket, what is being sent on it, and what has come of the answer."""

    __slots__ = (
        "answer", "events", "fd", "out", "parts", "phase", "poll", "reader", "request", "server",
        "sock",
    )  # fmt: skip

    def __init__(self, server: Server, poll: select.epoll) -> None:
        """Begin to connect.

        Raises:
            RequestError: that failed at once.
        """
        self.server = server
        self.poll = poll
        self.phase = Phase.CONNECTING
        self.out = memoryview(b"")
        self.request: Request | None = None
        self.reader = ResponseReader()
        self.events: EventReader | None = None
        self.parts: list[bytes] = []
        self.answer = Answer()
        sock = socket.socket(server.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(BlockingIOError):
                sock.connect(server.socket_address)
        except OSError as error:
            sock.close()
            raise unreachable(f"{server.address}: {_words(error)}") from error
        self.sock = sock
        self.fd = sock.fileno()
        poll.register(self.fd, _BOTH)

    # -- sending ---------------------------------------------------------------------------------

    def send(self, request: Request, data: bytes) -> None:
        """Send a request; the rest follows when there is room for it.

        Raises:
            RequestError: the connection is gone.
        """
        self.request = request
        self.answer = Answer()
        self.events = None
        if self.phase is not Phase.OPEN:
            self.out = memoryview(data)
            return
        try:
            sent = self.sock.send(data)
        except _WAIT:
            sent = 0
        except OSError as error:
            raise lost(f"{self.server.address}: {_words(error)}") from error
        if sent < len(data):
            self.out = memoryview(data)[sent:]
            self.poll.modify(self.fd, _BOTH)

    def writable(self) -> bool:
        """Go on with connecting or sending; returns whether the connection now stands.

        Raises:
            RequestError: it could not be made, or is gone.
        """
        if self.phase is Phase.CONNECTING:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise unreachable(f"{self.server.address}: {os.strerror(error).lower()}")
            if self.server.tls is None:
                self._stand()
            else:
                self.phase = Phase.HANDSHAKE
                self.sock = self.server.tls.wrap_socket(
                    self.sock,
                    do_handshake_on_connect=False,
                    server_hostname=self.server.address.host,
                )
        if self.phase is Phase.HANDSHAKE and not self._shake_hands():
            return False
        if self.out:
            try:
                self.out = self.out[self.sock.send(self.out) :]
            except _WAIT:
                return True
            except OSError as error:
                raise lost(f"{self.server.address}: {_words(error)}") from error
        if not self.out:
            self.poll.modify(self.fd, _IN)
        return True

    def _shake_hands(self) -> bool:
        sock = self.sock
        if not isinstance(sock, ssl.SSLSocket):
            return True
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self.poll.modify(self.fd, _IN)
            return False
        except ssl.SSLWantWriteError:
            self.poll.modify(self.fd, _BOTH)
            return False
        except OSError as error:
            raise unreachable(f"{self.server.address}: TLS refused: {_words(error)}") from error
        self._stand()
        return True

    def _stand(self) -> None:
        self.phase = Phase.OPEN
        self.server.connected += 1

    # -- receiving -------------------------------------------------------------------------------

    def receive(self) -> bytes | None:
        """What has come; empty at the end of the connection, None when there is nothing.

        Raises:
            RequestError: the connection broke.
        """
        try:
            data = self.sock.recv(_READ)
        except _WAIT:
            return None
        except OSError as error:
            raise lost(f"{self.server.address}: {_words(error)}") from error
        # TLS decrypts whole records, and what is left of one wakes nobody.
        while data and isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            data += self.sock.recv(_READ)
        return data

    def release(self) -> None:
        """Make ready for another request."""
        self.request = None
        self.reader.next()
        self.parts = []

    def close(self) -> None:
        """Let go of the socket; to be called once."""
        self.request = None
        if self.phase is Phase.OPEN:
            self.server.connected -= 1
        with contextlib.suppress(OSError, ValueError):
            self.poll.unregister(self.fd)
        self.sock.close()


def _words(error: OSError) -> str:
    """An error of the system in its own words, the same on every occasion."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be verified: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    return (error.strerror or type(error).__name__).lower()
