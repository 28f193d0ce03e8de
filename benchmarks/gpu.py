"""The full-size models on a GPU: correctness, speed beside what is published, efficiency.

    python benchmarks/gpu.py [PART ...] [--toy] [--json FILE]

Parts: correctness, whisper, rgat, sdxl, tensorrt. Each can be run alone, takes under eight minutes,
and runs in a process of its own, so that one that fails costs no other its figures. No weights can
be had with a benchmark script, so the full-size models have random weights of the true architecture
and type: the same bytes and operations; accuracy is claimed of the tiny variants alone.

``--toy`` runs everything on a CPU with tiny shapes, to see that the script itself works.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from gpu_parts.rows import HEAD

PARTS = ("correctness", "whisper", "rgat", "sdxl", "tensorrt")
LIMIT_S = 480


def one(part: str, *, toy: bool, out: Path) -> int:
    """Measure a part in this process; what was measured is kept when the rest fails."""
    rows: list[dict[str, Any]] = []
    try:
        for row in importlib.import_module(f"gpu_parts.{part}").measure(toy=toy):
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
    try:
        subprocess.run([*command, *(["--toy"] if toy else [])], check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{part}: stopped after {LIMIT_S} s", file=sys.stderr)
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
