"""Scoring an accuracy log of the text to image benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpinf_core.vocabulary import Variant
from mlpinf_sdxl import compliance
from mlpinf_sdxl.answers import Answers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import NotGraded
    from mlpinf_sdxl.samples import CaptionSamples


def score(run: Run, samples: CaptionSamples, log: AccuracyLog) -> Mapping[str, float | NotGraded]:
    """The metrics of the run's variant; saves the images that a submission shows.

    Raises:
        AccuracyError: the log holds something other than images of the data set's samples.
        PrerequisiteError: a file that scoring the full variant needs is missing.
        IntegrityError: such a file is not what it should be.
    """
    answers = Answers.of(samples, log)
    compliance.save(
        answers,
        samples,
        run.directory / compliance.FOLDER,
        compliance.indices_of(run.workload.round),
        run.config.loadgen.total_sample_count,
    )
    if run.workload.variant is Variant.TINY:
        from mlpinf_sdxl import adherence

        return adherence.score(answers, samples.captions)
    from mlpinf_sdxl.fidelity import score as score_fidelity

    return score_fidelity(answers, samples.captions, run.config.benchmark.scoring_path)
