"""Euler's discrete schedule, as the reference sets it up: what each denoising step multiplies by.

Source: ``EulerDiscreteScheduler`` with a scaled linear beta schedule, leading spacing, an offset of
1 and prediction of the noise. With that prediction a step is no more than
``latents += delta * noise``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping


_WANTED: Final = {
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "interpolation_type": "linear",
    "use_karras_sigmas": False,
}
"""What a scheduler's configuration must say, where it says anything about it."""


@attrs.frozen(eq=False)
class Schedule:
    """One number a step.

    Attributes:
        times: float32 [steps], the time that the UNet is told.
        scales: float32 [steps], what the latents are multiplied by before the UNet sees them.
        deltas: float32 [steps], what the noise is multiplied by before it is added to the latents.
        start: what the fixed latents are multiplied by to begin with.
    """

    times: npt.NDArray[np.float32]
    scales: npt.NDArray[np.float32]
    deltas: npt.NDArray[np.float32]
    start: float

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.times)

    @classmethod
    def euler(
        cls,
        steps: int,
        *,
        train_steps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        offset: int = 1,
    ) -> Schedule:
        """The reference's schedule.

        Args:
            steps: denoising steps.
            train_steps: time steps that the model was trained with.
            beta_start: variance of the noise of the first of them.
            beta_end: variance of the noise of the last.
            offset: added to each time.

        Raises:
            ConfigurationError: there are not so many steps.
        """
        if not 0 < steps <= train_steps - offset:
            raise ConfigurationError(
                f"there is no schedule of {steps} steps",
                where="benchmark.steps",
                remedy=f"set it to between 1 and {train_steps - offset}",
            )
        roots = np.linspace(beta_start**0.5, beta_end**0.5, train_steps, dtype=np.float32)
        kept = np.cumprod(1 - roots**2, dtype=np.float32).astype(np.float64)
        sigmas = np.sqrt((1 - kept) / kept)
        times = (np.arange(steps) * (train_steps // steps))[::-1] + offset
        of_steps = np.append(np.interp(times, np.arange(train_steps), sigmas), 0.0)
        before = of_steps[:-1]
        return cls(
            times.astype(np.float32),
            (1 / np.sqrt(before**2 + 1)).astype(np.float32),
            np.diff(of_steps).astype(np.float32),
            float(np.sqrt(before.max() ** 2 + 1)),
        )

    @classmethod
    def of_config(cls, config: Mapping[str, Any], steps: int, where: str) -> Schedule:
        """The schedule that a pipeline's ``scheduler_config.json`` describes.

        Raises:
            IntegrityError: it describes another kind.
        """
        for key, wanted in _WANTED.items():
            if config.get(key, wanted) != wanted:
                raise IntegrityError(
                    f"the schedule's {key} is {config[key]!r}, and the benchmark's is {wanted!r}",
                    where=where,
                    remedy="use the scheduler of Stable Diffusion XL base 1.0",
                )
        return cls.euler(
            steps,
            train_steps=int(config.get("num_train_timesteps", 1000)),
            beta_start=float(config.get("beta_start", 0.00085)),
            beta_end=float(config.get("beta_end", 0.012)),
            offset=int(config.get("steps_offset", 1)),
        )
