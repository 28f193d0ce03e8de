"""No setting of an engine is ignored, and every engine is asked for what the rules fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from mlpinf_llm import tiny
from mlpinf_llm.engine_backend import Asked
from mlpinf_llm.official import OFFICIAL
from mlpinf_llm.triton.messages import Requests, is_last, tokens
from mlpinf_llm.triton.settings import TritonSettings
from mlpinf_llm.trtllm import arguments
from mlpinf_llm.trtllm.settings import TrtllmSettings
from mlpinf_llm.vllm import backend as vllm
from mlpinf_llm.vllm.settings import VllmSettings

from .triton_server import read, respond

FOLDER = Path("/checkpoint")
SIGNATURES = json.loads(
    (Path(__file__).parent / "data" / "vllm-signatures.json").read_text(encoding="utf-8")
)
OTHERS: dict[str, Any] = {
    "dtype": "half", "quantization": "fp8", "kv_cache_dtype": "fp8", "block_size": 64,
    "max_model_len": 77, "scheduling_policy": "priority", "async_scheduling": True,
    "gpu_memory_utilization": 0.5, "kv_cache_fraction": 0.5, "expert_parallel": 3,
    "kv_cache_tokens": 1000, "max_seq_len": 77, "scheduler_policy": "MAX_UTILIZATION",
    "chunking_policy": "EQUAL_PROGRESS", "cuda_graph_batch_sizes": (8, 1), "moe_backend": "CUTLASS",
}  # fmt: skip
"""Values unlike the defaults, where another number or the opposite is none."""


def another(field: Any) -> Any:
    """A value of a setting that is not its default."""
    if isinstance(field.default, bool):
        return not field.default
    if field.name in OTHERS:
        return OTHERS[field.name]
    return field.default + 3


def ask(name: str, *, stream: bool = True) -> Asked:
    rules = OFFICIAL[name].generation
    return Asked(rules, cap=rules.max_tokens, least=1, stream=stream)


def vllm_engine(**changed: Any) -> dict[str, Any]:
    return vllm.engine_arguments(VllmSettings(**changed), FOLDER, longest=2048, cap=128)


@pytest.mark.parametrize(
    "field",
    [f for f in attrs.fields(VllmSettings) if f.name not in ("checkpoint", "concurrency")],
    ids=lambda f: f.name,
)
def test_every_setting_of_vllm_gets_to_it(field: Any) -> None:
    if field.name == "expert_parallel":
        assert vllm_engine(expert_parallel=True)["enable_expert_parallel"] is True
    else:
        assert vllm_engine(**{field.name: another(field)}) != vllm_engine()


@pytest.mark.parametrize("version", SIGNATURES)
def test_vllm_takes_every_argument_by_that_name(version: str) -> None:
    known = SIGNATURES[version]
    assert vllm_engine().keys() <= known["AsyncEngineArgs"].keys()
    asked = vllm.sampling_arguments(ask("llama2-70b")).keys() | {"output_kind"}
    assert asked <= known["SamplingParams"].keys()
    assert known["generate"]["positional"] == ["prompt", "sampling_params", "request_id"]


ELSEWHERE = {
    "checkpoint", "runtime", "quantization", "calibration_samples", "calibration_device",
    "concurrency", "cuda_graphs", "scheduler_policy", "chunking_policy", "moe_backend",
}  # fmt: skip
"""Settings that are not plain arguments: other tests see them at work."""


def trtllm_engine(**changed: Any) -> list[dict[str, Any]]:
    settings = TrtllmSettings(**changed)
    return [
        arguments.common(settings, FOLDER, longest=2048),
        arguments.pytorch_only(settings, cap=128),
        arguments.kv_cache(settings),
        arguments.cuda_graphs(settings),
    ]


@pytest.mark.parametrize(
    "field",
    [f for f in attrs.fields(TrtllmSettings) if f.name not in ELSEWHERE],
    ids=lambda f: f.name,
)
def test_every_setting_of_tensorrt_llm_gets_to_it(field: Any) -> None:
    changed = "fp8" if field.name == "kv_cache_dtype" else another(field)
    assert trtllm_engine(**{field.name: changed}) != trtllm_engine()


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_engine_is_asked_for_the_rules_sampling(name: str) -> None:
    rules = OFFICIAL[name].generation
    of_vllm = vllm.sampling_arguments(ask(name))
    of_trtllm = arguments.sampling(ask(name))
    of_triton = read(Requests(TritonSettings(), ask(name)).make("7", tiny_prompt()))
    assert of_vllm["stop_token_ids"] == list(rules.eos_ids)
    assert (of_vllm["temperature"], of_vllm["top_k"]) == (rules.temperature, 1)
    assert of_trtllm["end_id"] == of_triton["end_id"][0, 0] == rules.eos_ids[0]
    assert of_trtllm["top_k"] == of_triton["runtime_top_k"][0, 0] == 1
    assert of_trtllm["temperature"] == (rules.temperature or None)
    for asked in (of_vllm, of_trtllm):
        assert asked["ignore_eos"] is False
        assert asked["detokenize"] is False
        assert (asked["max_tokens"], asked["min_tokens"]) == (rules.max_tokens, 1)
        assert asked["top_p"] == rules.top_p
    assert of_triton["request_output_len"][0, 0] == rules.max_tokens
    assert of_triton["runtime_top_p"][0, 0] == pytest.approx(rules.top_p)


def tiny_prompt() -> Any:
    import numpy as np

    return np.array([5, 6, 7], np.int32)


def test_a_stream_is_two_messages_unless_asked_otherwise() -> None:
    assert vllm_engine()["stream_interval"] == 128
    assert vllm_engine(stream_interval=1)["stream_interval"] == 1
    assert arguments.pytorch_only(TrtllmSettings(), cap=128)["stream_interval"] == 128


def test_several_ends_are_sent_to_triton_as_stop_words() -> None:
    rules = attrs.evolve(tiny.GENERATION["llama3.1-8b"], eos_ids=(2, 3, 4))
    several = Asked(rules, cap=8, least=1, stream=False)
    found = read(Requests(TritonSettings(), several).make("a", tiny_prompt()))
    assert found["end_id"].tolist() == [[2]]
    assert found["stop_words_list"].tolist() == [[[3, 4], [1, 2]]]
    assert found["input_ids"].tolist() == [[5, 6, 7]]
    assert found["streaming"].tolist() == [[False]]


def test_padding_of_tritons_answers_is_no_token() -> None:
    request = Requests(TritonSettings(), ask("llama2-70b")).make("a", tiny_prompt())
    some = respond(request, [8, 9], last=False).infer_response
    end = respond(request, None, last=True).infer_response
    assert (tokens(some), is_last(some)) == ([8, 9], False)
    assert (tokens(end), is_last(end)) == ([], True)
