"""The client's loop by itself: patience, connections that stand, connections that cannot be had."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.protocols import Outputs, Query
from mlpinf_core.suts.asynchronous import AsyncSut
from mlpinf_llm.openai.backend import notes
from mlpinf_llm.openai.blueprint import Blueprint
from mlpinf_llm.openai.dialects import Ask
from mlpinf_llm.openai.settings import OpenAISettings
from mlpinf_llm.openai.summary import Summary

from .scripted_server import END, STREAM_HEAD, TOKENS, ScriptedServer, Wire, chunk, counts, well

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlpinf_core.protocols import Slots
    from mlpinf_llm.openai.client import Client

PROMPT = 3


class Record:
    """What was told, in the place of a Responder."""

    least_tokens = 1

    def __init__(self, *, stop_on_error: bool = False) -> None:
        self.aborted = False
        self.done: list[int] = []
        self.failed: dict[int, Failure] = {}
        self._stop_on_error = stop_on_error

    def first_token(self, slots: Slots, tokens: Any = None) -> None:
        """The completions are looked at."""

    def complete(self, slots: Slots, outputs: Outputs | None) -> None:
        self.done += [int(slot) for slot in slots]

    def fail(self, slots: Slots, reason: Failure | BaseException | str) -> None:
        self.failed |= {int(slot): Failure.of(reason) for slot in slots}
        self.aborted |= self._stop_on_error

    def abort(self, reason: Failure | BaseException | str) -> None:
        raise AssertionError(reason)

    @property
    def messages(self) -> set[str]:
        return {failure.message for failure in self.failed.values()}


class Connect(Protocol):
    """Makes a client of some servers; settings differ from the tests' as given."""

    def __call__(
        self, *servers: ScriptedServer, count: int = 100, stream: bool = True, **settings: Any
    ) -> Client: ...


