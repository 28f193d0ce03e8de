"""Quantises a checkpoint with NVIDIA's ModelOpt: ``python -m mlpinf_llm.trtllm.quantize JOB OUT``.

The result is a checkpoint in Hugging Face's format, which TensorRT-LLM, vLLM and SGLang load.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlpinf_llm.trtllm.steps import report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FORMATS: Final = {"fp8": "FP8_DEFAULT_CFG", "nvfp4": "NVFP4_DEFAULT_CFG"}
"""ModelOpt's names."""
_KV_FORMATS: Final = {"fp8": "FP8_KV_CFG", "nvfp4": "NVFP4_KV_CFG"}


def main(arguments: list[str]) -> None:
    """Read the job, and write the quantised checkpoint."""
    paper, directory = map(Path, arguments)
    job = json.loads(paper.read_text(encoding="utf-8"))
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        job["checkpoint"],
        dtype="auto",
        device_map=None if job["device"] == "cpu" else job["device"],
        trust_remote_code=job["trust_remote_code"],
    )
    model.eval()
    with torch.inference_mode():
        mtq.quantize(model, _config(mtq, job), forward_loop=_calibration(Path(job["prompts"])))
        export_hf_checkpoint(model, export_dir=directory)
    copy_rest(Path(job["checkpoint"]), directory)


def _config(mtq: Any, job: Mapping[str, Any]) -> Any:
    """ModelOpt's configuration, with the KV cache's where that is quantised too."""
    config = copy.deepcopy(getattr(mtq, _FORMATS[job["format"]]))
    if (kind := job["kv_cache"]) in _KV_FORMATS:
        from modelopt.torch.quantization.utils import update_quant_cfg_with_kv_cache_quant

        kv = copy.deepcopy(getattr(mtq, _KV_FORMATS[kind])["quant_cfg"])
        config = update_quant_cfg_with_kv_cache_quant(config, kv)
    return config


def _calibration(path: Path) -> Callable[[Any], None]:
    """Runs every calibration prompt through the model once."""
    import torch

    file = np.load(path)
    ids, offsets = file["ids"], file["offsets"].tolist()

    def loop(model: Any) -> None:
        device = next(model.parameters()).device
        for number in range(len(offsets) - 1):
            prompt = ids[offsets[number] : offsets[number + 1]].astype(np.int64)
            model(input_ids=torch.from_numpy(prompt)[None].to(device), use_cache=False)
            report(number + 1, len(offsets) - 1)

    return loop


def copy_rest(source: Path, target: Path) -> None:
    """Copy the tokenizer, and whatever else of the checkpoint the export leaves out."""
    for file in sorted(source.iterdir()):
        other = file.suffix in (".json", ".jinja", ".model", ".py") and "index" not in file.name
        if other and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)


if __name__ == "__main__":
    main(sys.argv[1:])
