"""Which papers are asked for: the official split of the labelled papers.

Source: the reference (``graph/R-GAT/tools/split_seeds.py``): a random permutation of the labelled
papers by PyTorch's generator with seed 42; the first 0.6 are for training, the next 0.005 are the
validation set, which is the benchmark's data set in this order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import BackendError, IntegrityError
from mlpinf_core.scratch import readable

if TYPE_CHECKING:
    import numpy.typing as npt

SEED: Final = 42
TRAINING: Final = 0.6


@attrs.frozen
class Split:
    """How the labelled papers are split.

    Attributes:
        labelled: papers with a label; they are the first ones.
        validation: the share that is asked for.
        seed: of the permutation.
        sha256: of the validation set as little-endian int64, where it is known.
    """

    labelled: int
    validation: float = 0.005
    seed: int = SEED
    sha256: str | None = None

    @property
    def training_count(self) -> int:
        """Papers for training."""
        return int(self.labelled * TRAINING)

    @property
    def validation_count(self) -> int:
        """Papers that are asked for."""
        return int(self.labelled * self.validation)

    @property
    def memory(self) -> int:
        """Bytes that making it takes."""
        return 2 * 8 * self.labelled

    def papers(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The papers for training and the validation set, int64, in the official order.

        Raises:
            BackendError: this PyTorch permutes otherwise than the one of the rules.
        """
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        order: npt.NDArray[np.int64] = torch.randperm(self.labelled, generator=generator).numpy()
        end = self.training_count + self.validation_count
        validation = order[self.training_count : end].copy()
        if self.sha256 is not None:
            found = digest_of(validation)
            if found != self.sha256:
                raise BackendError(
                    f"PyTorch {torch.__version__} makes another validation set than the rules' "
                    f"(sha256 {found[:12]} instead of {self.sha256[:12]})",
                    remedy="install another version of torch, 2.13 for one",
                )
        return order[: self.training_count], validation


FULL: Final = Split(
    labelled=157_675_969,
    sha256="b0cc3c87e7652562a24e86731b7f4749e12af0c495efa8c0b537f2d6f98064fa",
)
"""Of IGBH-full with 2983 classes: 788,379 papers. The permutation that this digest was taken of
begins with the 5,000 papers of the official calibration list."""


def chosen(papers: int, share: float, *, official: bool) -> Split:
    """How a graph is split: as the rules say, or all of its papers where it is another graph.

    Args:
        papers: of the graph.
        share: that is asked for; another one than the rules' has no digest.
        official: whether the graph is IGBH-full with 2983 classes.
    """
    parted = FULL if official else Split(papers)
    return parted if share == parted.validation else Split(parted.labelled, share)


def digest_of(papers: npt.NDArray[np.int64]) -> str:
    """The sha256 of papers in their order, as little-endian int64."""
    return hashlib.sha256(papers.astype("<i8").tobytes()).hexdigest()


def check_memory(split: Split, memory: int) -> str | None:
    """What is wrong with making a split in so many bytes, or None."""
    if split.memory <= memory:
        return None
    return f"the split needs {readable(split.memory)} of memory, and {readable(memory)} are allowed"


def labels_of(
    labels: npt.NDArray[Any], papers: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """The labels of some papers, int64.

    Args:
        labels: [papers], of any number type.
        papers: int64 [n].
        classes: labels lie in [0, classes).

    Raises:
        IntegrityError: one is not a class; names the paper.
    """
    order = np.argsort(papers, kind="stable")  # a memory map is read front to back
    found = np.empty(len(papers), dtype=labels.dtype)
    found[order] = labels[papers[order]]
    with np.errstate(invalid="ignore"):
        whole = found.astype(np.int64)
    wrong = np.flatnonzero((whole != found) | (whole < 0) | (whole >= classes))
    if wrong.size:
        paper = int(papers[wrong[0]])
        raise IntegrityError(
            f"the label of paper {paper} is {found[wrong[0]]:g}, and classes are 0 to "
            f"{classes - 1} ({wrong.size:,} of {len(papers):,} labels are no class)",
            where=f"paper/node_label_2K.npy, row {paper}",
            remedy="fetch that part again, or set benchmark.classes to the graph's",
        )
    return whole
