"""The request that makes an earlier run again, from its ``run.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mlpinf_core.config.layers import Layer
from mlpinf_core.errors import ConfigurationError, LogError
from mlpinf_core.record import FILE_NAME, read_json
from mlpinf_core.vocabulary import Mode, Workload

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.plan import Request


def request_to_repeat(directory: Path, request: Request) -> Request:
    """A request for the same workload, mode and settings, with the request's settings above them.

    Args:
        directory: of the run.
        request: where its result goes, and what is set differently.

    Raises:
        ConfigurationError: there is nothing to repeat.
        LogError: the record is damaged.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise ConfigurationError(
            f"there is no {FILE_NAME} to repeat",
            where=str(directory),
            remedy="name the directory of one run: .../performance",
        )
    record = read_json(path)
    try:
        workload = Workload.from_dict(record["workload"])
        recorded = Layer(f"repeat of {directory}", record["config"]["values"])
        mode = Mode(record["mode"])
    except (KeyError, TypeError, ValueError) as error:
        raise LogError(
            f"{FILE_NAME} is damaged: {type(error).__name__}: {error}",
            where=str(path),
            remedy="make the run anew",
        ) from error
    return attrs.evolve(
        request,
        benchmarks=(workload.benchmark,),
        scenarios=(workload.scenario,),
        modes=(mode,),
        round=workload.round,
        variant=workload.variant,
        accuracy_target=workload.accuracy_target,
        power=workload.power,
        layers=(recorded, *request.layers),
    )
