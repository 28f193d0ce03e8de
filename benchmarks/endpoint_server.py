"""A server that does nothing but answer: the other end of the endpoint benchmark.

    python benchmarks/endpoint_server.py [--port 0] [--delay-ms 0]

Every request gets the same bytes, prepared beforehand: a whole answer, or where ``"stream":true``
is asked for a stream of 16 chunks, one token each, written at once. Both forms of the API, so that
every client can be measured against it: ``/v1/completions`` as vLLM answers it, with token ids, and
``/v1/chat/completions``. With a delay, a stream's first chunk comes after it and the others after
it once more, and the true times are printed at the end.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import select
import signal
import socket
import time

CHUNKS = 16
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _said(kind: str, choices: list[dict[str, object]], usage: object = None) -> bytes:
    body = {"id": "cmpl-0a1b2c3d", "object": kind, "created": 1, "model": "noop",
            "choices": choices, "usage": usage}  # fmt: skip
    return json.dumps(body, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _answers(chat: bool) -> tuple[bytes, bytes, bytes]:
    """A whole answer; a stream's first chunk; the rest of it."""
    # Our client holds the prompt's count against the prompt, whose length is not looked at here.
    usage = {"completion_tokens": CHUNKS}
    if chat:
        usage |= {"prompt_tokens": 200, "total_tokens": 200 + CHUNKS}

    def part(count: int, finish: str | None, whole: bool) -> dict[str, object]:
        text = " word" * count
        said: dict[str, object] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if chat:
            said["message" if whole else "delta"] = {"role": "assistant", "content": text}
        else:
            said |= {"text": text, "token_ids": [2187] * count, "stop_reason": None}
        return said

    kind = "chat.completion" if chat else "text_completion"
    whole = _said(kind, [part(CHUNKS, "length", True)], usage)
    kind = "chat.completion.chunk" if chat else kind
    parts = [_chunk(_said(kind, [part(1, None, False)])) for _ in range(CHUNKS - 1)]
    parts.append(_chunk(_said(kind, [part(1, "length", False)])))
    end = _chunk(_said(kind, [], usage)) + _chunk(b"[DONE]") + b"0\r\n\r\n"
    return _HEAD % (len(whole), whole), _STREAM_HEAD + parts[0], b"".join(parts[1:]) + end


_TEXT, _CHAT = _answers(False), _answers(True)
_MODELS = _HEAD % (24, b'{"data":[{"id":"noop"}]}')


class Server:
    def __init__(self, port: int, delay: float) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.delay = delay
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.sockets: dict[int, socket.socket] = {}
        self.rest: dict[int, bytes] = {}
        self.later: list[tuple[float, int, bytes, float]] = []
        self.first: list[float] = []
        self.whole: list[float] = []

    def serve(self) -> None:
        door = self.listener.fileno()
        while True:
            patience = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            for fd, _ in self.poll.poll(patience):
                if fd == door:
                    self.accept()
                else:
                    self.read(fd)
            while self.later and self.later[0][0] <= time.monotonic():
                self.go_on(*heapq.heappop(self.later))

    def accept(self) -> None:
        try:
            while True:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sockets[sock.fileno()] = sock
                self.poll.register(sock, select.EPOLLIN)
        except BlockingIOError:
            pass

    def read(self, fd: int) -> None:
        sock = self.sockets[fd]
        try:
            data = sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.poll.unregister(fd)
            del self.sockets[fd]
            self.rest.pop(fd, None)
            sock.close()
            return
        if fd in self.rest:
            data = self.rest.pop(fd) + data
        end = data.find(b"\r\n\r\n")
        found = _LENGTH.search(data, 0, end) if end > 0 else None
        length = int(found[1]) if found else 0
        if end < 0 or len(data) < end + 4 + length:
            self.rest[fd] = data
            return
        if data.startswith(b"GET"):
            sock.send(_MODELS)
            return
        whole, first, rest = _CHAT if data.startswith(b"POST /v1/chat") else _TEXT
        if not _STREAM.search(data, end):
            sock.send(whole)
        elif self.delay:
            now = time.monotonic()
            heapq.heappush(self.later, (now + self.delay, fd, first, now))
        else:
            sock.send(first + rest)

    def go_on(self, due: float, fd: int, data: bytes, begun: float) -> None:
        """A delayed stream's next part."""
        self.sockets[fd].send(data)
        now = time.monotonic()
        if data is _TEXT[2]:
            self.whole.append(now - begun)
        else:
            self.first.append(now - begun)
            heapq.heappush(self.later, (due + self.delay, fd, _TEXT[2], begun))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    given = parser.parse_args()
    server = Server(given.port, given.delay_ms / 1000)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(json.dumps({"port": server.port}), flush=True)
    try:
        server.serve()
    except KeyboardInterrupt:
        cpu = time.process_time()
        print(json.dumps({"first": server.first, "whole": server.whole, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
