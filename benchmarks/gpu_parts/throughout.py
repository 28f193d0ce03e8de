"""A model through the whole harness: ``mlpinf run`` with LoadGen, and what LoadGen logged."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness import HERE, ours

_METADATA = "Metadata-Version: 2.1\nName: mlpinf-random\nVersion: 0\n"
_ENTRY_POINTS = "[mlpinf]\nrandom = gpu_parts.plugin\n"


def offline(name: str, queries: int, *settings: str, toy: bool) -> dict[str, Any]:
    """Offline of so many samples, through LoadGen.

    Args:
        name: of a benchmark of ``plugin.py``.
        queries: samples.
        settings: as after ``--set`` on the command line.
        toy: whether the run may be too short for its data set.

    Returns:
        What LoadGen logged.
    """
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder) / "mlpinf_random-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA)
        (info / "entry_points.txt").write_text(_ENTRY_POINTS)
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, str(HERE), before]))
        try:
            found = ours(
                name,
                "Offline",
                "loadgen.min_duration=0",
                "loadgen.target_qps=0.000001",
                f"loadgen.min_query_count={queries}",
                "run.hang_timeout=300",
                *settings,
            )
        finally:
            os.environ["PYTHONPATH"] = before
    if not (found["valid"] or toy):
        raise RuntimeError(f"the run is INVALID: {found['causes']}")
    return found


def gpu_memory() -> str:
    """What nvidia-smi says is used; empty where there is none."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
