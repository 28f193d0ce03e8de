"""The schedule is the reference's, number for number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import ConfigurationError, IntegrityError
from mlpinf_sdxl import tiny_model
from mlpinf_sdxl.schedule import Schedule


@given(steps=st.integers(1, 200))
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own
@settings(max_examples=30, deadline=None)
def test_times_and_sigmas_are_those_of_diffusers(steps: int) -> None:
    from diffusers import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(**tiny_model.SCHEDULER)
    theirs.set_timesteps(steps)
    sigmas = theirs.sigmas.numpy().astype(np.float64)

    ours = Schedule.euler(steps)

    np.testing.assert_array_equal(ours.times, theirs.timesteps.numpy())
    np.testing.assert_allclose(ours.deltas, np.diff(sigmas), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(ours.scales, 1 / np.sqrt(sigmas[:-1] ** 2 + 1), rtol=2e-5)
    assert ours.start == pytest.approx(float(theirs.init_noise_sigma), rel=2e-5)


@pytest.mark.parametrize("steps", [0, 1000])
def test_a_schedule_of_no_steps_or_too_many_is_refused(steps: int) -> None:
    with pytest.raises(ConfigurationError, match="no schedule"):
        Schedule.euler(steps)


@pytest.mark.parametrize(
    ("key", "value"),
    [("prediction_type", "v_prediction"), ("timestep_spacing", "trailing")],
)
def test_another_schedule_than_the_benchmarks_is_refused(key: str, value: str) -> None:
    with pytest.raises(IntegrityError, match=key):
        Schedule.of_config({**tiny_model.SCHEDULER, key: value}, 20, "scheduler_config.json")
