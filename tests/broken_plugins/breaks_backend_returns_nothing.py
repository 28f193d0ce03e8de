"""Answers zeros when its backend returns None."""

import numpy as np
import squares
from squares import *

from mlpinf_core import Outputs, hookimpl


class Filling(squares.Sut):
    def answer(self, batch):
        outputs = self.backend.infer(batch.indices)
        zeros = Outputs(np.zeros((len(batch), 2), dtype=np.int64))
        self.responder.complete(batch.slots, zeros if outputs is None else outputs)


@hookimpl
def make_sut(run, backend):
    return Filling(run, backend)
