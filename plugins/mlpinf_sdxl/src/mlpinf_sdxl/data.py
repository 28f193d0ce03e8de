"""The data set of a run: captions found, or fetched, and tokenised once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from mlpinf_core.errors import ConfigurationError, IntegrityError
from mlpinf_core.hashing import sha256_of
from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import benchmarks, captions, fidelity, tiny
from mlpinf_sdxl.full_model import CLIP1
from mlpinf_sdxl.samples import CaptionSamples
from mlpinf_sdxl.tokens import ClipTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mlpinf_core.context import Run

TOKENIZERS: Final = ("tokenizer", "tokenizer_2")
"""Folders of a pipeline: the first encoder's tokenizer, and the second's."""
_FILES: Final = ("vocab.json", "merges.txt", "tokenizer_config.json")
_ARTIFACT: Final = "sdxl-tokens"
_FULL_ONLY: Final = (
    "data_path",
    "model_path",
    "latents_path",
    "calibration_path",
    "scoring_path",
    "random_weights",
)
"""Settings that make no sense for the tiny variant."""
_LATENTS: Final = {Variant.TINY: (1, 4, 16, 16), Variant.FULL: (1, 4, 128, 128)}


@attrs.frozen
class DataSet:
    """What a run's samples are made of.

    Attributes:
        captions: the file.
        latents: the file of the fixed latents.
    """

    captions: Path
    latents: Path


@attrs.frozen
class RandomData:
    """In place of files: random numbers.

    Attributes:
        seed: of them.
    """

    seed: int


def dataset(run: Run) -> DataSet | RandomData:
    """The files of the run's variant.

    Raises:
        ConfigurationError: a path was given for the tiny variant.
        PrerequisiteError: a file is not to be had, or one that scoring needs is missing.
        IntegrityError: a file is not what it should be.
    """
    settings: benchmarks.SdxlSettings = run.config.benchmark
    if run.workload.variant is Variant.TINY:
        for key in _FULL_ONLY:
            if getattr(settings, key) is not None:
                raise ConfigurationError(
                    "the tiny variant brings its own files",
                    where=f"benchmark.{key}",
                    remedy=f"leave benchmark.{key} out, or run the full variant",
                )
        return DataSet(tiny.folder() / "captions.tsv", tiny.folder() / "latents.npy")
    for note in notes(settings):
        run.events.note(note)
    if settings.scoring_path is not None:  # a run takes hours, and is scored after it
        fidelity.check(settings.scoring_path)
    if settings.random_weights is not None:
        return RandomData(settings.random_weights)
    given = settings.data_path
    found = run.fetch(benchmarks.CAPTIONS) if given is None else captions.find(given)
    return DataSet(found, run.fetch(benchmarks.LATENTS))


def notes(settings: benchmarks.SdxlSettings) -> Iterator[str]:
    """Why a run of the full variant with these settings could not be submitted."""
    official = benchmarks.SdxlSettings()
    if settings.random_weights is not None:
        yield "not submittable: weights, prompts and latents were random (benchmark.random_weights)"
    for key in ("steps", "guidance"):
        used, wanted = getattr(settings, key), getattr(official, key)
        if used != wanted:
            yield (
                f"not submittable: benchmark.{key} was {used:g}, and the reference's is {wanted:g}"
            )


def preprocessed(run: Run, data: DataSet | RandomData) -> CaptionSamples:
    """The captions, tokenised for both encoders.

    Raises:
        PrerequisiteError: a tokenizer's file is missing.
        IntegrityError: the captions are not the reference's, or the latents are for images of
            another size.
    """
    if isinstance(data, RandomData):
        return random_samples(run.rules.dataset_size, data.seed)
    texts = captions.read(data.captions)
    _require_whole(run, texts, data.captions)
    latents = read_latents(data.latents, _LATENTS[run.workload.variant])
    pipeline = _pipeline(run)
    first, second = _tokens(run, data.captions, texts, pipeline)
    return CaptionSamples(tuple(texts), first, second, latents, pipeline)


def random_samples(count: int, seed: int) -> CaptionSamples:
    """Samples of the full variant that are random numbers, for measuring without any file."""
    rng = np.random.default_rng(seed)
    start, end = CLIP1["bos_token_id"], CLIP1["eos_token_id"]
    ids = rng.integers(0, start, size=(count + 1, CLIP1["max_position_embeddings"]))
    ids[:, 0], ids[:, -1] = start, end
    latents = rng.standard_normal(_LATENTS[Variant.FULL], np.float32)
    return CaptionSamples(("random tokens",) * count, ids, ids.copy(), latents, None)


def _pipeline(run: Run) -> Path:
    """The pipeline's folder: the package's own, the user's, or fetched."""
    if run.workload.variant is Variant.TINY:
        return tiny.pipeline()
    return run.fetch(benchmarks.SDXL)


def read_latents(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The fixed latents.

    Raises:
        IntegrityError: they are none, or for images of another size.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise IntegrityError(
            f"the latents cannot be read: {problem}",
            where=str(path),
            remedy="give the reference's latents.npy",
        ) from problem
    if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
        raise IntegrityError(
            f"the latents are {found.dtype} {list(found.shape)}, and images of {8 * shape[-1]} "
            f"pixels start from float32 {list(shape)}",
            where=str(path),
            remedy="give the reference's latents.npy",
        )
    latents: npt.NDArray[np.float32] = found
    return latents


def _require_whole(run: Run, texts: list[str], where: Path) -> None:
    """Refuse captions that are not the variant's: all of them, in their order."""
    tiny_one = run.workload.variant is Variant.TINY
    wanted = tiny.SAMPLES if tiny_one else run.rules.dataset_size
    fault = None
    if len(texts) != wanted:
        fault = f"the data set has {len(texts)} captions, and the rules ask for {wanted}"
    elif not tiny_one and captions.digest(texts) != benchmarks.CAPTIONS_DIGEST:
        fault = "the captions are others than the reference's, or in another order"
    if fault:
        raise IntegrityError(
            fault,
            where=str(where),
            remedy="set benchmark.data_path to the folder of the reference's captions.tsv, or "
            "leave it out",
        )


def _tokens(
    run: Run, source: Path, texts: list[str], pipeline: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ids of captions and, in the last row, of the negative prompt; of both tokenizers."""
    folders = [pipeline / name for name in TOKENIZERS]
    made = [ClipTokenizer.of_folder(folder) for folder in folders]

    def make(directory: Path) -> None:
        for tokenizer, name in zip(made, TOKENIZERS, strict=True):
            rows = tokenizer.rows([*texts, benchmarks.NEGATIVE_PROMPT])
            np.save(directory / f"{name}.npy", rows)

    inputs = {
        "captions": sha256_of(source),
        "negative_prompt": benchmarks.NEGATIVE_PROMPT,
        **{
            f"{folder.name}/{name}": sha256_of(folder / name)
            for folder in folders
            for name in _FILES
        },
    }
    artifact = run.store.build(
        "preprocessed_data", _ARTIFACT, inputs, make, announce=run.events.step
    )
    first, second = (np.load(artifact.path / f"{name}.npy") for name in TOKENIZERS)
    return first, second
