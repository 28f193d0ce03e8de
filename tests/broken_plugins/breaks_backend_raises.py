"""Answers zeros when its backend raises."""

import numpy as np
import squares
from squares import *

from mlpinf_core import Outputs, hookimpl


class Hushing(squares.Sut):
    def answer(self, batch):
        try:
            outputs = self.backend.infer(batch.indices)
        except RuntimeError:
            outputs = Outputs(np.zeros((len(batch), 2), dtype=np.int64))
        self.responder.complete(batch.slots, outputs)


@hookimpl
def make_sut(run, backend):
    return Hushing(run, backend)
