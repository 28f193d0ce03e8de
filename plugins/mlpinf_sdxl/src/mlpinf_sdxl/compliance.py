"""Images of an accuracy run as files, for people to look at and for a submission to show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.hashing import write_atomically
from mlpinf_core.rules import load_round
from mlpinf_sdxl.benchmarks import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_sdxl.answers import Answers
    from mlpinf_sdxl.samples import CaptionSamples

FOLDER: Final = "images"
"""In the directory of a run."""
CAPTIONS: Final = "captions.txt"
SHEET: Final = "contact_sheet.png"

LATEST: Final = (4475, 3627, 1046, 4937, 3867, 1671, 3789, 1206, 4111, 3093)
"""Samples whose images are shown where the round's rules name none, as those of v6.1.

Source: the reference's list of sample ids, which changes from round to round.
"""
_SHOWN: Final = 20
"""Images of another data set that are saved."""
_COLUMNS: Final = 5
_MARGIN, _TEXT = 8, 34


def indices_of(round_: str) -> tuple[int, ...]:
    """The samples of the full data set whose images a submission to a round shows."""
    named = load_round(round_).submission.images.get(NAME, ())
    return tuple(int(each) for each in named) or LATEST


def save(
    answers: Answers,
    samples: CaptionSamples,
    folder: Path,
    indices: tuple[int, ...],
    presented: int | None = None,
) -> None:
    """Write the images a submission shows as PNG files, their captions beside them, and a sheet.

    Where no data set so large was presented, its first images are written. Writes nothing where the
    log has none of them: TEST01 answers some of the samples only.

    Args:
        answers: of the samples.
        samples: the data set.
        folder: that they are written into.
        indices: samples whose images are shown.
        presented: as how many samples a small data set was presented repeatedly; the image of one
            of those is that of the sample which it repeats. None: as it is.
    """
    count = len(samples)
    if (presented or count) <= max(indices):
        indices = tuple(range(_SHOWN))
    answered = dict(zip(answers.rows.tolist(), answers.entries.tolist(), strict=True))
    rows = {index: index % count for index in indices if index % count in answered}
    if not rows:
        return
    folder.mkdir(exist_ok=True)
    lines, sheet = [], []
    for index, row in rows.items():
        pixels = answers.image(answered[row], row)
        text = f"{index}  {samples.captions[row]}"
        write_atomically(folder / f"{index}.png", png(pixels))
        lines.append(f"{text}\n")
        sheet.append(Shown(text, pixels))
    write_atomically(folder / CAPTIONS, "".join(lines).encode())
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
