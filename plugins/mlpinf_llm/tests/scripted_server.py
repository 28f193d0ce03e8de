"""A server that answers completions as told: well, or in one of the ways in which servers fail."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

Answer = Callable[["Wire", dict[str, Any]], None]

TOKENS = [101, 102, 103, 104]
TEXT = ["ä", "€", "\u2028", "𝄞"]  # of two, three and four bytes, and a line end to some


def chunk(ids: list[int], text: str = "", finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "token_ids": ids, "finish_reason": finish}
    return {"object": "text_completion", "choices": [choice]}


def counts(asked: dict[str, Any], completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": completion}
    return {"object": "text_completion", "choices": [], "usage": usage}


def event(said: Any) -> bytes:
    data = said if isinstance(said, bytes) else json.dumps(said, ensure_ascii=False).encode()
    return b"data: " + data + b"\n\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


class Wire:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket, server: ScriptedServer) -> None:
        self.sock = sock
        self.server = server

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def events(self, *said: Any) -> None:
        for each in said:
            self.send(chunked(event(each)))

    def raw_event(self, said: Any) -> None:
        """An event of a body that ends with the connection."""
        self.send(event(said))

    def stream(self, *said: Any) -> None:
        """A whole stream."""
        self.send(STREAM_HEAD)
        self.events(*said, b"[DONE]")
        self.send(END)

    def reply(self, status: int, body: bytes, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """End the connection as a dying process does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise ConnectionResetError

    def hang(self) -> None:
        """Say nothing until the client has gone."""
        with contextlib.suppress(OSError):
            while self.sock.recv(1024):
                pass
        raise ConnectionResetError


def well(wire: Wire, asked: dict[str, Any]) -> None:
    """As a good server answers."""
    if not asked.get("stream"):
        whole = chunk(TOKENS, "".join(TEXT), "length") | {
            "usage": counts(asked, len(TOKENS))["usage"]
        }
        wire.reply(200, json.dumps(whole).encode(), "Content-Type: application/json")
        return
    parts = [chunk([token], text) for token, text in zip(TOKENS, TEXT, strict=True)]
    wire.stream(*parts, chunk([], "", "length"), counts(asked, len(TOKENS)))


class ScriptedServer:
    """Listens on a port of its own; ``faults`` says which completion is answered how.

    A completion whose number (from 0) is not among them is answered well.
    """

    def __init__(
        self,
        faults: dict[int, Answer] | None = None,
        *,
        always: Answer | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.faults = faults or {}
        self.always = always or well
        self.tls = tls
        self.seen: list[dict[str, Any]] = []
        self.headers: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.greeting = b""
        """Said on new connections, in plain text, before anything else."""
        self.closing = threading.Event()
        self.busy: dict[int, None] = {}
        """Completions that are being answered, by their numbers."""
        self._lock = threading.Lock()
        self._wires: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connected(self) -> list[socket.socket]:
        with self._lock:
            return list(self._wires)

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def kill(self) -> None:
        """End at once: the port is closed, and every connection reset."""
        self.closing.set()
        self.stop_listening()
        with self._lock:
            wires, self._wires = self._wires, []
        for sock in wires:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            sock.sendall(self.greeting)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with self._lock:
                if self.closing.is_set():  # it was accepted while the others were killed
                    sock.close()
                    return
                self._wires.append(sock)
            with sock, sock.makefile("rb") as stream:
                while line := stream.readline():
                    self._answer(Wire(sock, self), line, stream)

    def _answer(self, wire: Wire, line: bytes, stream: Any) -> None:
        head = []
        while (field := stream.readline()).strip():
            head.append(field.lower())
        length = next((int(f.split(b":")[1]) for f in head if f.startswith(b"content-length")), 0)
        body = stream.read(length)
        if line.startswith(b"GET /v1/models"):
            wire.reply(200, b'{"data": [{"id": "scripted"}]}')
        elif line.startswith(b"GET"):
            wire.reply(200, b"")
        else:
            asked = json.loads(body)
            with self._lock:
                number = len(self.seen)
                self.seen.append(asked)
                self.headers.append(b"".join(head))
                self.busy[number] = None
            try:
                self.faults.get(number, self.always)(wire, asked)
            finally:
                del self.busy[number]
