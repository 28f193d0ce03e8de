"""What a run's files and generation settings are: the official ones, or the tiny variant's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.hashing import HashMemory
from mlpinf_core.vocabulary import Variant
from mlpinf_llm import tiny
from mlpinf_llm.benchmarks import data_name
from mlpinf_llm.dataset import DataFile
from mlpinf_llm.official import OFFICIAL

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_llm.benchmarks import LlmSettings
    from mlpinf_llm.generation import Generation
    from mlpinf_llm.layout import Layout
    from mlpinf_llm.official import Official, OfficialData

_HASHES: Final = ".llm-data.sha256.json"


def is_full(run: Run) -> bool:
    """Whether it is the rules' model and data."""
    return run.workload.variant is Variant.FULL


def official(run: Run) -> Official:
    """The full benchmark of a run."""
    return OFFICIAL[run.benchmark.name]


def generation(run: Run) -> Generation:
    """How answers are generated; the cap is the configuration's."""
    if is_full(run):
        return official(run).generation
    return tiny.GENERATION[data_name(run.benchmark.name)]


def data_file(run: Run) -> DataFile:
    """The data set's file, found and checked by its checksum, not yet read.

    Raises:
        PrerequisiteError: it is not there; says how to get it and where to put it.
        IntegrityError: it is there, and is another file.
    """
    if is_full(run):
        _check_grading(run.config.benchmark)
        return official_file(run, official(run).data)
    benchmark = tiny.BENCHMARKS[data_name(run.benchmark.name)]
    path = tiny.data_path(benchmark.file)
    return _file(run, path, benchmark.layout, "install mlpinf-llm again")


def official_file(run: Run, data: OfficialData) -> DataFile:
    """An official file, found and checked by its checksum where one is published.

    Raises:
        PrerequisiteError: it is not there; says how to get it and where to put it.
        IntegrityError: it is there, and is another file.
    """
    return _file(run, run.fetch(data.source), data.layout, data.remedy)


def tokenizer(run: Run) -> Path:
    """The folder of the model's tokenizer.

    Raises:
        PrerequisiteError: it is not there; says how to get it and where to put it.
    """
    if not is_full(run):
        from mlpinf_llm import ct2

        return ct2.build(run)
    settings: LlmSettings = run.config.benchmark
    if settings.model_path is not None and settings.tokenizer_path is None:
        return settings.model_path
    return run.fetch(official(run).tokenizer)


def _check_grading(settings: LlmSettings) -> None:
    """Refuse before the test what would only come up when its answers are graded."""
    if settings.grade_code and not (
        settings.code_tests_path and settings.code_tests_path.is_file()
    ):
        raise PrerequisiteError(
            "benchmark.grade_code is set, and benchmark.code_tests_path leads to no file",
            where=str(settings.code_tests_path),
            remedy="give LiveCodeBench's test.jsonl (code_generation_lite, release_v1)",
        )


def _file(run: Run, path: Path, layout: Layout, remedy: str) -> DataFile:
    memory = HashMemory(run.scratch.data / _HASHES)
    return DataFile(path, layout, memory.sha256(path), remedy)
