"""The server's HTTP side: one thread a connection, whole answers and streams."""

from __future__ import annotations

import logging
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from mlpinf_llm.server.engine import Engine, GenerationError
from mlpinf_llm.server.protocol import Asked, BadRequestError, error_body, read_request

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_MOST_BODY: Final = 16 * 1024 * 1024
_UNKNOWN: Final = "\ufffd"
"""What an unfinished character decodes to."""


class CompletionServer(ThreadingHTTPServer):
    """Listens as soon as it is made, when the engine is loaded."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], engine: Engine, model: str) -> None:
        """Listen.

        Args:
            address: host and port; port 0 takes any.
            engine: answers the prompts.
            model: the name under which it is served.
        """
        self.engine = engine
        self.model = model
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # the head and a small body leave in one packet
    server: CompletionServer

    def do_GET(self) -> None:
        """Health, and the one model."""
        path = self.path.partition("?")[0]
        if path == "/health":
            self._send(200, b"")
        elif path == "/v1/models":
            model = {"id": self.server.model, "object": "model", "owned_by": "mlpinf"}
            self._send_json(200, {"object": "list", "data": [model]})
        else:
            self._refuse(404, "not_found_error", f"there is no page {path}")

    def do_POST(self) -> None:
        """A completion."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MOST_BODY:
            self.close_connection = True
            self._refuse(400, "invalid_request_error", "the length of the body is not given")
            return
        body = self.rfile.read(int(length))
        if self.path.partition("?")[0] != "/v1/completions":
            self._refuse(404, "not_found_error", f"there is no page {self.path}")
            return
        engine = self.server.engine
        try:
            tokenizer = engine.tokenizer
            asked = read_request(
                body, model=self.server.model, encode=tokenizer.encode, end=tokenizer.end_id
            )
            job = engine.submit(
                asked.prompt, max_tokens=asked.max_tokens, min_tokens=asked.min_tokens
            )
        except (BadRequestError, ValueError) as error:
            self._refuse(400, "invalid_request_error", str(error))
            return
        if asked.stream:
            self._stream(asked, iter(job))
        else:
            self._answer(asked, iter(job))

    def _answer(self, asked: Asked, tokens: Iterator[int]) -> None:
        try:
            ids = list(tokens)
        except GenerationError as error:
            self._refuse(500, "internal_server_error", str(error))
            return
        text = self.server.engine.tokenizer.decode(ids)
        choice = asked.choice(ids, text, asked.reason(len(ids)))
        self._send(200, asked.body(choice, asked.usage(len(ids))), "application/json")

    def _stream(self, asked: Asked, tokens: Iterator[int]) -> None:
        """An event a token, the last with the reason; then the counts, and the end."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        decode = self.server.engine.tokenizer.decode
        ids: list[int] = []
        shown = ""
        try:
            for token in tokens:
                ids.append(token)
                text = decode(ids).rstrip(_UNKNOWN)
                new, shown = text[len(shown) :], text
                self._event(asked.body(asked.choice([token], new, None), None))
        except GenerationError as error:
            self._event(error_body(str(error), "internal_server_error", 500))
        else:
            self._event(asked.body(asked.choice([], "", asked.reason(len(ids))), None))
            if asked.with_usage:
                self._event(asked.body(None, asked.usage(len(ids))))
            self._event(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _event(self, data: bytes) -> None:
        event = b"data: %b\n\n" % data
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.flush()

    def _send_json(self, status: int, said: Any) -> None:
        import json

        self._send(status, json.dumps(said).encode(), "application/json")

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self._send(status, error_body(message, kind, status), "application/json")

    def _send(self, status: int, body: bytes, kind: str | None = None) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def handle(self) -> None:
        """A client that goes away in the middle is no error here."""
        try:
            super().handle()
        except ConnectionError:
            log.debug("a client went away")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged one by one."""
