"""Images as responses: what is wrong with one, and writing them as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.errors import BackendError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def checked(
    pixels: npt.NDArray[np.uint8],
    broken: npt.NDArray[np.bool_],
    black: npt.NDArray[np.bool_],
    indices: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """Images of a batch, if each is one.

    Args:
        pixels: uint8 [n, height, width, 3].
        broken: bool [n], whether the decoder gave anything but numbers.
        black: bool [n], whether every pixel is black.
        indices: int64 [n], the samples.

    Raises:
        BackendError: one is broken or black.
    """
    for wrong, what in (
        (broken, "holds values that are no numbers"),
        (black, "is black all over"),
    ):
        if wrong.any():
            which = ", ".join(str(index) for index in indices[wrong][:4])
            raise BackendError(
                f"the image of a sample {what}",
                where=f"sample {which}",
                remedy="compute in a wider type: set backend.dtype or backend.vae_dtype to "
                "bfloat16 or float32",
            )
    return pixels
