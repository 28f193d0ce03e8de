"""How long checking a full tree takes, and how much memory: 7 benchmarks × 3 scenarios.

    python benchmarks/checking.py [--repeats 3] [--keep DIR]

The tree is made first, of real runs whose logs have the size of the real ones: every benchmark has
the data set's number of samples, and LoadGen lists each of them in its detail log. What the runs
answer means nothing. Then the checker reads the whole tree in a process of its own; the accuracy
logs' checksums are compared with the whole logs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUND = "v6.0"
SERVED = ("Offline", "Server", "SingleStream")
STREAMED = ("Offline", "SingleStream", "MultiStream")
BENCHMARKS = {
    "llama2-70b": SERVED,
    "llama3.1-8b": SERVED,
    "llama3.1-405b": SERVED,
    "deepseek-r1": SERVED,
    "stable-diffusion-xl": SERVED,
    "whisper": STREAMED,
    "rgat": STREAMED,
}
MOST_SECONDS, MOST_MB = 10, 500


def install(place: Path) -> None:
    """The plugin whose benchmarks pose as the rounds'."""
    folder = place / "mlpinf_posing-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mlpinf-posing\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[mlpinf]\nposing = mlpinf_posing\n")
    paths = [str(place), str(ROOT / "tests/posing_plugin/src"), str(ROOT)]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["MLPINF_DISABLE_PLUGINS"] = "llm,whisper,rgat,sdxl"


def make(place: Path) -> None:
    """A tree of the open division, in which every benchmark may have every scenario."""
    from tests.submission_trees import make_runs, make_tree

    for name, scenarios in BENCHMARKS.items():
        print(f"making {name}", flush=True)
        make_runs(place / "runs", ROUND, name, scenarios)
    make_tree(place / "runs", place / "tree", ROUND, "open")


def check(tree: Path) -> None:
    """What ``--one`` does: check, and print seconds and megabytes."""
    began = time.perf_counter()
    from mlpinf_core.submission.checking import check as checked

    report = checked(tree, round=ROUND, backup=tree.with_name("tree-whole"))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # The posing benchmarks have no images, and say so; everything else has to be right.
    wrong = [finding for finding in report.errors() if finding.rule != "images"]
    assert not wrong, wrong
    assert len(report.results) == sum(map(len, BENCHMARKS.values()))
    print(f"{seconds} {peak}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="make the tree there, or use the one that is there"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        check(options.one)
        return
    with contextlib.ExitStack() as stack:
        place = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["MLPERF_SCRATCH_PATH"] = str(place / "scratch")
        tree = place / "tree"
        if not tree.exists():
            install(place / "plugin")
            make(place)
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        whole = sum(p.stat().st_size for p in (place / "tree-whole").rglob("*") if p.is_file())
        print(f"tree {size / 1e6:.1f} MB, whole accuracy logs {whole / 1e6:.1f} MB")
        found = []
        for _ in range(options.repeats):
            command = [sys.executable, __file__, "--one", str(tree)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(tuple(map(float, done.stdout.split())))
    seconds = statistics.median(each[0] for each in found)
    peak = max(each[1] for each in found)
    print(f"checking: {seconds:.2f} s of {MOST_SECONDS}, {peak:.0f} MB of {MOST_MB}")


if __name__ == "__main__":
    main()
