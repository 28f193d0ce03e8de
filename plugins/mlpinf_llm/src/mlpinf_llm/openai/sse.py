"""Reads server-sent events from the bytes of a body, wherever these are split.

As in the HTML standard's "event stream": lines end with LF, CR LF or CR; an empty line ends an
event; ``data`` fields of one event are joined by LF; comments and other fields are passed over.
"""

from __future__ import annotations

from typing import Final

from mlpinf_llm.faults import malformed

MOST_EVENT: Final = 16 * 1024 * 1024
"""Bytes of one event; a server that sends more is not believed."""

_MARK: Final = b"\xef\xbb\xbf"


class EventReader:
    """The events of one body."""

    __slots__ = ("_data", "_ended_with_cr", "_rest", "_started")

    def __init__(self) -> None:
        """Nothing has been received."""
        self._rest = b""
        self._data: list[bytes] = []
        self._ended_with_cr = False
        self._started = False

    @property
    def unfinished(self) -> bool:
        """Whether the bytes so far end inside an event."""
        return bool(self._data) or bool(self._rest.strip())

    def feed(self, body: bytes) -> list[bytes]:
        """Take a part of the body; returns the data of the events that it completes.

        Raises:
            RequestError: an event does not end.
        """
        if self._rest:
            body = self._rest + body
        if not self._started:
            if len(body) < len(_MARK) and _MARK.startswith(body):
                self._rest = body
                return []
            self._started = True
            body = body.removeprefix(_MARK)
        if b"\r" in body or self._data or self._ended_with_cr:
            return self._by_lines(body)
        # What every server sends: "data: {...}", LF, LF.
        *events, rest = body.split(b"\n\n")
        found = []
        for event in events:
            if event.startswith(b"data: ") and b"\n" not in event:
                found.append(event[6:])
            else:
                found += self._by_lines(event + b"\n\n")
        self._keep(rest)
        return found

    def _by_lines(self, body: bytes) -> list[bytes]:
        """The same by the letter of the standard."""
        if self._ended_with_cr and body.startswith(b"\n"):  # the second half of a CR LF
            body = body[1:]
        self._ended_with_cr = body.endswith(b"\r")
        *lines, rest = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data = []
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
        self._keep(rest)
        return found

    def _keep(self, rest: bytes) -> None:
        if len(rest) + sum(map(len, self._data)) > MOST_EVENT:
            raise malformed("an event of the server's answer does not end")
        self._rest = rest
