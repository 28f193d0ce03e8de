"""Converting a GGUF file to an engine."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import ctranslate2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_llm.gguf_engine import GgufError, convert
from mlpinf_llm.gguf_file import GgufFile
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from types import ModuleType


def _load_toy() -> ModuleType:
    path = Path(__file__).parent / "toy_model.py"
    spec = importlib.util.spec_from_file_location("mlpinf_llm_toy_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = _load_toy()


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = toy.write(tmp_path_factory.mktemp("toy") / "toy.gguf", toy.weights())
    return path


def test_the_engine_computes_what_the_definition_of_the_model_says(
    toy_file: Path, tmp_path: Path
) -> None:
    convert(toy_file, tmp_path / "engine", "float32")
    generator = ctranslate2.Generator(str(tmp_path / "engine"), compute_type="float32")
    ids = [5, 40, 41, 7, 99, 12, 3, 60]
    found = np.array(generator.forward_batch([ids]))[0]
    np.testing.assert_allclose(found, toy.logits(toy.weights(), ids), atol=2e-3)


def test_an_engine_has_its_tokenizer_beside_it(toy_file: Path, tmp_path: Path) -> None:
    convert(toy_file, tmp_path / "engine", "int8")
    assert ChatTokenizer.load(tmp_path / "engine").encode("<|im_start|>ab!") == [1, 99, 3]


def test_a_vocabulary_head_of_its_own_is_not_taken_from_the_embedding(tmp_path: Path) -> None:
    weights = toy.weights()
    head = np.random.default_rng(1).normal(0, 0.3, weights["token_embd.weight"].shape)
    file = toy.write(tmp_path / "m.gguf", weights | {"output.weight": head.astype(np.float32)})
    convert(file, tmp_path / "engine", "float32")
    generator = ctranslate2.Generator(str(tmp_path / "engine"), compute_type="float32")
    found = np.array(generator.forward_batch([[5, 6]]))[0]
    tied = toy.logits(weights, [5, 6])
    hidden = np.linalg.lstsq(weights["token_embd.weight"].astype(np.float64), tied.T, rcond=None)[0]
    np.testing.assert_allclose(found, hidden.T @ head.T, atol=2e-3)


def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 a zip file", b"\0" * 100):
        (tmp_path / "m.gguf").write_bytes(content)
        with pytest.raises(GgufError, match="not a GGUF file"):
            convert(tmp_path / "m.gguf", tmp_path / "engine")


def test_a_truncated_file_is_refused_wherever_it_ends(toy_file: Path, tmp_path: Path) -> None:
    whole = toy_file.read_bytes()
    for size in (5, 30, 200, 2000, len(whole) // 2, len(whole) - 200):
        (tmp_path / "m.gguf").write_bytes(whole[:size])
        with pytest.raises(GgufError, match="truncated"):
            convert(tmp_path / "m.gguf", tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    file = toy.write(tmp_path / "m.gguf", toy.weights(), architecture="gemma")
    with pytest.raises(GgufError, match="architecture 'gemma'"):
        convert(file, tmp_path / "engine")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    weights = toy.weights()
    del weights["blk.1.ffn_up.weight"]
    with pytest.raises(GgufError, match=r"no tensor blk\.1\.ffn_up\.weight"):
        convert(toy.write(tmp_path / "m.gguf", weights), tmp_path / "engine")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    weights = toy.weights()
    weights["blk.0.ffn_down.weight"] = weights["blk.0.ffn_down.weight"][:, :32].copy()
    with pytest.raises(GgufError, match=r"ffn_down\.weight has shape \(32, 32\).*\(32, 64\)"):
        convert(toy.write(tmp_path / "m.gguf", weights), tmp_path / "engine")


def test_a_tensor_that_would_be_left_out_is_refused(tmp_path: Path) -> None:
    weights = toy.weights() | {"blk.0.attn_q.bias": np.zeros(toy.WIDTH, np.float32)}
    with pytest.raises(GgufError, match=r"blk\.0\.attn_q\.bias"):
        convert(toy.write(tmp_path / "m.gguf", weights), tmp_path / "engine")


def test_a_scaled_rotary_embedding_is_refused(tmp_path: Path) -> None:
    file = toy.write(tmp_path / "m.gguf", toy.weights(), rope_scaling="linear")
    with pytest.raises(GgufError, match="rotary"):
        convert(file, tmp_path / "engine")


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path) -> None:
    file = toy.write(tmp_path / "m.gguf", toy.weights(), head_count=5)
    with pytest.raises(GgufError, match="do not divide"):
        convert(file, tmp_path / "engine")


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: Path) -> None:
    file = toy.write(tmp_path / "m.gguf", toy.weights(), pre="qwen2")
    with pytest.raises(GgufError, match="'qwen2'"):
        convert(file, tmp_path / "engine")


def test_an_unknown_quantization_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int7"):
        convert(tmp_path / "missing.gguf", tmp_path / "engine", "int7")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_header_is_either_read_or_refused_as_damaged(
    data: st.DataObject, toy_file: Path, tmp_path: Path
) -> None:
    content = bytearray(toy_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.gguf").write_bytes(content)
    found = None
    with contextlib.suppress(GgufError):
        found = GgufFile.open(tmp_path / "m.gguf")
    size = len(content)
    tensors = found.tensors.values() if found else ()
    assert all(0 < info.start <= size - found.stored_bytes(info) for info in tensors if found)


@pytest.mark.model
@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_the_tiny_model_knows_the_capital_of_france(engines: dict[str, Path], kind: str) -> None:
    tokens = ChatTokenizer.load(engines[kind])
    prompt = tokens.tokens(tokens.encode_chat("What is the capital of France?"))
    generator = ctranslate2.Generator(str(engines[kind]), compute_type=kind)
    (result,) = generator.generate_batch(
        [prompt], max_length=16, include_prompt_in_result=False, sampling_topk=1
    )
    assert result.sequences_ids == [[504, 3575, 282, 4649, 314, 7042, 30]]
    assert tokens.decode(result.sequences_ids[0]) == "The capital of France is Paris."
