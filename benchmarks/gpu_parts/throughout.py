"""A model through the whole harness: ``mlpinf run`` with LoadGen, and what LoadGen logged."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from harness import HERE, ours

_METADATA = "Metadata-Version: 2.1\nName: mlpinf-random\nVersion: 0\n"
_ENTRY_POINTS = "[mlpinf]\nrandom = {}\n"


def offline(
    name: str, queries: int, *settings: str, toy: bool, plugin: str = "gpu_parts.plugin"
) -> dict[str, Any]:
    """Offline of so many samples, through LoadGen.

    Args:
        name: of a benchmark of the plugin.
        queries: samples.
        settings: as after ``--set`` on the command line.
        toy: whether the run may be too short for its data set.
        plugin: the module that has the benchmark.

    Returns:
        What LoadGen logged.
    """
    found = _run(
        plugin,
        name,
        "Offline",
        "loadgen.min_duration=0",
        "loadgen.target_qps=0.000001",
        f"loadgen.min_query_count={queries}",
        *settings,
    )
    if not (found["valid"] or toy):
        raise RuntimeError(f"the run is INVALID: {found['causes']}")
    return found


def server(name: str, rate: float, seconds: float, *settings: str, plugin: str) -> dict[str, Any]:
    """Server at so many queries a second, through LoadGen; VALID or not.

    Args:
        name: of a benchmark of the plugin.
        rate: queries a second.
        seconds: that queries come for.
        settings: as after ``--set`` on the command line.
        plugin: the module that has the benchmark.

    Returns:
        What LoadGen logged.
    """
    times = (f"loadgen.target_qps={rate}", f"loadgen.min_duration={seconds}")
    return _run(plugin, name, "Server", *times, *settings)


def _run(plugin: str, name: str, scenario: str, *settings: str) -> dict[str, Any]:
    """A run with a module registered as a plugin that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        info = Path(folder) / "mlpinf_random-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA)
        (info / "entry_points.txt").write_text(_ENTRY_POINTS.format(plugin))
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, str(HERE), before]))
        try:
            return ours(name, scenario, "run.hang_timeout=300", *settings)
        finally:
            os.environ["PYTHONPATH"] = before


def gpu_memory() -> str:
    """What nvidia-smi says is used; empty where there is none."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
