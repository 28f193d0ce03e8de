"""Misspells a hook."""

from squares import *

from mlpinf_core import hookimpl


@hookimpl
def make_suit(run, backend):
    return None
