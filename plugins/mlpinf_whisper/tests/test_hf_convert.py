"""From CTranslate2's format to Hugging Face's: the same weights under other names."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.hf_checkpoint import check_checkpoint
from mlpinf_whisper.hf_convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def _load_toy() -> Any:
    path = Path(__file__).parent / "toy_whisper.py"
    spec = importlib.util.spec_from_file_location("mlpinf_whisper_toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = _load_toy()


def engine(
    folder: Path,
    change: Callable[[Any], None] = lambda _: None,
    quantization: str | None = None,
    **config: Any,
) -> Path:
    """A CTranslate2 folder of the toy model, by CTranslate2's own converter."""
    from ctranslate2.converters.transformers import WhisperLoader

    spec = WhisperLoader().get_model_spec(toy.model())
    spec.register_vocabulary([f"a{number}" for number in range(toy.WORDS + 3)])
    spec.config.suppress_ids = list(toy.SUPPRESSED)
    spec.config.suppress_ids_begin = list(toy.SUPPRESSED_FIRST)
    for name, value in config.items():
        setattr(spec.config, name, value)
    change(spec)
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    toy.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def test_the_weights_are_the_models_that_was_converted(tmp_path: Path) -> None:
    convert(engine(tmp_path / "ct2"), tmp_path / "hf")
    found, seen = transformers.WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "hf", dtype=torch.float32, output_loading_info=True
    )
    assert not any(seen[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = toy.model().state_dict()
    for name, weights in found.state_dict().items():
        torch.testing.assert_close(weights, expected[name], rtol=0, atol=0)


def test_half_precision_stays_what_it_is(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    convert(engine(tmp_path / "ct2", quantization="float16"), tmp_path / "hf")
    found = load_file(tmp_path / "hf/model.safetensors")
    assert {array.dtype for array in found.values()} == {np.dtype(np.float16)}


def test_the_checkpoint_passes_the_check_and_knows_its_tokens(tmp_path: Path) -> None:
    convert(engine(tmp_path / "ct2"), tmp_path / "hf")
    sizes = check_checkpoint(tmp_path / "hf")
    assert (sizes.encoder_layers, sizes.decoder_attention_heads, sizes.num_mel_bins) == (2, 2, 80)
    found = json.loads((tmp_path / "hf/generation_config.json").read_text(encoding="utf-8"))
    for key in ("eos_token_id", "suppress_tokens", "begin_suppress_tokens", "is_multilingual"):
        assert found[key] == toy.generation()[key]


def _biased_keys(spec: Any) -> None:
    joined = spec.encoder.layer[0].self_attention.linear[0]
    joined.bias = joined.bias.detach().numpy().copy()
    joined.bias[len(joined.bias) // 3] = 0.5


def _relu(spec: Any) -> None:
    spec.decoder.activation = np.dtype("int8").type(0)


def _untied(spec: Any) -> None:
    weight = spec.decoder.projection.weight.detach()
    spec.decoder.projection.weight = weight.numpy() + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_biased_keys, "encoder/layer_0/self_attention/linear_0 gives the keys a bias"),
        (_relu, "decoder/activation is 0 instead of 3"),
        (_untied, "its output projection is not its token embedding"),
    ],
)
def test_a_model_that_hugging_face_would_compute_otherwise_is_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    source = engine(tmp_path / "ct2", change)
    with pytest.raises(IntegrityError, match=message) as caught:
        convert(source, tmp_path / "hf")
    assert caught.value.where == str(source / "model.bin")
    assert not (tmp_path / "hf").exists()


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="would be int8: the model is quantised"):
        convert(engine(tmp_path / "ct2", quantization="int8"), tmp_path / "hf")


def test_a_tokenizer_without_whispers_tokens_is_refused(tmp_path: Path) -> None:
    source = engine(tmp_path / "ct2")
    (source / "tokenizer.json").write_text('{"added_tokens": []}', encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"no <\|endoftext\|>") as caught:
        convert(source, tmp_path / "hf")
    assert caught.value.where == str(source / "tokenizer.json")


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    source = engine(tmp_path / "ct2")
    (source / name).unlink()
    with pytest.raises(PrerequisiteError) as caught:
        convert(source, tmp_path / "hf")
    assert caught.value.where == str(source / name)


@pytest.mark.model
def test_the_tiny_model_is_converted_with_nothing_left_over(engine: Path, tmp_path: Path) -> None:
    convert(engine, tmp_path / "hf")
    sizes = check_checkpoint(tmp_path / "hf")
    assert (sizes.d_model, sizes.encoder_layers, sizes.vocab_size) == (384, 4, 51_864)
