"""Reads HTTP/1.1 responses from the bytes of a connection, wherever these are split.

Framing only (RFC 9112): status line and headers, then a body that is sized, chunked or ends with
the connection. Written for the hot path of a benchmark: a whole response in one read costs a few
microseconds.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import Final

import attrs

from mlpinf_llm.faults import malformed

MOST_HEAD: Final = 64 * 1024
"""Bytes of status line and headers; a server that sends more is not believed."""
MOST_BODY: Final = 256 * 1024 * 1024
"""Bytes of a body that are kept or read."""

_END: Final = b"\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: [^\r\n]*)?")
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,12}")
_MOST_SIZE_LINE: Final = 1024


@attrs.frozen
class Head:
    """Status and what the headers say about the body.

    Attributes:
        status: 200, say.
        length: of the body in bytes; None where it is not given.
        chunked: whether the body comes in chunks.
        keep_alive: whether the connection may be used again.
        content_type: lower-case, without parameters; empty where it is not given.
        retry_after: the header of that name; empty where it is not given.
    """

    status: int
    length: int | None
    chunked: bool
    keep_alive: bool
    content_type: str
    retry_after: str


class _State(enum.Enum):
    HEAD = enum.auto()
    SIZED = enum.auto()
    CHUNKS = enum.auto()
    TRAILERS = enum.auto()
    UNTIL_CLOSE = enum.auto()
    DONE = enum.auto()


@functools.lru_cache(maxsize=256)  # a server's heads are mostly the same, to the second
def parse_head(data: bytes) -> Head:
    """The head of a response, without the empty line that ends it.

    Raises:
        RequestError: it is not one.
    """
    status_line, *lines = data.split(_END)
    found = _STATUS_LINE.fullmatch(status_line)
    if found is None:
        raise malformed("the server's answer is not HTTP/1.1")
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise malformed("the server sent a header that is none")
        fields.setdefault(name.lower(), []).append(value.strip())
    status = int(found[2])
    chunked = _chunked(fields)
    connection = b",".join(fields.get(b"connection", [])).lower()
    return Head(
        status=status,
        length=None if chunked else _length(fields, status),
        chunked=chunked,
        keep_alive=b"close" not in connection and (found[1] == b"1" or b"keep-alive" in connection),
        content_type=_text(fields, b"content-type").partition(";")[0].strip().lower(),
        retry_after=_text(fields, b"retry-after"),
    )


def _chunked(fields: dict[bytes, list[bytes]]) -> bool:
    coding = b",".join(fields.get(b"transfer-encoding", [])).strip().lower()
    if coding not in (b"", b"identity", b"chunked"):
        raise malformed(f"the server sent transfer coding {coding.decode('latin-1')!r}")
    encoding = b",".join(fields.get(b"content-encoding", [])).strip().lower()
    if encoding not in (b"", b"identity"):
        raise malformed(f"the server compressed its answer ({encoding.decode('latin-1')!r})")
    return coding == b"chunked"


def _length(fields: dict[bytes, list[bytes]], status: int) -> int | None:
    if status in (204, 304) or status < 200:
        return 0
    given = set(fields.get(b"content-length", []))
    if not given:
        return None
    value = given.pop()
    if given or not value.isdigit() or len(value) > 12:
        raise malformed("the server sent no proper content-length")
    return int(value)


def _text(fields: dict[bytes, list[bytes]], name: bytes) -> str:
    return b", ".join(fields.get(name, [])).decode("latin-1")


class ResponseReader:
    """The responses on one connection, one after the other.

    Call :meth:`feed` with what was received; :attr:`head` is there as soon as it is known, and
    :attr:`done` says that the body is complete. :meth:`next` makes ready for the next response.
    """

    __slots__ = ("_ended", "_left", "_rest", "_size", "_state", "head")

    def __init__(self) -> None:
        """Nothing has been received."""
        self._state = _State.HEAD
        self._rest = b""
        self._left = 0
        self._ended = False
        self._size = 0
        self.head: Head | None = None

    @property
    def done(self) -> bool:
        """Whether the response is complete."""
        return self._state is _State.DONE

    @property
    def begun(self) -> bool:
        """Whether a byte of the response has been received."""
        return self._state is not _State.HEAD or bool(self._rest)

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: complete, kept alive, nothing over."""
        head = self.head
        fit = self.done and not self._ended and not self._rest
        return fit and head is not None and head.keep_alive

    def next(self) -> None:
        """Make ready for another response."""
        self._state = _State.HEAD
        self.head = None
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Take what was received; returns the bytes of the body in it.

        Raises:
            RequestError: it is not HTTP/1.1, or too much of it.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self._state is _State.HEAD:
            data = self._take_head(data)
        if self._state is _State.CHUNKS:
            body = self._take_chunks(data)
        elif self._state is _State.SIZED:
            body = self._take_sized(data)
        elif self._state is _State.UNTIL_CLOSE:
            body = data
        else:
            self._take_trailers(data)
            body = b""
        self._size += len(body)
        if self._size > MOST_BODY:
            raise malformed(f"the server sent more than {MOST_BODY >> 20} MiB for one answer")
        return body

    def end(self) -> bool:
        """The server has closed the connection; returns whether the response is complete."""
        self._ended = True
        if self._state is _State.UNTIL_CLOSE:
            self._state = _State.DONE
        return self.done

    def _take_head(self, data: bytes) -> bytes:
        """Read heads until one is final; returns what follows it."""
        while True:
            end = data.find(_END_OF_HEAD)
            if end < 0 or end > MOST_HEAD:
                if len(data) > MOST_HEAD:
                    raise malformed("the server's headers do not end")
                if len(data) >= 5 and not data.startswith(b"HTTP/"):
                    raise malformed("the server's answer is not HTTP/1.1")
                self._rest = data
                return b""
            head = parse_head(data[:end])
            data = data[end + 4 :]
            if head.status < 200 and head.status != 101:
                continue  # "100 Continue" and the like come before the answer
            self.head = head
            if head.chunked:
                self._state = _State.CHUNKS
                self._left = 0
            elif head.length is not None:
                self._state = _State.SIZED if head.length else _State.DONE
                self._left = head.length
            else:
                self._state = _State.UNTIL_CLOSE
            if self._state is _State.DONE:
                self._rest = data
                return b""
            return data

    def _take_sized(self, data: bytes) -> bytes:
        if len(data) < self._left:
            self._left -= len(data)
            return data
        body, self._rest = data[: self._left], data[self._left :]
        self._left = 0
        self._state = _State.DONE
        return body

    def _take_chunks(self, data: bytes) -> bytes:
        """Chunks, as many as there are. ``_left`` counts a chunk's bytes and its line end."""
        parts: list[bytes] = []
        at, size = 0, len(data)
        left = self._left
        while True:
            if left:
                if at + left > size:  # the chunk is not complete, or its line end is not
                    inside = max(0, left - 2)
                    parts.append(data[at : at + inside])
                    taken = min(size - at, inside)
                    self._left = left - taken
                    self._rest = data[at + taken :]
                    return b"".join(parts)
                end = at + left - 2
                if data[end : end + 2] != _END:
                    raise malformed("a chunk of the server's answer has another length than told")
                parts.append(data[at:end])
                at, left = end + 2, 0
            end = data.find(_END, at)
            if end < 0:
                if size - at > _MOST_SIZE_LINE:
                    raise malformed("a chunk of the server's answer has no length")
                self._left, self._rest = 0, data[at:]
                return b"".join(parts)
            line = data[at:end]
            if not _SIZE.fullmatch(line):
                line = line.partition(b";")[0].strip()
                if not _SIZE.fullmatch(line):
                    raise malformed("a chunk of the server's answer has no length")
            length = int(line, 16)
            at = end + 2
            if length == 0:
                self._left = 0
                self._state = _State.TRAILERS
                self._take_trailers(data[at:])
                return b"".join(parts)
            left = length + 2

    def _take_trailers(self, data: bytes) -> None:
        """Fields after the last chunk, which are ignored, and the empty line that ends them."""
        if self._state is not _State.TRAILERS:
            if data:
                self._rest = data
            return
        if data.startswith(_END):
            self._state, self._rest = _State.DONE, data[2:]
            return
        end = data.find(_END_OF_HEAD)
        if end >= 0:
            self._state, self._rest = _State.DONE, data[end + 4 :]
        elif len(data) > MOST_HEAD:
            raise malformed("the server's trailers do not end")
        else:
            self._rest = data
