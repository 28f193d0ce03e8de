"""From the benchmark's checkpoint to what TensorRT-LLM loads: quantised once, built once.

Each step is an artifact of its own, made in a process of its own, so that what was made is found
again, a step that died is all that has to be done again, and its memory is given back.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_core.benchmark import is_installed
from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.hashing import digest
from mlpinf_core.scratch import readable
from mlpinf_llm import calibration, checkpoints
from mlpinf_llm.trtllm import steps

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_core.hashing import JSON
    from mlpinf_llm.ragged import Ragged
    from mlpinf_llm.trtllm.settings import TrtllmSettings

_ENGINE_FILE: Final = "rank0.engine"
"""What tells an engine's folder from a checkpoint's."""
_QUANTISED_SIZE: Final = {"fp8": 0.6, "nvfp4": 0.4}
"""Bytes of the result by those of a 16-bit checkpoint, rounded up; some layers stay as they are."""
_STEPS: Final = 1
"""Rises when a step makes something else of the same inputs."""


def model(run: Run, settings: TrtllmSettings, *, longest: int) -> Path:
    """The folder that TensorRT-LLM loads: a checkpoint, quantised if so configured, or an engine.

    Args:
        run: of a benchmark.
        settings: of the backend.
        longest: tokens of the longest prompt and answer.

    Raises:
        ConfigurationError: what is to be quantised is quantised already.
        PrerequisiteError: the checkpoint, the calibration set, a package or the room is missing.
        BackendError: a step failed.
    """
    folder = checkpoints.folder(run, settings.checkpoint)
    if settings.quantization != "none":
        folder = _quantised(run, settings, folder)
    if settings.runtime == "tensorrt" and not (folder / _ENGINE_FILE).exists():
        folder = _engine(run, settings, folder, longest=longest)
    return folder


def _quantised(run: Run, settings: TrtllmSettings, folder: Path) -> Path:
    """The checkpoint as ModelOpt quantises it, in Hugging Face's format."""
    _refuse_quantised(folder)
    prompts = calibration.prompts(run)
    count = settings.calibration_samples or len(prompts)
    inputs: dict[str, JSON] = {
        "checkpoint": digest(checkpoints.identity(run, folder)),
        "quantization": settings.quantization,
        "kv_cache": settings.kv_cache_dtype,
        "calibration": [_digest(prompts), min(count, len(prompts))],
        "trust_remote_code": settings.trust_remote_code,
        "modelopt": _version("nvidia-modelopt"),
        "transformers": _version("transformers"),
        "step": _STEPS,
    }
    need = int(checkpoints.size(folder) * _QUANTISED_SIZE[settings.quantization])
    name = f"{folder.name}-{settings.quantization}"

    def make(directory: Path) -> None:
        _require("modelopt", "transformers", "torch", extra="modelopt")
        _require_room(run, name, need)
        job: dict[str, Any] = {
            "checkpoint": str(folder),
            "prompts": str(_written(run, prompts, count)),
            "format": settings.quantization,
            "kv_cache": settings.kv_cache_dtype,
            "device": settings.calibration_device,
            "trust_remote_code": settings.trust_remote_code,
        }
        steps.run_module(run, f"quantising {folder.name}", "quantize", job, directory)

    return run.store.build("models", name, inputs, make, announce=run.events.step).path


def _engine(run: Run, settings: TrtllmSettings, folder: Path, *, longest: int) -> Path:
    """The engine that TensorRT-LLM builds of a checkpoint, for the devices of this machine."""
    shape: dict[str, Any] = {
        "max_batch_size": settings.max_batch_size,
        "max_num_tokens": settings.max_num_tokens,
        "max_seq_len": settings.max_seq_len or longest,
    }
    parallel: dict[str, Any] = {
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "moe_expert_parallel_size": settings.expert_parallel,
        "trust_remote_code": settings.trust_remote_code,
    }
    inputs: dict[str, JSON] = {
        "checkpoint": digest(checkpoints.identity(run, folder)),
        **shape,
        **parallel,
        "device": _device(),
        "tensorrt_llm": _version("tensorrt-llm"),
        "step": _STEPS,
    }
    name = f"{folder.name}-tensorrt"

    def make(directory: Path) -> None:
        _require_room(run, name, int(1.1 * checkpoints.size(folder)))
        job: dict[str, Any] = {"checkpoint": str(folder), "build": shape, "llm": parallel}
        steps.run_module(run, f"building {folder.name}", "build_engine", job, directory)

    return run.store.build("engines", name, inputs, make, announce=run.events.step).path


def _refuse_quantised(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "quantization_config" in config or (folder / "hf_quant_config.json").exists():
        raise ConfigurationError(
            "the checkpoint is quantised already",
            where=str(folder),
            remedy="set backend.quantization = none, which takes it as it is",
        )


def _require(*modules: str, extra: str) -> None:
    if missing := [module for module in modules if not is_installed(module)]:
        raise PrerequisiteError(
            f"quantising needs what is not installed: {', '.join(missing)}",
            remedy=f"pip install 'mlpinf-llm[{extra}]', or give a checkpoint that is quantised "
            "already (backend.checkpoint)",
        )


def _require_room(run: Run, name: str, need: int) -> None:
    free = run.scratch.free_bytes()
    if free < need:
        raise PrerequisiteError(
            f"there is no room for {name}: about {readable(need)} are needed, {readable(free)} "
            "are free",
            where=str(run.scratch.root),
            remedy="free some space, or set MLPERF_SCRATCH_PATH to a folder on a larger disk",
        )


def _written(run: Run, prompts: Ragged, count: int) -> Path:
    """The first prompts as a file for the step's process."""
    path = run.directory / "calibration.npz"
    offsets = np.asarray(prompts.offsets[: count + 1])
    np.savez(path, ids=np.asarray(prompts.values[: offsets[-1]]), offsets=offsets)
    return path


def _digest(prompts: Ragged) -> str:
    found = hashlib.sha256(np.asarray(prompts.offsets).tobytes())
    found.update(np.asarray(prompts.values).tobytes())
    return found.hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _device() -> str:
    """What kind of device engines are built for; they run on no other."""
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    asked = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    done = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=60)
    return ", ".join(sorted(set(done.stdout.splitlines()))) or "unknown"
