"""Hugging Face checkpoints: a whole one is taken; each fault is one error that names its file."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, MlpinfError, PrerequisiteError
from mlpinf_whisper.hf_checkpoint import WhisperSizes, check_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

save_file = pytest.importorskip("safetensors.numpy").save_file

SIZES: dict[str, int] = {
    "vocab_size": 63,
    "num_mel_bins": 80,
    "d_model": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 12,
    "max_source_positions": 6,
    "max_target_positions": 9,
}
GENERATION = {
    "decoder_start_token_id": 61,
    "eos_token_id": 60,
    "no_timestamps_token_id": 62,
    "suppress_tokens": [1, 2],
    "begin_suppress_tokens": [3, 60],
}
TOKENS = {"<|endoftext|>": 60, "<|startoftranscript|>": 61, "<|notimestamps|>": 62}
EMBEDDING = "model.decoder.embed_tokens.weight"


def tensors() -> dict[str, Any]:
    shapes = WhisperSizes(**SIZES).shapes()
    return {name: np.zeros(shape, dtype=np.float16) for name, shape in shapes.items()}


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def edit(path: Path, **changes: Any) -> None:
    write(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def tokenizer(**changes: Any) -> dict[str, Any]:
    """What is read of a tokenizer; a change to None leaves a token out."""
    ids = {**TOKENS, **changes}
    return {"added_tokens": [{"content": t, "id": i} for t, i in ids.items() if i is not None]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "config.json", {"model_type": "whisper", **SIZES})
    write(tmp_path / "generation_config.json", GENERATION)
    write(tmp_path / "tokenizer.json", tokenizer())
    save_file(tensors(), tmp_path / "model.safetensors")
    return tmp_path


def test_a_whole_checkpoint_is_taken_and_tells_its_sizes(folder: Path) -> None:
    assert check_checkpoint(folder) == WhisperSizes(**SIZES)


def test_a_checkpoint_in_several_files_is_taken(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    made = tensors()
    names = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(made)}
    for file in sorted(set(names.values())):
        save_file({name: made[name] for name in made if names[name] == file}, folder / file)
    write(folder / "model.safetensors.index.json", {"weight_map": names})
    check_checkpoint(folder)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(PrerequisiteError, match=r"no model-1\.safetensors"):
        check_checkpoint(folder)


def test_the_tied_projection_may_be_there(folder: Path) -> None:
    made = tensors()
    save_file(made | {"proj_out.weight": made[EMBEDDING].copy()}, folder / "model.safetensors")
    check_checkpoint(folder)


def test_checking_imports_neither_torch_nor_safetensors(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mlpinf_whisper.hf_checkpoint import check_checkpoint\n"
        "check_checkpoint(Path(sys.argv[1]))\n"
        "print(sorted({'torch', 'safetensors', 'transformers'} & sys.modules.keys()))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PrerequisiteError, match=f"has no {name}") as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / name)
    assert caught.value.remedy


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="not a folder") as caught:
        check_checkpoint(tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "content", [b"", b'{"half":', b"[]", b"\xff\xfe", b"[" * 100_000, b"1" * 5000]
)
def test_a_file_that_is_not_json_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match="JSON") as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / name)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"]
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/proc/self/mem")  # reading its beginning fails for anybody
    with pytest.raises(
        PrerequisiteError, match=rf"^{name} cannot be read \(Input/output"
    ) as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / name)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bart"}, "model_type is 'bart'"),
        ({"d_model": None}, "d_model is None"),
        ({"d_model": True}, "d_model is True"),
        ({"decoder_layers": 0}, "decoder_layers is 0"),
        ({"encoder_attention_heads": 3}, "3 heads do not divide the width 8"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(IntegrityError, match=message) as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eos_token_id": None}, "eos_token_id is None"),
        ({"no_timestamps_token_id": 63}, "no_timestamps_token_id is 63"),
        ({"suppress_tokens": [1, -1]}, "suppress_tokens is not a list of tokens"),
        ({"begin_suppress_tokens": "all"}, "begin_suppress_tokens is not a list of tokens"),
    ],
)
def test_tokens_outside_the_vocabulary_are_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / "generation_config.json", **changes)
    with pytest.raises(IntegrityError, match=message) as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "generation_config.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"<|endoftext|>": 59}, r"<\|endoftext\|> is 59, and the eos_token_id of .* is 60"),
        ({"<|startoftranscript|>": 50_258}, "is 50258, and the decoder_start_token_id of .* is 61"),
        ({"<|notimestamps|>": None}, r"it has no <\|notimestamps\|>, and the no_timestamps_token"),
        ({"<|en|>": 63}, r"<\|en\|> is 63, not a token of the vocabulary"),
        ({"<|transcribe|>": "x"}, "is x, not a token of the vocabulary"),
    ],
)
def test_the_tokenizer_of_another_model_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    write(folder / "tokenizer.json", tokenizer(**changes))
    with pytest.raises(IntegrityError, match=f"is another model's: .*{message}") as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "tokenizer.json")
    assert caught.value.remedy


@pytest.mark.parametrize("added", [7, [7], [{"content": "<|en|>"}], [{"content": [], "id": 1}]])
def test_a_tokenizer_whose_special_tokens_cannot_be_read_is_named(folder: Path, added: Any) -> None:
    write(folder / "tokenizer.json", {"added_tokens": added})
    with pytest.raises(IntegrityError, match="its added_tokens are not a list") as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "tokenizer.json")


def _without(made: dict[str, Any]) -> None:
    del made[EMBEDDING]


def _reshaped(made: dict[str, Any]) -> None:
    made[EMBEDDING] = np.zeros((62, 8), dtype=np.float16)


def _whole_numbers(made: dict[str, Any]) -> None:
    made[EMBEDDING] = np.zeros((63, 8), dtype=np.int8)


def _extra(made: dict[str, Any]) -> None:
    made["model.decoder.adapter"] = np.zeros(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, rf"tensor {EMBEDDING} is missing"),
        (_reshaped, r"is \(62, 8\), and config\.json makes it \(63, 8\)"),
        (_whole_numbers, "is I8, not floating-point"),
        (_extra, r"1 tensors are not Whisper's, such as model\.decoder\.adapter"),
    ],
)
def test_weights_that_are_not_the_configurations_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    made = tensors()
    change(made)
    save_file(made, folder / "model.safetensors")
    with pytest.raises(IntegrityError, match=message) as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "model.safetensors")


def test_truncated_weights_are_refused_wherever_they_end(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 5, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError, match=r"truncated|has \d+ bytes, and its header says"):
            check_checkpoint(folder)


def test_a_header_without_its_fields_is_refused(folder: Path) -> None:
    text = json.dumps({"w": {"dtype": "F16"}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(IntegrityError, match="its header lacks 'shape'"):
        check_checkpoint(folder)


def test_a_header_that_is_nested_too_deeply_is_refused(folder: Path) -> None:
    text = b"[" * 100_000
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(IntegrityError, match="its header cannot be read") as caught:
        check_checkpoint(folder)
    assert caught.value.where == str(folder / "model.safetensors")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_header_is_either_read_or_refused(data: st.DataObject, folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        with contextlib.suppress(MlpinfError):
            assert check_checkpoint(folder) == WhisperSizes(**SIZES)
    finally:
        save_file(tensors(), path)
