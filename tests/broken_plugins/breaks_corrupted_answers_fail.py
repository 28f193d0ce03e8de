"""Scores what it expects instead of what was answered."""

from squares import *

from mlpinf_core import hookimpl


@hookimpl
def check_accuracy(samples, log):
    return {"right": 100.0 * len(samples) / len(log)}
