"""The small server speaks the completions API, and the backend `openai` runs benchmarks on it."""

from __future__ import annotations

import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mlpinf_core import api
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.servers import ServeOptions
from mlpinf_llm import serving, tiny
from mlpinf_llm.server.protocol import BadRequestError, read_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpinf_core.results import RunResult

PROMPT = "<|im_start|>user\nSay hi in French.<|im_end|>\n<|im_start|>assistant\n"


def understood(**given: Any) -> Any:
    body = json.dumps({"prompt": [1, 2], **given}).encode()
    return read_request(body, model="m", encode=lambda text: [ord(c) for c in text], end=2)


def test_a_prompt_is_text_or_ids() -> None:
    assert understood().prompt == [1, 2]
    assert understood(prompt="ab").prompt == [97, 98]
    assert understood(prompt=[[3, 4]]).prompt == [3, 4]


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": None}, {"prompt": []}, {"prompt": [1, "a"]}, {"prompt": [True]},
        {"model": "other"}, {"max_tokens": -1}, {"max_tokens": 10**6}, {"min_tokens": "two"},
        {"temperature": 0.7}, {"ignore_eos": True}, {"n": 2},
        {"stop": "."}, {"stop_token_ids": [2, 5]}, {"echo": True}, {"logprobs": 3},
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused_and_not_ignored(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        understood(**given)


def test_a_body_that_is_not_json_is_refused() -> None:
    with pytest.raises(BadRequestError, match="not JSON"):
        read_request(b"{", model="m", encode=list, end=2)


# -- what is started -------------------------------------------------------------------------------


def test_gpu_servers_share_the_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    options = ServeOptions(server="vllm", tensor_parallel=2, checkpoint="/models/m")
    found = serving.specs(None, options)  # type: ignore[arg-type]
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in found] == ["0,1", "2,3"]
    assert [spec.url for spec in found] == ["http://127.0.0.1:30000", "http://127.0.0.1:30001"]
    assert found[1].command[:3] == ("vllm", "serve", "/models/m")


@pytest.mark.parametrize(
    ("server", "dialect"), [("trtllm-serve", "trtllm"), ("vllm", "vllm"), ("sglang", "sglang")]
)
def test_a_server_says_how_it_is_spoken_to(
    server: str, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (spec,) = serving.specs(None, ServeOptions(server=server, checkpoint="/m"))  # type: ignore[arg-type]
    assert spec.settings == {"server": dialect}


@pytest.mark.parametrize("server", ["trtllm-serve", "vllm", "sglang"])
def test_more_servers_than_the_devices_allow_are_refused(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    options = ServeOptions(server=server, tensor_parallel=2, checkpoint="/models/m")
    with pytest.raises(ConfigurationError, match="more than the 1"):
        serving.specs(None, options)  # type: ignore[arg-type]


def test_a_server_that_nobody_knows_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="sglang"):
        serving.specs(None, ServeOptions(server="sglan"))  # type: ignore[arg-type]


# -- with the model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(engines: dict[str, Path]) -> Iterator[str]:
    from mlpinf_llm.server.engine import Engine
    from mlpinf_llm.server.web import CompletionServer

    engine = Engine(engines["int8"], replicas=2, threads=1, max_batch_size=16, max_wait_ms=5)
    server = CompletionServer(("127.0.0.1", 0), engine, "tiny")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def ask(url: str, **body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("POST", "/v1/completions", json.dumps({"prompt": PROMPT} | body))
    response = connection.getresponse()
    status, data = response.status, response.read()
    connection.close()
    return status, data


@pytest.mark.model
def test_a_stream_says_the_same_as_a_whole_answer(url: str) -> None:
    options = {"max_tokens": 8, "return_token_ids": True}
    status, data = ask(url, **options)
    assert status == 200
    whole = json.loads(data)
    _, data = ask(url, stream=True, stream_options={"include_usage": True}, **options)
    *events, done, end = data.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    said = [json.loads(event.removeprefix("data: ")) for event in events]
    assert said[-1]["usage"] == whole["usage"]
    choices = [choice for each in said for choice in each["choices"]]
    (choice,) = whole["choices"]
    assert [i for each in choices for i in each["token_ids"]] == choice["token_ids"]
    assert "".join(each["text"] for each in choices) == choice["text"]
    assert choices[-1]["finish_reason"] == choice["finish_reason"]
    assert whole["usage"]["completion_tokens"] == len(choice["token_ids"]) > 0


@pytest.mark.model
def test_an_id_outside_the_vocabulary_is_refused(url: str) -> None:
    status, data = ask(url, prompt=[10**6])
    assert status == 400
    assert "outside the vocabulary" in json.loads(data)["error"]["message"]


def run(url: str, gguf: Path, output: Path, name: str, scenario: str, **backend: Any) -> RunResult:
    results = api.run(
        name,
        scenarios=scenario,
        modes="accuracy",
        variant="tiny",
        settings={
            "run": {"backend": "openai"},
            "loadgen": {"target_qps": 4},
            "benchmark": {"model_path": str(gguf)},
            "backend": {"urls": [url], **backend},
        },
        output=output,
    )
    return results.runs[0]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("name", sorted(tiny.BENCHMARKS))
@pytest.mark.parametrize("scenario", ["Offline", "Server"])
def test_every_benchmark_is_as_accurate_through_the_server_as_in_process(
    name: str, scenario: str, url: str, gguf: Path, tmp_path: Path
) -> None:
    result = run(url, gguf, tmp_path, name, scenario)
    assert result.ok, result.verdict
    assert result.accuracy is not None
    assert result.accuracy.passed


@pytest.mark.slow
@pytest.mark.model
def test_text_is_a_declared_fallback_that_says_what_it_is_worth(
    url: str, gguf: Path, tmp_path: Path
) -> None:
    result = run(url, gguf, tmp_path, "llama3.1-8b", "Offline", token_source="text",
                 prompt_format="text")  # fmt: skip
    assert result.ok, result.verdict
    assert any("encoding the servers' text again" in note for note in result.verdict.notes)


@pytest.mark.slow
@pytest.mark.model
def test_run_serve_starts_servers_runs_on_them_and_stops_them(gguf: Path, tmp_path: Path) -> None:
    import socket

    from click.testing import CliRunner

    from mlpinf_core.cli import cli

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    said = CliRunner().invoke(
        cli,
        ["run", "llama3.1-8b", "--variant", "tiny", "--scenarios", "Offline", "--mode", "accuracy",
         "--serve", "--port", str(port), "--output", str(tmp_path), "--json", "--set",
         f"benchmark.model_path={gguf}"],
        standalone_mode=False,
    )  # fmt: skip
    assert said.exception is None, said.output
    (result,) = json.loads(said.stdout)["runs"]
    assert result["verdict"]["valid"]
    (log,) = tmp_path.rglob("ctranslate2-*.log")
    assert f"serving llama3.1-8b at http://127.0.0.1:{port}" in log.read_text()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
