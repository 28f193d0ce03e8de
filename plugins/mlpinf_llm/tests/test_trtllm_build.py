"""What TensorRT-LLM loads is made once, step by step, and a step that fails leaves the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from mlpinf_core.errors import BackendError, ConfigurationError, PrerequisiteError
from mlpinf_core.scratch import Scratch
from mlpinf_llm import checkpoints
from mlpinf_llm.trtllm import build, steps
from mlpinf_llm.trtllm.settings import TrtllmSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpinf_core.context import Run

DOUBLES = Path(__file__).parent / "doubles"
LONGEST = 128
PROMPTS = 500


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 0.1 M parameters with random weights, as a checkpoint in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=LONGEST,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "llama-toy"
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def new(new_run: Callable[..., Run], llama: Path, tmp_path: Path) -> Callable[..., Run]:
    """A run of a benchmark whose calibration set anybody can make, with these backend settings."""
    rows = [{"tok_input": [n % 200 + 1] * 4, "tok_input_len": 4} for n in range(PROMPTS)]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(rows))

    def make(**settings: Any) -> Run:
        run = new_run("deepseek-r1", calibration_path=path)
        given = {"checkpoint": llama, "calibration_device": "cpu"} | settings
        run.config = attrs.evolve(run.config, backend=TrtllmSettings(**given))
        return run

    return make


def made(run: Run) -> Path:
    return build.model(run, run.config.backend, longest=LONGEST)


def test_a_checkpoint_that_needs_nothing_is_taken_as_it_is(
    new: Callable[..., Run], llama: Path
) -> None:
    assert made(new()) == llama


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "algorithm", "cache"),
    [
        ({"quantization": "fp8", "kv_cache_dtype": "fp8"}, "FP8", "FP8"),
        ({"quantization": "nvfp4"}, "NVFP4", None),
    ],
)
def test_modelopt_quantises_once_and_the_result_is_found_again(
    new: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    algorithm: str,
    cache: str | None,
) -> None:
    run = new(**given, calibration_samples=8)
    folder = made(run)
    said = json.loads((folder / "hf_quant_config.json").read_text())["quantization"]
    assert said["quant_algo"] == algorithm
    assert said["kv_cache_quant_algo"] == cache
    assert list(folder.glob("*.safetensors"))
    assert (folder / "tokenizer.json").exists()

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["inputs"]["quantization"] == given["quantization"]
    assert manifest["inputs"]["calibration"][1] == 8

    monkeypatch.setattr(steps, "run_module", refuse)
    assert made(run) == folder
    with pytest.raises(AssertionError):  # other settings make another one
        made(new(**given, calibration_samples=9))


def refuse(*_: object) -> None:
    raise AssertionError("nothing is to be made")


def test_what_is_quantised_already_is_refused(
    new: Callable[..., Run], llama: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(llama, folder)
    (folder / "hf_quant_config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="quantised already") as caught:
        made(new(checkpoint=folder, quantization="fp8"))
    assert "backend.quantization = none" in str(caught.value.remedy)


def test_a_full_disk_is_told_of_before_anything_is_computed(
    new: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scratch, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(steps, "run_module", refuse)
    with pytest.raises(PrerequisiteError, match="there is no room for llama-toy-fp8"):
        made(new(quantization="fp8"))


def test_a_missing_quantiser_is_told_of_with_the_command_that_brings_it(
    new: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "is_installed", lambda module: module != "modelopt")
    with pytest.raises(PrerequisiteError, match="modelopt") as caught:
        made(new(quantization="fp8"))
    assert "pip install 'mlpinf-llm[modelopt]'" in str(caught.value.remedy)


@pytest.mark.slow
def test_an_engine_is_built_of_the_checkpoint_for_these_sizes(
    new: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))
    run = new(runtime="tensorrt", max_batch_size=7)
    folder = made(run)
    assert (folder / "rank0.engine").exists()
    inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
    assert (inputs["max_batch_size"], inputs["max_seq_len"]) == (7, LONGEST)
    assert made(new(runtime="tensorrt", max_batch_size=7)) == folder
    assert made(new(runtime="tensorrt", max_batch_size=8)) != folder


@pytest.mark.slow
def test_a_step_that_fails_leaves_nothing_and_says_its_last_words(
    new: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(DOUBLES))
    monkeypatch.setenv("MLPINF_TEST_FAULT", "construct")
    run = new(runtime="tensorrt")
    with pytest.raises(BackendError, match="CUDA out of memory") as caught:
        made(run)
    assert str(caught.value.where).endswith("build_engine.log")
    assert not [path for path in run.scratch.engines.iterdir() if not path.name.startswith(".")]
    monkeypatch.delenv("MLPINF_TEST_FAULT")
    assert (made(run) / "rank0.engine").exists()


def test_checkpoints_are_told_apart_by_every_file(
    new: Callable[..., Run], llama: Path, tmp_path: Path
) -> None:
    run = new()
    other = tmp_path / "other"
    shutil.copytree(llama, other)
    assert checkpoints.identity(run, other) == checkpoints.identity(run, llama)
    (other / "tokenizer.json").write_text("{ }")
    assert checkpoints.identity(run, other) != checkpoints.identity(run, llama)
