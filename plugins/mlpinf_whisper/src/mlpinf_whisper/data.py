"""The data set of a run: found, or fetched, and packed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core import downloads
from mlpinf_core.errors import ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.hashing import JSON, HashMemory, digest
from mlpinf_core.scratch import discard
from mlpinf_core.vocabulary import Variant
from mlpinf_whisper import benchmarks, librispeech, manifest, packing, tiny
from mlpinf_whisper.files import checksums
from mlpinf_whisper.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlpinf_core.benchmark import Source
    from mlpinf_core.context import Run
    from mlpinf_whisper.librispeech import Utterance

_FULL: Final = "whisper-dev-all-repack"
_TINY: Final = "whisper-tiny-repack"
_SETTING: Final = "benchmark.data_path"


def dataset(run: Run) -> Manifest:
    """The samples of the run's variant, packed; what is there already is used.

    ``benchmark.data_path`` of the full variant is a folder with one of: a packed data set (ours or
    the reference's), an unpacked LibriSpeech, LibriSpeech's two archives. Without it the archives
    are fetched.

    Raises:
        ConfigurationError: a path was given for the tiny variant.
        PrerequisiteError: the data is not to be had, or something is wrong with it.
    """
    path: Path | None = run.config.benchmark.data_path
    if run.workload.variant is Variant.TINY:
        if path is not None:
            raise ConfigurationError(
                "the tiny variant brings its own data",
                where=f"{_SETTING} = {path}",
                remedy=f"leave {_SETTING} out, or run the full variant",
            )
        return _from_clips(run, _TINY, tiny.utterances())
    found = _from_archives(run, None) if path is None else _from_folder(run, path)
    _require_size(run, len(found), path or found.path)
    return found


def _require_size(run: Run, found: int, where: Path) -> None:
    """Refuse what is not all of the data set."""
    wanted = run.rules.dataset_size
    if found != wanted:
        raise IntegrityError(
            f"the data set has {found} samples, and the rules ask for {wanted}",
            where=str(where),
            remedy=f"set {_SETTING} to all of {' and '.join(librispeech.PARTS)}, or leave it out",
        )


def _from_folder(run: Run, folder: Path) -> Manifest:
    """Whatever the user has."""
    if (folder / manifest.NAME).is_file():
        return Manifest.read(folder / manifest.NAME)
    if parts := librispeech.find_parts(folder):
        return _from_clips(run, _FULL, librispeech.scan(parts), folder)
    if any((folder / source.name).is_file() for source in _archives()):
        return _from_archives(run, folder)
    fault = "the folder of the data set is missing"
    if folder.is_dir():
        wanted = (manifest.NAME, *librispeech.PARTS, *(source.name for source in _archives()))
        fault = f"no data set is there; looked for {', '.join(wanted)}"
    raise PrerequisiteError(
        fault,
        where=str(folder),
        remedy=f"set {_SETTING} to the folder that holds it, or leave it out to have it fetched",
    )


def _from_clips(
    run: Run, name: str, utterances: Sequence[Utterance], whole: Path | None = None
) -> Manifest:
    """Clips known by what they hold, not by where they lie; each is hashed once.

    Where ``whole`` says what folder is to be all of the data set, that is seen before any of it is
    packed.
    """
    memory = HashMemory(run.scratch.preprocessed_data / f".{name}.sha256.json")
    hashes = checksums(memory, {utterance.path for utterance in utterances})
    clips = [[one.name, hashes[one.path], one.transcript] for one in utterances]

    def make(directory: Path) -> None:
        if whole is not None:
            _require_size(run, packing.count(utterances), whole)
        _pack(run, utterances, directory)

    return _packed(run, name, {"clips": digest(clips)}, make)


def _from_archives(run: Run, folder: Path | None) -> Manifest:
    """LibriSpeech's archives, in a folder or fetched; needed only until they are packed."""

    def make(directory: Path) -> None:
        unpacked = directory / "unpacked"
        try:
            for source in _archives():
                archive = _archive(run, source, folder)
                librispeech.extract(archive, unpacked, _reporter(run, f"unpacking {source.name}"))
            parts = librispeech.find_parts(unpacked)
            _pack(run, librispeech.scan(parts), directory)
        finally:
            discard(unpacked)

    inputs: Mapping[str, JSON] = {source.name: source.sha256 for source in _archives()}
    return _packed(run, _FULL, {"archives": inputs}, make)


def _archives() -> tuple[Source, ...]:
    return (benchmarks.DEV_CLEAN, benchmarks.DEV_OTHER)


def _archive(run: Run, source: Source, folder: Path | None) -> Path:
    if folder is None:
        return run.fetch(source)
    return downloads.fetch(source, run.scratch, local=folder / source.name)


def _pack(run: Run, utterances: Sequence[Utterance], directory: Path) -> None:
    packing.pack(utterances, directory, _reporter(run, "packing clips"))


def _reporter(run: Run, text: str) -> Callable[[int, int], None]:
    return lambda done, total: run.events.step(text, done, total)


def _packed(
    run: Run, name: str, inputs: Mapping[str, JSON], make: Callable[[Path], None]
) -> Manifest:
    """A packed data set, made once."""
    key = {**inputs, "packing": packing.VERSION}
    artifact = run.store.build("preprocessed_data", name, key, make, announce=run.events.step)
    return Manifest.read(artifact.path / manifest.NAME)
