"""The speech plugin's speed, beside its own engine and beside what people use.

    python benchmarks/whisper.py [--repeats 5] [--samples 72] [--json FILE]

Four contenders transcribe the same packed clips with the same tiny.en weights, greedily: Offline
through the harness; CTranslate2 called directly, on features that are there already and on clips;
openai-whisper's ``transcribe``; faster-whisper's batched pipeline at the batch size that suits it
best. They take turns, ``--repeats`` times; a ratio is that of the medians. The last two need
``pip install openai-whisper faster-whisper``, and are left out where they are missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
from figures import Figure, json_of, print_head, print_row
from harness import MLPINF, ours

HERE = Path(__file__).parent
PEERS = {"openai-whisper": "whisper", "faster-whisper": "faster_whisper"}
"""Package to module."""
WER_MARGIN = 0.5


@attrs.frozen
class Turn:
    """What one contender did in one turn."""

    samples_per_second: float
    wer: float | None


def harness(samples: int) -> Turn:
    """Offline through LoadGen."""
    found = ours(
        "whisper",
        "Offline",
        "loadgen.min_duration=0",
        "loadgen.target_qps=0.000001",
        f"loadgen.min_query_count={samples}",
        variant="tiny",
    )
    if not found["valid"]:
        raise SystemExit(f"the run is INVALID: {found['causes']}")
    return Turn(float(found["result_samples_per_second"]), None)


def accuracy() -> float:
    """The word error rate of an accuracy run through LoadGen, in per cent."""
    with tempfile.TemporaryDirectory() as output:
        command = [*MLPINF, "run", "whisper", "--variant", "tiny", "--scenarios", "Offline"]
        command += ["--mode", "accuracy", "--json", "--output", output]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        (run,) = json.loads(done.stdout)["runs"]
        content = json.loads((Path(run["directory"]) / "accuracy.json").read_text())
    return next(s["value"] for s in content["scores"] if s["metric"] == "WER")


def process(name: str, samples: int) -> Turn:
    """A contender in a process of its own."""
    # -P: a script of this folder is named like one of the packages.
    command = [sys.executable, "-P", str(HERE / "whisper_peers.py"), name]
    found = json_of([*command, "--samples", str(samples)])
    return Turn(found["samples_per_second"], found["wer"])


def measure(repeats: int, samples: int) -> dict[str, list[Turn]]:
    """Every contender's turns; who goes first changes."""
    names = ["harness", "engine", "engine and features"]
    names += [name for name, module in PEERS.items() if importlib.util.find_spec(module)]
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            turn = harness(samples) if name == "harness" else process(name, samples)
            turns[name].append(turn)
            print(f"{name}: {turn.samples_per_second:.2f} samples/s", file=sys.stderr)
    return turns


def figures(turns: dict[str, list[Turn]]) -> list[Figure]:
    """The figures of the table."""
    speed = {n: statistics.median(t.samples_per_second for t in ts) for n, ts in turns.items()}
    wer = {n: ts[0].wer for n, ts in turns.items() if ts[0].wer is not None}

    def against(other: str, least: float | None) -> Figure:
        ratio = speed["harness"] / speed[other]
        return Figure(
            f"whisper tiny Offline, samples/s, against {other}",
            f"{speed['harness']:.2f}",
            f"{speed[other]:.2f}",
            ratio,
            f"≥ {least:g}" if least else "none",
            least is None or ratio >= least,
        )

    found = [against("engine", 0.97), against("engine and features", None)]
    if "openai-whisper" in turns:
        found.append(against("openai-whisper", 1.3))
    if "faster-whisper" in turns:
        found.append(against("faster-whisper", 1.0))
        mine, theirs = accuracy(), wer["faster-whisper"]
        name = "whisper tiny, word error rate in points, less faster-whisper's"
        found.append(
            Figure(
                name,
                f"{mine:.2f}",
                f"{theirs:.2f}",
                mine - theirs,
                f"≤ {WER_MARGIN}",
                mine <= theirs + WER_MARGIN,
            )
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=72)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    turns = measure(arguments.repeats, arguments.samples)
    found = figures(turns)
    print_head(arguments.repeats)
    for figure in found:
        print_row(figure)
    if arguments.json:
        every = {name: [attrs.asdict(turn) for turn in ts] for name, ts in turns.items()}
        content = {"figures": [attrs.asdict(figure) for figure in found], "turns": every}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
