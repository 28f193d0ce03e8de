"""Asks more than its own backend can do."""

import attrs
import squares
from squares import *

from mlpinf_core import Limit, hookimpl


@hookimpl
def benchmarks():
    rules = attrs.evolve(squares.BENCHMARK.rules, accuracy={"99": {"right": Limit(lower=101.0)}})
    return [attrs.evolve(squares.BENCHMARK, rules=rules)]
