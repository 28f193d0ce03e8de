"""Prompts as the engines take them: one flat array of ids, and where each prompt begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from mlpinf_core.errors import IntegrityError
from mlpinf_llm.tables import Table

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run

_IDS, _OFFSETS = "ids.npy", "offsets.npy"


@attrs.frozen(eq=False)
class TokenSamples:
    """Prompts and what they are scored against.

    Attributes:
        ids: int32 [tokens], all prompts one after the other; memory-mapped.
        offsets: int64 [prompts + 1], where each begins.
        table: the data set, for its reference columns.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    table: Table

    @classmethod
    def open(cls, directory: Path, table: Table) -> TokenSamples:
        """Map what :func:`write` wrote."""
        ids = np.load(directory / _IDS, mmap_mode="r")
        return cls(ids, np.load(directory / _OFFSETS), table)

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.offsets) - 1

    def prompt(self, index: int) -> npt.NDArray[np.int32]:
        """The ids of one prompt, int32 [length]."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [prompts], tokens of each."""
        return np.diff(self.offsets)

    def load(self, indices: npt.NDArray[np.int64]) -> None:
        """Touch the prompts, so that the timed part reads them from memory."""
        for index in indices:
            self.prompt(int(index)).sum()

    def unload(self, indices: npt.NDArray[np.int64]) -> None:
        """The system drops mapped pages by itself."""


def write(table: Table, directory: Path) -> None:
    """Write the prompts of a data set: column ``tok_input``, lists of ids."""
    prompts = table.token_ids("tok_input")
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    np.save(directory / _IDS, np.concatenate(prompts))
    np.save(directory / _OFFSETS, np.concatenate([[0], np.cumsum(lengths)]))


def preprocessed(run: Run, table: Table, digest: str) -> TokenSamples:
    """The prompts of a data set, written once.

    Args:
        run: gives the artifact store.
        table: the data set.
        digest: sha256 of its file.
    """
    inputs: dict[str, Any] = {"data": digest, "format": 1}
    artifact = run.store.build(
        "preprocessed_data",
        run.benchmark.name,
        inputs,
        lambda directory: write(table, directory),
        announce=run.events.step,
    )
    samples = TokenSamples.open(artifact.path, table)
    if len(samples) != len(table):
        raise IntegrityError(
            f"{len(samples)} prompts were prepared for a data set of {len(table)}",
            where=str(artifact.path),
            remedy="remove that directory",
        )
    return samples
