"""Has a variant whose backend nobody offers."""

import attrs
import squares
from squares import *

from mlpinf_core import Variant, hookimpl


@hookimpl
def benchmarks():
    full = attrs.evolve(squares.TINY, backend="gpu")
    variants = {**squares.BENCHMARK.variants, Variant.FULL: full}
    return [attrs.evolve(squares.BENCHMARK, variants=variants)]
