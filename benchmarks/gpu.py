"""The full-size models on a GPU: correctness, speed beside what is published, efficiency.

    python benchmarks/gpu.py [PART ...] [--toy] [--json FILE]

Parts: correctness-NAME for the tiny variants of rgat, whisper, sdxl and llama3.1-8b; whisper, rgat,
sdxl, tensorrt; and for MODEL llama3.1-8b and llama2-70b, which need vLLM, MODEL-direct,
MODEL-offline and MODEL-server. Each can be run alone, takes under eight minutes, and runs in a
process of its own, so that one that fails costs no other its figures. No weights can be had with a
benchmark script, so the full-size models have random weights of the true architecture and type:
the same bytes and operations; accuracy is claimed of the tiny variants alone.

``--toy`` runs everything on a CPU with tiny shapes, to see that the script itself works. vLLM does
not run there, and a double that has its signatures and computes nothing stands in for it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from gpu_parts.rows import HEAD

PARTS: dict[str, tuple[str, dict[str, str]]] = {
    **{
        f"correctness-{name}": ("correctness", {"name": name})
        for name in ("rgat", "whisper", "sdxl", "llama3.1-8b")
    },
    **{name: (name, {}) for name in ("whisper", "rgat", "sdxl", "tensorrt")},
    **{
        f"{model}-{what}": ("llm", {"model": model, "what": what})
        for model in ("llama3.1-8b", "llama2-70b")
        for what in ("direct", "offline", "server")
    },
}
"""Each one's module, and what its ``measure`` is told."""
LIMIT_S = 480


def one(part: str, *, toy: bool, out: Path) -> int:
    """Measure a part in this process; what was measured is kept when the rest fails."""
    rows: list[dict[str, Any]] = []
    module, more = PARTS[part]
    try:
        for row in importlib.import_module(f"gpu_parts.{module}").measure(toy=toy, **more):
            print(row.line(), flush=True)
            rows.append(row.to_dict())
            out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except Exception:  # noqa: BLE001 - whatever it is, the figures so far are kept
        traceback.print_exc()
        return 1
    return 0


def in_process(part: str, *, toy: bool, folder: Path) -> list[dict[str, Any]]:
    """The same in a process of its own."""
    out = folder / f"gpu-{part}.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--one", part, "--out", str(out)]
    command += ["--toy"] if toy else []
    child = subprocess.Popen(command, start_new_session=True)
    try:
        child.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{part}: stopped after {LIMIT_S} s", file=sys.stderr)
    finally:  # what it started and left, too: an engine would keep the card to itself
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if not out.exists():
        return []
    found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Measure, print a table, and end with 0 whatever was reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--folder", type=Path, default=Path(), help="of each part's figures")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        sys.exit(one(arguments.one, toy=arguments.toy, out=arguments.out))
    print(HEAD, flush=True)
    rows = [
        row
        for part in arguments.parts or PARTS
        for row in in_process(part, toy=arguments.toy, folder=arguments.folder)
    ]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
