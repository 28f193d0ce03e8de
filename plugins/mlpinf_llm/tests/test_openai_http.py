"""Responses and events are read the same however their bytes are split."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpinf_llm.faults import RequestError
from mlpinf_llm.openai.http import ResponseReader
from mlpinf_llm.openai.sse import EventReader

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces."""
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def sized(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(pieces: list[bytes], *, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces if p)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


cuts = st.lists(st.integers(0, 1 << 20), max_size=12)
bodies = st.binary(max_size=200) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"\r\n\r\n5\r\n"])


@given(body=bodies, cuts=cuts)
def test_a_sized_body_is_read_whole(body: bytes, cuts: list[int]) -> None:
    reader = ResponseReader()
    assert b"".join(reader.feed(piece) for piece in split(sized(body), cuts)) == body
    assert reader.done
    assert reader.reusable


@given(body=bodies, cuts=cuts, pieces=cuts, more=st.booleans())
def test_a_chunked_body_is_read_whole(
    body: bytes, cuts: list[int], pieces: list[int], more: bool
) -> None:
    extras = {"extension": b";name=value", "trailer": b"X-Sum: 1\r\n"} if more else {}
    data = in_chunks(split(body, pieces), **extras)
    reader = ResponseReader()
    assert b"".join(reader.feed(piece) for piece in split(data, cuts)) == body
    assert reader.done
    assert reader.reusable


@given(one=bodies, two=bodies, cuts=cuts)
def test_responses_follow_each_other_on_a_connection(
    one: bytes, two: bytes, cuts: list[int]
) -> None:
    reader = ResponseReader()
    for body in (one, two):
        found = b"".join(reader.feed(piece) for piece in split(sized(body), cuts))
        assert found == body
        assert reader.reusable
        reader.next()


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = ResponseReader()
    found = reader.feed(b"HTTP/1.0 200 OK\r\n\r\nab") + reader.feed(b"cd")
    assert not reader.done
    assert reader.end()
    assert found == b"abcd"
    assert not reader.reusable


def test_a_connection_that_ends_within_a_sized_body_is_not_complete() -> None:
    reader = ResponseReader()
    reader.feed(sized(b"abcd")[:-1])
    assert reader.begun
    assert not reader.end()


def test_an_interim_response_is_passed_over() -> None:
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"ab")) == b"ab"
    assert reader.head is not None
    assert reader.head.status == 200


def test_a_server_that_says_close_is_not_used_again() -> None:
    reader = ResponseReader()
    reader.feed(sized(b"ab").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert reader.done
    assert not reader.reusable


def test_bytes_after_a_response_make_the_connection_useless() -> None:
    reader = ResponseReader()
    reader.feed(sized(b"ab") + b"x")
    assert reader.done
    assert not reader.reusable


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
    ],
    ids=range(13),
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        ResponseReader().feed(data)
    assert caught.value.failure.code == "protocol"


# -- events ----------------------------------------------------------------------------------------


def by_the_book(stream: str) -> list[str]:
    """The events of a stream, from the words of the standard."""
    found, data = [], []
    lines = re.split("\r\n|\n|\r", stream)
    for line in lines[:-1]:  # the last is not ended
        if not line:
            if data:
                found.append("\n".join(data))
            data = []
        elif line.startswith("data"):
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
    return found


lines = st.sampled_from(
    ["data: {}", "data:x", "data", "data: ä€𝄞", ": comment", "event: e", "id: 1", "", "", "data:  "]
)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(stream=st.lists(st.tuples(lines, ends), max_size=20), cuts=cuts)
def test_events_are_those_of_the_standard_however_they_are_split(
    stream: list[tuple[str, str]], cuts: list[int]
) -> None:
    text = "".join(line + end for line, end in stream)
    reader = EventReader()
    found = [data for piece in split(text.encode(), cuts) for data in reader.feed(piece)]
    assert [data.decode() for data in found] == by_the_book(text)


one_line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))


@given(data=st.lists(one_line, max_size=8), cuts=cuts)
def test_what_servers_send_is_read_event_by_event(data: list[str], cuts: list[int]) -> None:
    stream = "".join(f"data: {each}\n\n" for each in data).encode()
    reader = EventReader()
    found = [event for piece in split(stream, cuts) for event in reader.feed(piece)]
    assert [event.decode() for event in found] == data
    assert not reader.unfinished


def test_an_event_that_is_not_ended_is_unfinished() -> None:
    reader = EventReader()
    assert reader.feed(b"data: {}\n") == []
    assert reader.unfinished


def test_a_byte_order_mark_is_passed_over() -> None:
    reader = EventReader()
    assert reader.feed(b"\xef\xbb") + reader.feed(b"\xbfdata: a\n\n") == [b"a"]
