"""The plugins' tiny variants on CUDA, through LoadGen: verdict and accuracy, Offline and Server."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness import MLPINF

from gpu_parts.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = {
    "rgat": (
        "torch",
        ["backend.precision=float16", "backend.features_on=device", "benchmark.features=float16"],
    ),
    "whisper": ("torch", ["backend.dtype=float16"]),
    "sdxl": ("torch", ["backend.dtype=bfloat16"]),
    "llama3.1-8b": ("ctranslate2", ["backend.quantization=float16"]),
}
"""Each tiny variant's backend, and its settings on CUDA."""
SLOW = ("whisper", "llama3.1-8b")
"""Those that take minutes on a CPU, and are left out of the toy."""
LIMIT_S = 420


def measure(*, toy: bool, name: str) -> Iterator[Row]:
    """Every scenario in performance and accuracy mode."""
    if toy and name in SLOW:
        return
    backend, settings = RUNS[name]
    device = "cpu" if toy else "cuda"
    chosen = [f"backend.device={device}", *([] if toy else settings)]
    with tempfile.TemporaryDirectory() as output:
        yield from _rows(name, backend, chosen, output)


def _rows(name: str, backend: str, settings: list[str], output: str) -> Iterator[Row]:
    command = [*MLPINF, "run", name, "--variant", "tiny", "--scenarios", "Offline,Server"]
    command += ["--backend", backend, "--json", "--output", output]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    try:
        runs = json.loads(done.stdout)["runs"]
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"{name}: {done.stdout}\n{done.stderr}") from error
    for run in runs:
        directory = Path(run["directory"])
        about = json.loads((directory / "run.json").read_text(encoding="utf-8"))["workload"]
        notes: dict[str, object] = {"settings": settings, "verdict": run["verdict"]}
        passed = bool(run["verdict"]["valid"])
        graded = directory / "accuracy.json"
        if graded.is_file():
            notes["accuracy"] = json.loads(graded.read_text(encoding="utf-8"))
            passed = passed and bool(run.get("accuracy", {}).get("passed", run["exit_code"] == 0))
        mode = "accuracy" if graded.is_file() else "performance"
        title = f"tiny {name} {about['scenario']} {mode}, valid and passed"
        yield Row("correctness", title, float(passed), None, 1.0, None, notes)
