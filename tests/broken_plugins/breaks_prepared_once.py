"""Has an artifact whose inputs are never the same again."""

import numpy as np
from squares import *

from mlpinf_core import hookimpl


@hookimpl
def dataset(run):
    def write(directory):
        np.save(directory / "values.npy", np.arange(run.config.benchmark.samples))

    inputs = {"for": str(run.directory)}
    artifact = run.store.build("preprocessed_data", "squares", inputs, write)
    return np.load(artifact.path / "values.npy")
