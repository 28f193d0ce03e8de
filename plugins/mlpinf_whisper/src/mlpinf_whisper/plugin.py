"""The hooks of the speech recognition benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.hookspecs import hookimpl
from mlpinf_whisper import benchmarks as declared

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpinf_core.benchmark import BackendInfo, Benchmark
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import Sut
    from mlpinf_whisper.manifest import Manifest
    from mlpinf_whisper.samples import AudioSamples
    from mlpinf_whisper.staged import StagedBackend

_FEATURE_SHARE: Final = 16
"""Batches decoded at the same time that one thread makes features for, with room to spare: even the
tiny model takes some 80 times as long for a clip as its features do."""


@hookimpl
def benchmarks() -> Sequence[Benchmark]:
    """Whisper."""
    return [declared.benchmark()]


@hookimpl
def backends() -> Sequence[BackendInfo]:
    """CTranslate2 and PyTorch."""
    return declared.all_backends()


@hookimpl
def dataset(run: Run) -> Manifest:
    """The clips, packed to at most 30 s, and their transcripts."""
    from mlpinf_whisper import data

    return data.dataset(run)


@hookimpl
def preprocess(run: Run, dataset: Manifest) -> AudioSamples:
    """The clips' waveforms, checked, in the manifest's order."""
    from mlpinf_whisper import samples

    return samples.preprocessed(run, dataset)


@hookimpl
def build_backend(run: Run, samples: AudioSamples) -> StagedBackend | None:
    """The backend that was chosen, its model folder ready."""
    from mlpinf_whisper import engines

    if run.config.run.backend == declared.CTRANSLATE2:
        from mlpinf_whisper import ct2

        return ct2.make(run, samples, engines.ctranslate2_folder(run))
    if run.config.run.backend == declared.TORCH:
        from mlpinf_whisper import torch_backend

        return torch_backend.make(run, samples, engines.hugging_face_folder(run))
    return None  # another distribution's backend is its own hook's business


@hookimpl
def make_sut(run: Run, backend: StagedBackend, samples: AudioSamples) -> Sut:
    """A pipeline: features of the next batch and text of the last one while this one is decoded."""
    from mlpinf_core.suts.inline import InlineSut
    from mlpinf_core.suts.ordering import longest_first
    from mlpinf_core.suts.pipeline import PipelineSut, Stage
    from mlpinf_core.vocabulary import Scenario

    settings = run.config.sut
    scenario = run.workload.scenario
    if scenario.is_stream:  # one query at a time: there is nothing to overlap it with
        return InlineSut(run.responder, backend.infer, max_batch_size=settings.max_batch_size)
    stages = [
        Stage("features", backend.features, workers=1 + backend.replicas // _FEATURE_SHARE),
        Stage("decode", backend.generate, workers=backend.replicas),
        Stage("text", backend.outputs),
    ]
    # What is said takes as long as it is: clips of one length end together.
    order = longest_first(samples.lengths) if scenario is Scenario.OFFLINE else None
    return PipelineSut(run.responder, stages, settings, order=order)


@hookimpl
def check_accuracy(samples: AudioSamples, log: AccuracyLog) -> Mapping[str, float]:
    """The word error rate against the manifest's transcripts."""
    from mlpinf_whisper import accuracy

    return accuracy.score(samples, log)
