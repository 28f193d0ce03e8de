"""Images of an accuracy run as files, for people to look at and for a submission to show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.hashing import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_sdxl.answers import Answers
    from mlpinf_sdxl.samples import CaptionSamples

FOLDER: Final = "images"
"""In the directory of a run."""
CAPTIONS: Final = "captions.txt"
SHEET: Final = "contact_sheet.png"

INDICES: Final = (4475, 3627, 1046, 4937, 3867, 1671, 3789, 1206, 4111, 3093)
"""Samples whose images a submission of the full variant shows; the same in rounds v5.1 to v6.1.

Source: the reference's list of sample ids.
"""
_SHOWN: Final = 20
"""Images of another data set that are saved."""
_COLUMNS: Final = 5
_MARGIN, _TEXT = 8, 34


def save(answers: Answers, samples: CaptionSamples, folder: Path) -> None:
    """Write the images a submission shows as PNG files, their captions beside them, and a sheet.

    Where the data set has no such samples, its first ones are written. Writes nothing where the log
    has none of them: TEST01 answers some of the samples only.
    """
    wanted: set[int] = set(INDICES if len(samples) > max(INDICES) else range(_SHOWN))
    pictures: dict[int, npt.NDArray[np.uint8]] = {}
    for entry, row in zip(answers.entries, answers.rows, strict=True):
        if int(row) in wanted:
            pictures[int(row)] = answers.image(int(entry), int(row))
    if not pictures:
        return
    folder.mkdir(exist_ok=True)
    order: list[int] = [index for index in INDICES if index in pictures] or sorted(pictures)
    for index in order:
        write_atomically(folder / f"{index}.png", png(pictures[index]))
    lines = [f"{index}  {samples.captions[index]}\n" for index in order]
    write_atomically(folder / CAPTIONS, "".join(lines).encode())
    sheet = [Shown(f"{index}  {samples.captions[index]}", pictures[index]) for index in order]
    write_atomically(folder / SHEET, contact_sheet(sheet))


@attrs.frozen(eq=False)
class Shown:
    """A picture of a contact sheet, and what stands below it."""

    text: str
    pixels: npt.NDArray[np.uint8]


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An image, uint8 [height, width, 3], as a PNG file."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def contact_sheet(pictures: list[Shown], width: int = 192) -> bytes:
    """Pictures side by side, each with its text, as a PNG file.

    Raises:
        ConfigurationError: there are none.
    """
    import io

    from PIL import Image, ImageDraw

    if not pictures:
        raise ConfigurationError("there are no images to show")
    columns = min(_COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    cell = (width + _MARGIN, width + _TEXT + _MARGIN)
    sheet = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
    pen = ImageDraw.Draw(sheet)
    for number, shown in enumerate(pictures):
        left = _MARGIN + number % columns * cell[0]
        top = _MARGIN + number // columns * cell[1]
        sheet.paste(Image.fromarray(shown.pixels).resize((width, width)), (left, top))
        pen.multiline_text((left, top + width + 2), _wrapped(shown.text), fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 32, max_lines=2, placeholder=" ..."))