@pytest.fixture
def client() -> Iterator[Connect]:
    """A client of some servers, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(
            *servers: ScriptedServer, count: int = 100, stream: bool = True, **settings: Any
        ) -> Client:
            chosen = {
                "urls": tuple(server.url for server in servers), "connections": 4,
                "connect_timeout": 2.0, "stall_timeout": 20.0, "request_timeout": 60.0,
            }  # fmt: skip
            ids = np.zeros(PROMPT * count, dtype=np.int32) + 100
            offsets = np.arange(count + 1, dtype=np.int64) * PROMPT
            ask = Ask("scripted", 8, 1, (2,), stream=stream, want_ids=True)
            made = Blueprint(OpenAISettings(**chosen | settings), ask, ids, offsets, None).client()
            stack.callback(made.close)
            return made

        yield make


def answered(engine: Client, count: int, record: Record | None = None) -> Record:
    """What became of so many samples; fails where that takes for ever."""
    record = record or Record()
    sut = AsyncSut(record, engine)
    sut.issue(Query(range(count), np.arange(count)))
    flushed = threading.Thread(target=sut.flush, daemon=True)
    flushed.start()
    flushed.join(45)
    assert not flushed.is_alive(), "the samples were not all answered"
    sut.close()
    return record


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_may_think_for_longer_than_it_may_be_silent_within_an_answer(
    stream: bool, client: Connect
) -> None:
    def thinks(wire: Wire, asked: dict[str, Any]) -> None:
        wire.server.closing.wait(1.0)
        sent: list[bytes] = []
        recorder = Wire(wire.sock, wire.server)
        recorder.send = sent.append  # type: ignore[method-assign]
        well(recorder, asked)
        answer = b"".join(sent)
        head, _, body = answer.partition(b"\r\n\r\n")
        wire.send(head + b"\r\n\r\n")
        wire.server.closing.wait(0.05)  # so that it is read by itself
        wire.send(body)

    with ScriptedServer(always=thinks) as server:
        record = answered(client(server, stream=stream, stall_timeout=0.5), 4)
    assert not record.failed
    assert sorted(record.done) == [0, 1, 2, 3]


def test_connections_that_stand_go_on_when_no_more_are_taken(client: Connect) -> None:
    with ScriptedServer() as server:
        engine = client(server, count=400, connections=3)
        assert not answered(engine, 3).failed
        standing = len(server.connected)
        server.stop_listening()
        engine._servers[0]._limit = 8  # room for more connections than the server will take
        record = answered(engine, 400)
    assert not record.failed
    assert len(record.done) == 400
    assert 0 < standing <= 3


def test_a_server_that_refused_once_gets_all_its_connections_back(client: Connect) -> None:
    now: list[int] = []

    def counting(wire: Wire, asked: dict[str, Any]) -> None:
        now.append(sum(1 for _ in wire.server.busy))
        wire.server.closing.wait(0.005)
        well(wire, asked)

    with ScriptedServer(always=counting) as server:
        engine = client(server, count=200)
        answered(engine, 4)
        engine._servers[0].refused(0.0, "refused")  # long ago
        now.clear()
        record = answered(engine, 200)
    assert not record.failed
    assert max(now) == 4


def test_a_server_that_cannot_be_reached_takes_nothing_from_the_others(client: Connect) -> None:
    with ScriptedServer() as good, ScriptedServer() as gone:
        engine = client(good, gone, count=200)
        answered(engine, 8)
        gone.kill()
        record = answered(engine, 200)
    assert not record.failed
    assert len(good.seen) >= 196


def test_an_answer_that_ends_with_its_connection_is_the_last_one_on_it(client: Connect) -> None:
    def closes(wire: Wire, asked: dict[str, Any]) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for said in (chunk(TOKENS, "abcd", "stop"), counts(asked, 4)):
            wire.raw_event(said)
        wire.raw_event(b"[DONE]")
        wire.sock.close()
        raise ConnectionResetError

    with ScriptedServer(always=closes) as server:
        engine = client(server, retries=0)
        record = answered(engine, 40)
    assert not record.failed
    assert engine.summary().sent_again == 0


def test_a_test_that_is_stopped_waits_for_no_answer(client: Connect) -> None:
    def silent(wire: Wire, asked: dict[str, Any]) -> None:
        wire.send(STREAM_HEAD)
        wire.hang()

    def fails(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reply(500, b"no")

    with ScriptedServer({3: fails}, always=silent) as server:
        record = answered(client(server, request_timeout=600.0), 4, Record(stop_on_error=True))
    assert record.aborted


def test_an_error_that_repeats_the_key_is_told_without_it(
    monkeypatch: pytest.MonkeyPatch, client: Connect
) -> None:
    monkeypatch.setenv("SERVER_KEY", "hush-7f3a")

    def refuses(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reply(401, b'{"error": "no such key: hush-7f3a"}')

    with ScriptedServer(always=refuses) as server:
        record = answered(client(server, api_key_variable="SERVER_KEY"), 2)
    (message,) = record.messages
    assert "no such key: ***" in message


def deep(levels: int) -> bytes:
    return b'{"error": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_nested_without_end_fails_its_own_query(status: int, client: Connect) -> None:
    def nests(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reply(status, deep(5000), "Content-Type: application/json")

    with ScriptedServer({1: nests}) as server:
        record = answered(client(server, stream=False), 8)
    assert len(record.failed) == 1
    assert len(record.done) == 7


def test_answers_that_no_count_comes_with_are_told_of(client: Connect) -> None:
    def uncounted(wire: Wire, asked: dict[str, Any]) -> None:
        wire.send(STREAM_HEAD)
        wire.events(chunk(TOKENS, "abcd", "stop"), b"[DONE]")
        wire.send(END)

    with ScriptedServer(always=uncounted) as server:
        engine = client(server)
        answered(engine, 5)
    assert any("no token count of 5 answers" in note for note in notes_of([engine.summary()]))


@pytest.mark.parametrize(("busy", "told"), [(9.5, True), (4.0, False)])
def test_a_client_that_never_waited_is_said_to_have_been_the_limit(busy: float, told: bool) -> None:
    found = notes_of([Summary(wall=10.0, busy=busy, answered=5)])
    assert any("the client, not the server, was the limit" in note for note in found) is told


def notes_of(summaries: Iterable[Summary]) -> list[str]:
    return list(notes(list(summaries), recoded=False))
