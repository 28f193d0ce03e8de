"""A data set as the matrix that the field's harnesses read: right-padded ids, and their lengths.

    python -m mlpinf_llm.export llama2-70b DATA_FILE FOLDER

writes ``input_ids_padded.npy``, int32 [samples, width], and ``input_lens.npy``, int32 [samples].
Nothing in mlpinf needs them: prompts are kept without padding.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlpinf_core.errors import IntegrityError, MlpinfError
from mlpinf_llm import dataset, tables
from mlpinf_llm.official import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpinf_llm.ragged import Ragged

IDS, LENGTHS = "input_ids_padded.npy", "input_lens.npy"


def write_padded(prompts: Ragged, folder: Path, *, pad: int, width: int | None = None) -> None:
    """Write prompts as a right-padded matrix, and their lengths beside it.

    Args:
        prompts: int32 ids.
        folder: where to; it is made if it is not there.
        pad: what rows are filled up with; in the field the model's end-of-text id.
        width: columns; None is the longest prompt's length.

    Raises:
        ValueError: a prompt is longer than ``width``.
    """
    matrix, lengths = prompts.padded(pad, width)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((IDS, matrix), (LENGTHS, lengths)):
        unfinished = folder / f".{name}"
        with unfinished.open("wb") as file:
            np.save(file, array)
        unfinished.replace(folder / name)


def export(name: str, file: Path, folder: Path, *, calibration: bool = False) -> None:
    """Check an official file, and write its prompts as a right-padded matrix.

    Args:
        name: of the full benchmark.
        file: its data set, or its calibration set.
        folder: where to.
        calibration: whether it is the calibration set.

    Raises:
        IntegrityError: it is not that file.
    """
    official = OFFICIAL[name]
    layout = (official.calibration if calibration else official.data).layout
    with tempfile.TemporaryDirectory() as scratch:
        try:
            dataset.write(tables.read_table(file), layout, Path(scratch))
        except tables.TableError as error:
            raise IntegrityError(str(error), remedy=official.data.remedy) from error
        prompts = dataset.Store.open(Path(scratch)).prompts
        write_padded(prompts, folder, pad=official.generation.eos_ids[0], width=layout.max_tokens)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command above."""
    parser = argparse.ArgumentParser(prog="python -m mlpinf_llm.export", description=__doc__)
    parser.add_argument("benchmark", choices=list(OFFICIAL))
    parser.add_argument("file", type=Path, help="the official file")
    parser.add_argument("folder", type=Path, help="where to write the two arrays")
    parser.add_argument("--calibration", action="store_true", help="it is the calibration set")
    given = parser.parse_args(arguments)
    try:
        export(given.benchmark, given.file, given.folder, calibration=given.calibration)
    except (MlpinfError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
