"""Run a benchmark from Python: the same as `mlpinf run`, with typed results.

python examples/run_from_python.py
python examples/run_from_python.py llama3.1-8b tiny
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlpinf_core as mlpinf


def main(benchmark: str = "null", variant: str | None = None) -> int:
    """Run Offline and SingleStream, print what came of it, and return the exit code."""
    try:
        results = mlpinf.run(
            benchmark,
            variant=variant,
            scenarios=("Offline", "SingleStream"),
            settings={"loadgen": {"min_duration": 2}},  # a real result needs the rules' 600 s
            output=Path("mlpinf-runs"),
        )
    except mlpinf.MlpinfError as error:
        print(error, file=sys.stderr)
        return error.exit_code

    for run in results.runs:
        print(f"{run.workload} {run.mode}: {run.verdict}")
        if run.performance is not None:
            print(f"  {run.performance.value:,.4g} {run.performance.unit}")
        if run.accuracy is not None:
            for score in run.accuracy.scores:
                print(
                    f"  {score.metric} = {score.value:g}, {'passed' if score.passed else 'missed'}"
                )
        for cause in run.verdict.causes:
            print(f"  because {cause.message}")
    print(f"logs: {results.directory}")
    return results.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
