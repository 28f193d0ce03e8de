"""The official calibration sets: what a model may be quantised with, and nothing else.

1000 samples for llama2-70b and llama3.1-8b, 512 for llama3.1-405b, 500 for deepseek-r1. The rules
allow no other data for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_llm import dataset, locate

if TYPE_CHECKING:
    from mlpinf_core.context import Run
    from mlpinf_llm.ragged import Ragged


def prompts(run: Run) -> Ragged:
    """The calibration prompts of a full benchmark, int32 ids, in the file's order; memory-mapped.

    Raises:
        PrerequisiteError: the file is not there; says how to get it and where to put it.
        IntegrityError: it is there, and does not hold what it must.
    """
    data = locate.official(run).calibration
    name = f"{run.benchmark.name}-calibration"
    file = locate.official_file(run, data)
    return dataset.stored(run.store, name, file, run.events.step).prompts
