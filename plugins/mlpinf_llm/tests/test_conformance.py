"""The language plugin keeps the rules that every plugin keeps."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from mlpinf_core.servers import ServerSpec
from mlpinf_core.serving.servers import Servers
from mlpinf_core.testing import PluginConformance
from mlpinf_llm import tiny
from mlpinf_llm.tokenizer import ChatTokenizer

from .triton_server import TritonServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODEL = os.environ.get("MLPINF_TINY_GGUF")
_BENCHMARK: dict[str, Any] = {"benchmark": {"model_path": _MODEL}} if _MODEL else {}


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("gguf")
class TestConformance(PluginConformance):
    plugin = "llm"
    benchmark = "llama3.1-8b"
    settings = _BENCHMARK


@pytest.fixture(scope="class")
def embedded(engines: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The small server, at the address that the class's settings name."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = (sys.executable, "-P", "-m", "mlpinf_llm.server", str(engines["int8"]),
               "--port", str(port))  # fmt: skip
    spec = ServerSpec("embedded", command, f"http://127.0.0.1:{port}")
    directory = tmp_path_factory.mktemp("servers")
    with Servers([spec], directory, ready_timeout=120, progress=lambda *_: None) as running:
        TestServers.settings["backend"]["urls"] = running.urls
        yield


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("embedded")
class TestServers(PluginConformance):
    """The same over HTTP, from the small server."""

    plugin = "llm"
    benchmark = "llama3.1-8b"
    backend = "openai"
    scenarios = ("Offline", "Server", "SingleStream")
    repeatable = False  # which requests share a batch is up to chance, and int8 sums differ by it
    settings: ClassVar[dict[str, Any]] = {**_BENCHMARK, "backend": {"urls": ["filled in below"]}}


@pytest.fixture(scope="class")
def triton(engines: dict[str, Path]) -> Iterator[None]:
    """The server that the class's settings name."""
    known = answers(engines["int8"])
    with TritonServer(lambda prompt, *_: (known[tuple(prompt)], "stop")) as server:
        TestTriton.settings["backend"]["urls"] = [server.address]
        yield


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.usefixtures("triton")
class TestTriton(PluginConformance):
    """The same over gRPC, from a server that knows the tiny model's answers by heart."""

    plugin = "llm"
    benchmark = "llama3.1-8b"
    backend = "triton"
    scenarios = ("Offline", "Server")
    settings: ClassVar[dict[str, Any]] = {**_BENCHMARK, "backend": {"urls": ["filled in below"]}}


def answers(engine: Path) -> dict[tuple[int, ...], list[int]]:
    """What the tiny model answers to each of its prompts, greedily."""
    import ctranslate2

    benchmark = tiny.BENCHMARKS["llama3.1-8b"]
    tokenizer = ChatTokenizer.load(engine)
    prompts = [tuple(np.asarray(ids).tolist()) for ids in _prompts()]
    results = ctranslate2.Generator(str(engine), intra_threads=1).generate_batch(
        [tokenizer.tokens(list(prompt)) for prompt in prompts],
        min_length=2,
        max_length=benchmark.cap,
        sampling_topk=1,
        include_prompt_in_result=False,
    )
    return {
        prompt: result.sequences_ids[0] for prompt, result in zip(prompts, results, strict=True)
    }


def _prompts() -> list[list[int]]:
    import json

    rows = json.loads(tiny.data_path("llama3.1-8b.json").read_text(encoding="utf-8"))
    return [row["tok_input"] for row in rows]
