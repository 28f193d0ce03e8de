"""Import a plugin in a fresh process and watch: ``python -m mlpinf_core.testing.light ENTRY``.

Prints as JSON what importing the plugin and calling its declaring hooks has brought in and done.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from typing import Any, Final

from mlpinf_core.hookspecs import PROJECT

HEAVY: Final = frozenset(
    [
        "accelerate",
        "cuda",
        "cupy",
        "ctranslate2",
        "cv2",
        "datasets",
        "dgl",
        "diffusers",
        "faiss",
        "faster_whisper",
        "huggingface_hub",
        "jax",
        "keras",
        "librosa",
        "llvmlite",
        "lightning",
        "matplotlib",
        "mlx",
        "mxnet",
        "numba",
        "nltk",
        "onnx",
        "onnxruntime",
        "openvino",
        "paddle",
        "pandas",
        "peft",
        "pyarrow",
        "ray",
        "rouge_score",
        "safetensors",
        "scipy",
        "sentence_transformers",
        "sentencepiece",
        "sglang",
        "skimage",
        "sklearn",
        "soundfile",
        "spacy",
        "tensorflow",
        "tensorrt",
        "tensorrt_llm",
        "tensorrt_rtx",
        "tiktoken",
        "timm",
        "tokenizers",
        "torch",
        "torch_geometric",
        "torchaudio",
        "torchvision",
        "transformers",
        "triton",
        "vllm",
    ]
)
"""Packages that take long to import, or hold memory or a device; NumPy is the only one allowed."""

_NETWORK: Final = (
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
)  # fmt: skip
_PROCESS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_CHANGE: Final = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "shutil.rmtree", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp",
)  # fmt: skip


def _deed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """What an audited event is, where a plugin must not do it while it is being loaded."""
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        return f"opens {path} for writing" if writes and path != os.devnull else None
    if event in _NETWORK:
        return f"uses the network ({event})"
    if event in _PROCESS:
        return f"starts a process ({event} {arguments[0]})"
    if event in _CHANGE:
        return f"changes files ({event} {arguments[0]})"
    return None


def main(entry: str) -> dict[str, list[str]]:
    """Load the plugin as the core does."""
    deeds: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and (deed := _deed(event, arguments)) is not None:
            deeds.append(deed)

    before = set(sys.modules)
    sys.addaudithook(watch)
    plugin = importlib.metadata.EntryPoint("plugin", entry, PROJECT).load()
    for name in ("benchmarks", "backends"):
        if (hook := getattr(plugin, name, None)) is not None:
            list(hook() or ())
    watching = False
    brought = {name.partition(".")[0] for name in set(sys.modules) - before}
    return {"heavy": sorted(brought & HEAVY), "deeds": list(dict.fromkeys(deeds))}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
