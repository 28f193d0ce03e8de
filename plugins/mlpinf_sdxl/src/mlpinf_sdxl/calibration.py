"""The calibration captions: what a UNet may be quantised with, and nothing else.

The full variant's are 500 of COCO 2014's training images, by the reference's list of their ids; the
tiny variant's are of scenes that its pipeline was trained on, and none of the benchmark's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import captions, tiny
from mlpinf_sdxl.benchmarks import CALIBRATION_CAPTIONS, CALIBRATION_IDS_DIGEST

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_sdxl.benchmarks import SdxlSettings

_FILE: Final = "captions.tsv"
_FOLDER: Final = "calibration"
_ID: Final = "id"
_REMEDY: Final = (
    "make calibration/captions.tsv with the reference's download-coco-2014-calibration.sh, and set "
    "benchmark.calibration_path to it; or set backend.unet_quantization to none"
)


def read(run: Run) -> tuple[str, ...]:
    """The calibration captions of a run's variant, by ascending id.

    Raises:
        PrerequisiteError: the file is not there; says how to get it.
        IntegrityError: it holds other captions than the reference's.
    """
    if run.workload.variant is Variant.TINY:
        return tuple(captions.read(tiny.calibration()))
    return official(find(run.config.benchmark))


def find(settings: SdxlSettings) -> Path:
    """Where the full variant's calibration captions are.

    Raises:
        PrerequisiteError: they are not there.
    """
    given, data = settings.calibration_path, settings.data_path
    if given is not None:
        places = [given] if given.is_file() else [given / _FILE, given / _FOLDER / _FILE]
    elif data is not None:  # the reference's own folder, or the one of the captions in it
        places = [data / _FOLDER / _FILE, data.parent / _FOLDER / _FILE]
    else:
        places = []
    for place in places:
        if place.is_file():
            return place
    looked = f": looked for {' and '.join(map(str, places))}" if places else ""
    raise PrerequisiteError(
        f"there are no calibration captions, which an 8-bit UNet wants{looked}",
        where="benchmark.calibration_path",
        remedy=_REMEDY,
    )


def official(path: Path) -> tuple[str, ...]:
    """The reference's calibration captions, by ascending id.

    Raises:
        PrerequisiteError: the file cannot be read.
        IntegrityError: it holds other captions than the reference's.
    """
    found = captions.rows(path, _ID, captions.COLUMN)
    if len(found) != CALIBRATION_CAPTIONS:
        raise _other(path, f"there are {len(found)}, and {CALIBRATION_CAPTIONS} belong to them")
    by_id = sorted((int(one), text) for one, text in found if one.isdecimal())
    if captions.digest(str(one) for one, _ in by_id) != CALIBRATION_IDS_DIGEST:
        raise _other(path, "their ids are not those of the reference's list")
    return tuple(text for _, text in by_id)


def _other(path: Path, fault: str) -> IntegrityError:
    return IntegrityError(
        f"these are not the reference's calibration captions: {fault}",
        where=str(path),
        remedy=_REMEDY,
    )
