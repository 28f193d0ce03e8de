"""Whatever a server does, every query ends exactly once and the verdict says what happened."""

from __future__ import annotations

import functools
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import api
from mlpinf_core.logs.detail import DetailLog
from mlpinf_core.record import read_json
from mlpinf_llm import tiny

from .scripted_server import (
    END,
    STREAM_HEAD,
    TOKENS,
    ScriptedServer,
    Wire,
    chunk,
    chunked,
    counts,
    event,
    well,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.results import RunResult

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"
SAMPLES = len(tiny.BENCHMARKS["llama3.1-8b"].samples())
CAP = 8


def run(
    urls: list[str], output: Path, sut: dict[str, Any] | None = None, **backend: Any
) -> RunResult:
    """An Offline run of ``SAMPLES`` samples that goes on after failures."""
    results = api.run(
        "llama3.1-8b",
        scenarios="Offline",
        modes="performance",
        variant="tiny",
        settings={
            "loadgen": {"target_qps": 1, "min_duration": 0, "min_query_count": SAMPLES},
            "run": {"backend": "openai", "stop_on_error": False, "warmup": False,
                    "hang_timeout": 30},
            "benchmark": {"max_output_tokens": CAP},
            "sut": sut or {},
            "backend": {"urls": urls, "connections": 4, "stream": True, "stop_ids": [2],
                        "ready_timeout": 5, "connect_timeout": 2, **backend},
        },
        output=output,
    )  # fmt: skip
    return results.runs[0]


def failures(result: RunResult) -> dict[str, str]:
    """What the verdict says of queries, by code; and that it knows no worse."""
    causes: dict[str, str] = {}
    for cause in result.verdict.causes:
        causes[cause.code] = f"{causes.get(cause.code, '')}{cause.message}; "
    assert not {"hang", "crash", "query-missing", "query-duplicate"} & set(causes), causes
    return {code: text for code, text in causes.items() if code.startswith("query-")}


# -- what single answers can do --------------------------------------------------------------------


def reset_mid_stream(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(STREAM_HEAD)
    wire.events(chunk([101], "a"), chunk([102], "b"))
    wire.reset()


def status(code: int) -> Callable[[Wire, dict[str, Any]], None]:
    def answer(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reply(code, b'{"error": {"message": "come back later"}}', "Retry-After: 7")

    return answer


def stalled(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(STREAM_HEAD)
    wire.events(chunk([101], "a"))
    wire.hang()


def slow_loris(wire: Wire, asked: dict[str, Any]) -> None:
    pause = wire.server.closing.wait
    for byte in STREAM_HEAD + event(chunk([101], "a")) * 1000:
        wire.send(bytes([byte]))
        pause(0.02)


def malformed_json(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([101], "a"), b'{"choices": [{"text": ')


def malformed_events(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(STREAM_HEAD + chunked(b"data: " + b'{"choices": []') + END)


def malformed_http(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    wire.hang()


def wrong_chunk_length(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(STREAM_HEAD + b"3\r\n" + event(chunk([101], "a")))
    wire.hang()


def wrong_types(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk(["one", "two"], "a"))  # type: ignore[list-item]


def error_in_stream(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([101], "a"), {"error": {"message": "out of memory"}})


def final_chunk_first(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([], "", "stop"), chunk([101, 102], "ab"), counts(asked, 2))


def cut_off(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([101, 102], "ab"))


def nothing(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([], "", "stop"), counts(asked, 0))


def one_token(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([101], "a", "stop"), counts(asked, 1))


def over_the_cap(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(*[chunk([101], "a")] * (CAP + 1), chunk([], "", "length"), counts(asked, CAP + 1))


def endless(wire: Wire, asked: dict[str, Any]) -> None:
    wire.send(STREAM_HEAD)
    while True:
        wire.events(chunk([101], "a"))


def miscounted(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk(TOKENS, "abcd"), chunk([], "", "length"), counts(asked, len(TOKENS) + 1))


def other_prompt(wire: Wire, asked: dict[str, Any]) -> None:
    said = counts(asked, len(TOKENS))
    said["usage"]["prompt_tokens"] += 1
    wire.stream(chunk(TOKENS, "abcd", "length"), said)


def goes_on_after_its_end(wire: Wire, asked: dict[str, Any]) -> None:
    wire.stream(chunk([101, 2, 102], "abc", "stop"), counts(asked, 3))


def text_only(wire: Wire, asked: dict[str, Any]) -> None:
    said = chunk([], "some text", "stop")
    wire.stream(said, counts(asked, 4))


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        pytest.param(reset_mid_stream, "connection", "reset", id="reset mid-stream"),
        pytest.param(status(429), "status", "HTTP 429: come back later", id="429"),
        pytest.param(status(500), "status", "HTTP 500: come back later", id="500"),
        pytest.param(status(503), "status", "HTTP 503: come back later (retry after 7)", id="503"),
        pytest.param(stalled, "timeout", "silent for 1 s", id="stalled stream"),
        pytest.param(slow_loris, "timeout", "no answer in 4 s", id="slow loris"),
        pytest.param(malformed_json, "protocol", "no completion in JSON", id="malformed JSON"),
        pytest.param(malformed_events, "protocol", "cut off", id="malformed event stream"),
        pytest.param(malformed_http, "protocol", "not HTTP", id="malformed HTTP"),
        pytest.param(wrong_chunk_length, "protocol", "another length", id="wrong chunk length"),
        pytest.param(wrong_types, "protocol", "no completion in JSON", id="ids that are words"),
        pytest.param(error_in_stream, "status", "out of memory", id="error in the stream"),
        pytest.param(final_chunk_first, "protocol", "after the end", id="final chunk first"),
        pytest.param(cut_off, "protocol", "cut off", id="stream without an end"),
        pytest.param(nothing, "tokens", "0 tokens", id="zero tokens"),
        pytest.param(one_token, "tokens", "1 token", id="one token"),
        pytest.param(over_the_cap, "tokens", f"more than the {CAP}", id="over the cap"),
        pytest.param(endless, "tokens", f"more than the {CAP}", id="endless"),
        pytest.param(miscounted, "tokens", "counted another number", id="wrong usage"),
        pytest.param(other_prompt, "tokens", "other prompt tokens", id="a BOS added"),
        pytest.param(goes_on_after_its_end, "tokens", "after the id", id="tokens after EOS"),
        pytest.param(text_only, "tokens", "no token ids", id="text only"),
    ],
)
def test_a_bad_answer_fails_its_own_query_and_is_counted(
    fault: Any, code: str, words: str, tmp_path: Path
) -> None:
    with ScriptedServer({3: fault, 10: fault}) as server:
        result = run([server.url], tmp_path, stall_timeout=1, request_timeout=4)
    assert not result.verdict.valid
    found = failures(result)
    assert set(found) == {f"query-{code}"}
    assert words in found[f"query-{code}"]
    assert "(2 samples)" in found[f"query-{code}"]
    assert len(server.seen) == SAMPLES  # none of them was sent again


# -- what is no fault ------------------------------------------------------------------------------


def byte_by_byte(wire: Wire, asked: dict[str, Any]) -> None:
    """Split inside characters, events, chunks and the head."""
    kept: list[bytes] = []
    recorder = Wire(wire.sock, wire.server)
    recorder.send = kept.append  # type: ignore[method-assign]
    well(recorder, asked)
    for byte in b"".join(kept):
        wire.send(bytes([byte]))


def all_at_once(wire: Wire, asked: dict[str, Any]) -> None:
    """Events across chunks, several in one, comments, CR LF, usage before the end."""
    parts = [chunk([101], "ä"), chunk([102, 103], "€"), counts(asked, 4), chunk([104], "x", "stop")]
    stream = b": hello\r\n\r\n" + b"".join(event(p).replace(b"\n", b"\r\n") for p in parts)
    stream += b"data: [DONE]\r\n\r\n"
    third = len(stream) // 3
    pieces = [stream[:third], stream[third : 2 * third + 1], stream[2 * third + 1 :]]
    wire.send(STREAM_HEAD + b"".join(chunked(piece) for piece in pieces) + END)


def with_its_end(wire: Wire, asked: dict[str, Any]) -> None:
    """The id that ends the answer is sent and counted, as vLLM does."""
    wire.stream(chunk([*TOKENS, 2], "abcd", "stop"), counts(asked, len(TOKENS) + 1))


def without_keep_alive(wire: Wire, asked: dict[str, Any]) -> None:
    """HTTP/1.0: the answer ends with the connection."""
    wire.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    for said in (chunk(TOKENS, "abcd", "stop"), counts(asked, 4), b"[DONE]"):
        wire.send(event(said))
    wire.sock.close()
    raise ConnectionResetError


@pytest.mark.parametrize("answer", [byte_by_byte, all_at_once, with_its_end, without_keep_alive])
def test_a_proper_stream_is_understood_however_it_comes(answer: Any, tmp_path: Path) -> None:
    with ScriptedServer(always=answer) as server:
        result = run([server.url], tmp_path)
    assert result.verdict.valid, result.verdict.causes
    detail = DetailLog.read(result.directory / "mlperf_log_detail.txt")
    assert not detail.errors
    tokens = detail.number("result_tokens_per_second") / detail.number("result_samples_per_second")
    assert tokens == pytest.approx(len(TOKENS), rel=1e-3)


# -- what servers can do ---------------------------------------------------------------------------


def test_a_server_that_refuses_connections_is_named(tmp_path: Path) -> None:
    def then_gone(wire: Wire, asked: dict[str, Any]) -> None:
        wire.server.stop_listening()
        wire.send(STREAM_HEAD)
        wire.reset()

    with ScriptedServer(always=then_gone) as server:
        result = run([server.url], tmp_path)
    found = failures(result)
    assert "refused" in found["query-unreachable"]
    assert server.url in found["query-unreachable"]


def test_a_server_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    def dies(wire: Wire, asked: dict[str, Any]) -> None:
        wire.send(STREAM_HEAD)
        wire.events(chunk([101], "a"))
        wire.server.kill()

    with ScriptedServer({6: dies}) as server:
        result = run([server.url], tmp_path)
    assert not result.verdict.valid
    # What had come of the answer may be lost with the connection; then it was sent again.
    assert (
        {"query-unreachable"} <= set(failures(result)) <= {"query-connection", "query-unreachable"}
    )


def test_the_other_server_takes_over_when_one_of_two_is_killed(tmp_path: Path) -> None:
    def dies(wire: Wire, asked: dict[str, Any]) -> None:
        wire.send(STREAM_HEAD)
        wire.events(chunk([101], "a"))
        wire.server.kill()

    with ScriptedServer({5: dies}) as mortal, ScriptedServer() as other:
        result = run([mortal.url, other.url], tmp_path)
    assert set(failures(result)) <= {"query-connection"}  # those within an answer, and no others
    assert len(other.seen) > SAMPLES / 2
    assert any("took no connection" in note for note in result.verdict.notes)


def test_requests_that_fail_before_the_first_byte_are_sent_again(tmp_path: Path) -> None:
    def drops(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reset()

    with ScriptedServer({2: drops, 8: drops}) as server:
        result = run([server.url], tmp_path)
    assert result.verdict.valid, result.verdict.causes
    assert any(note.startswith("2 requests were sent again") for note in result.verdict.notes)


def test_a_request_is_not_sent_again_for_ever(tmp_path: Path) -> None:
    def drops(wire: Wire, asked: dict[str, Any]) -> None:
        wire.reset()

    with ScriptedServer(always=drops) as server:
        result = run([server.url], tmp_path, retries=1)
    assert f"({SAMPLES} samples)" in failures(result)["query-connection"]
    assert len(server.seen) == 2 * SAMPLES


def errors(result: RunResult) -> str:
    (cause,) = result.verdict.causes
    assert cause.code == "error"
    return cause.message


def test_a_name_that_cannot_be_resolved_ends_the_run_before_the_test(tmp_path: Path) -> None:
    result = run(["http://server.invalid:30000"], tmp_path)
    assert "'server.invalid' cannot be resolved" in errors(result)


def test_a_server_that_is_not_there_ends_the_run_before_the_test(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        pass
    result = run([server.url], tmp_path, ready_timeout=0.5)
    assert "is not ready" in errors(result)
    assert "refused" in errors(result)


def test_tls_that_is_not_agreed_upon_ends_the_run_before_the_test(tmp_path: Path) -> None:
    with ScriptedServer() as plain:
        result = run([plain.url.replace("http", "https")], tmp_path, ready_timeout=0.5)
    assert "handshake" in errors(result)


def tls_server(**more: Any) -> ScriptedServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / "localhost.pem", DATA / "localhost.key")
    return ScriptedServer(tls=context, **more)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with tls_server() as server:
        result = run([server.url], tmp_path, ready_timeout=0.5)
    assert "certificate" in errors(result)


def test_a_run_over_tls_is_as_good_as_any(tmp_path: Path) -> None:
    with tls_server() as server:
        result = run([server.url], tmp_path, ca_file=str(DATA / "localhost.pem"))
    assert result.verdict.valid, result.verdict.causes


def test_tls_refused_in_the_test_is_named(tmp_path: Path) -> None:
    def spoils(wire: Wire, asked: dict[str, Any]) -> None:
        wire.server.greeting = b"HTTP/1.1 400 Bad Request\r\n\r\n"  # in plain text
        wire.send(STREAM_HEAD)
        wire.reset()

    with tls_server(always=spoils) as server:
        result = run([server.url], tmp_path, ca_file=str(DATA / "localhost.pem"))
    assert "TLS refused" in failures(result)["query-unreachable"]


# -- credentials, and servers that share ----------------------------------------------------------


def test_the_api_key_is_sent_and_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "hush-7f3a")
    with ScriptedServer({4: status(500)}) as server:
        run([server.url], tmp_path, api_key_variable="SERVER_KEY")
    assert all(b"authorization: bearer hush-7f3a" in head for head in server.headers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hush-7f3a" in path.read_bytes()]


def test_a_key_that_is_not_there_is_told_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVER_KEY", raising=False)
    with ScriptedServer() as server:
        result = run([server.url], tmp_path, api_key_variable="SERVER_KEY")
    assert "SERVER_KEY holds no API key" in errors(result)


@pytest.mark.parametrize("routing", ["round-robin", "least-requests", "least-tokens"])
def test_every_routing_policy_gives_every_server_its_share(routing: str, tmp_path: Path) -> None:
    with ScriptedServer() as one, ScriptedServer() as two, ScriptedServer() as three:
        result = run([one.url, two.url, three.url], tmp_path, routing=routing)
    assert result.verdict.valid, result.verdict.causes
    shares = [len(server.seen) for server in (one, two, three)]
    assert sum(shares) == SAMPLES
    assert min(shares) > 0


def test_no_server_gets_more_requests_at_once_than_it_may(tmp_path: Path) -> None:
    import threading

    lock, now, most = threading.Lock(), [0], [0]

    def counting(wire: Wire, asked: dict[str, Any]) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        wire.server.closing.wait(0.01)
        with lock:
            now[0] -= 1
        well(wire, asked)

    with ScriptedServer(always=functools.partial(counting)) as server:
        result = run([server.url], tmp_path, connections=3)
    assert result.verdict.valid
    assert most[0] <= 3


# -- several processes -----------------------------------------------------------------------------


def test_several_client_processes_answer_as_one_does_where_they_are_bound(tmp_path: Path) -> None:
    mine = str(max(os.sched_getaffinity(0)))
    with ScriptedServer({3: status(500), 9: miscounted}) as server:
        result = run([server.url], tmp_path, sut={"worker_cpus": [mine]}, client_workers=2)
    assert read_json(result.directory / "run.json")["binding"]["worker_cpus"] == [mine]
    found = failures(result)
    assert set(found) == {"query-status", "query-tokens"}
    assert len(server.seen) == SAMPLES


def test_the_warm_up_finds_a_server_that_is_not_what_was_declared(tmp_path: Path) -> None:
    with ScriptedServer(always=text_only) as server:
        results = api.run(
            "llama3.1-8b",
            scenarios="Offline",
            modes="performance",
            variant="tiny",
            settings={
                "loadgen": {"target_qps": 1},
                "run": {"backend": "openai"},
                "backend": {"urls": [server.url], "stream": True},
            },
            output=tmp_path,
        )
    assert "no token ids" in errors(results.runs[0])
