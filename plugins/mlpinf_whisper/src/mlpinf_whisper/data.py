"""The data set of a run: found, or fetched, and packed once."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Final

from mlpinf_core.hashing import JSON, digest, sha256_of
from mlpinf_whisper import manifest, packing, tiny
from mlpinf_whisper.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_whisper.librispeech import Utterance

_FULL: Final = "whisper-dev-all-repack"
_TINY: Final = "whisper-tiny-repack"


def dataset(run: Run) -> Manifest:
    """The samples of the run's variant, packed.

    Raises:
        PrerequisiteError: the data is not to be had, or something is wrong with it.
    """
    return _tiny(run)  # the full data set follows


def _tiny(run: Run) -> Manifest:
    utterances = tiny.utterances()
    clips = {utterance.path.name: sha256_of(utterance.path) for utterance in utterances}
    said = [[utterance.name, utterance.path.name, utterance.transcript] for utterance in utterances]
    inputs: Mapping[str, JSON] = {"clips": clips, "chapters": digest(said)}
    return _packed(run, _TINY, inputs, lambda directory: _pack(run, utterances, directory))


def _pack(run: Run, utterances: Sequence[Utterance], directory: Path) -> None:
    def progress(done: int, total: int) -> None:
        run.events.step("packing clips", done, total)

    packing.pack(utterances, directory, progress)


def _packed(
    run: Run, name: str, inputs: Mapping[str, JSON], make: Callable[[Path], None]
) -> Manifest:
    """A packed data set, made once."""
    key = {
        **inputs,
        "packing": packing.VERSION,
        "soundfile": importlib.metadata.version("soundfile"),  # brings the libsndfile that rounds
    }
    artifact = run.store.build("preprocessed_data", name, key, make, announce=run.events.step)
    return Manifest.read(artifact.path / manifest.NAME)
