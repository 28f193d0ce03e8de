"""Declares a scenario that it cannot run."""

from squares import *

from mlpinf_core import BackendError, Scenario, hookimpl


@hookimpl
def make_sut(run, backend):
    if run.workload.scenario is Scenario.SINGLE_STREAM:
        raise BackendError("there is no SUT for SingleStream")
    return Sut(run, backend)
