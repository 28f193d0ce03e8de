"""Takes any key as a setting."""

import attrs
import squares
from squares import *

from mlpinf_core import hookimpl


@hookimpl
def benchmarks():
    return [attrs.evolve(squares.BENCHMARK, settings=dict)]


@hookimpl
def dataset(run):
    return np.arange(run.config.benchmark.get("samples", 40))
