"""VALID or INVALID, with every cause and what to change."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import LogError
from mlpinf_core.logs import reasons
from mlpinf_core.logs.cause import Cause
from mlpinf_core.logs.notes import notes_of_any_run, notes_of_performance
from mlpinf_core.rules import load_round
from mlpinf_core.vocabulary import Mode, Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlpinf_core.config.schema import Config
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.logs.detail import DetailLog
    from mlpinf_core.rules.model import BenchmarkRules
    from mlpinf_core.vocabulary import Workload

__all__ = ["Cause", "Verdict", "judge_accuracy_run", "judge_performance"]

SHOWN: Final = 5
"""Samples named in a message."""


@attrs.frozen
class Verdict:
    """What came of a run.

    Attributes:
        valid: whether there is no cause against it.
        causes: every reason for which it is INVALID.
        notes: what else to know: mostly, why a valid run could not be submitted as it is.
    """

    valid: bool
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, causes: Sequence[Cause], notes: Sequence[str] = ()) -> Verdict:
        """Valid if there are no causes; equal causes count once."""
        return cls(not causes, tuple(dict.fromkeys(causes)), tuple(dict.fromkeys(notes)))

    def __str__(self) -> str:
        """``VALID`` or ``INVALID``."""
        return "VALID" if self.valid else "INVALID"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "valid": self.valid,
            "causes": [cause.to_dict() for cause in self.causes],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_dict`."""
        return cls(
            valid=bool(data["valid"]),
            causes=tuple(Cause.from_dict(cause) for cause in data["causes"]),
            notes=tuple(str(note) for note in data["notes"]),
        )


def judge_performance(
    detail: DetailLog | LogError,
    *,
    workload: Workload,
    config: Config,
    rules: BenchmarkRules,
    sample_count: int,
    failures: Sequence[Cause] = (),
    notes: Sequence[str] = (),
    concurrency: int | None = None,
    by_result: bool = True,
) -> Verdict:
    """Judge a performance run; never raises for what is in the log.

    Seeds and durations are held against the round that the workload names.

    Args:
        detail: LoadGen's detail log, or the error that reading it raised.
        workload: what was to be run.
        config: how; the batch size and the workers go into the estimate of a passing rate.
        rules: the benchmark's, in the round.
        sample_count: samples in the data set of the variant that was run.
        failures: what the run itself saw go wrong (failed queries, a crash, an interruption).
        notes: what the caller has to add (a wheel of another round, say).
        concurrency: most samples that the SUT computes at the same time, where it told; None means
            what ``sut.max_batch_size`` and ``sut.workers`` say.
        by_result: whether it has to be long enough, fast enough and called VALID by LoadGen; a
            compliance test may ask only that it came to its end without errors.
    """
    causes = list(failures)
    least = load_round(workload.round).min_duration_s
    if isinstance(detail, LogError):
        return Verdict.of([*causes, _unreadable("detail-log", detail)], notes)
    causes += _causes_of_any_run(detail, workload, Mode.PERFORMANCE)
    more = [*notes, *notes_of_performance(detail, workload, rules, least)]
    if detail.finished and by_result:
        concurrency = concurrency or config.sut.max_batch_size * config.sut.workers
        try:
            causes += _causes_of_performance(detail, workload.scenario, concurrency, sample_count)
            if not causes and workload.scenario.is_poisson:
                with contextlib.suppress(ArithmeticError, ValueError):  # it is only advice
                    more += reasons.room(detail, concurrency)
        except LogError as error:
            causes.append(_unreadable("log-incomplete", error))
    return Verdict.of(causes, more)


def judge_accuracy_run(
    detail: DetailLog | LogError,
    log: AccuracyLog | LogError,
    *,
    workload: Workload,
    rules: BenchmarkRules,
    sample_count: int,
    failures: Sequence[Cause] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Judge whether an accuracy run is complete; what it scores is another question.

    Every sample of the data set must have one answer. In MultiStream, LoadGen pads the last query
    with samples it has issued before; as many duplicates as that makes are let pass.

    Args:
        detail: LoadGen's detail log, or the error that reading it raised.
        log: its accuracy log, or the error that reading it raised.
        workload: what was to be run.
        rules: the benchmark's, in the round.
        sample_count: samples in the data set of the variant that was run.
        failures: what the run itself saw go wrong.
        notes: what the caller has to add.
    """
    causes, more = list(failures), list(notes)
    padding = 0
    if isinstance(detail, LogError):
        causes.append(_unreadable("detail-log", detail))
    else:
        causes += _causes_of_any_run(detail, workload, Mode.ACCURACY)
        more += notes_of_any_run(detail, workload)
        if workload.scenario is Scenario.MULTI_STREAM:
            sets = detail.counts.get("loaded_qsl_set", 1)
            query = detail.get("effective_samples_per_query", 1)
            padding = sets * (query - 1) if isinstance(query, int) else 0
        # A run that died before it could say has the number from LoadGen all the same.
        sample_count = sample_count or detail.get("qsl_reported_total_count", 0)
    if isinstance(log, LogError):
        causes.append(_unreadable("accuracy-log", log))
    else:
        causes += _causes_of_answers(log, sample_count, padding)
    if workload.variant is Variant.FULL and sample_count != rules.dataset_size:
        more.append(
            f"not submittable: {sample_count:,} samples, and the round's data set has "
            f"{rules.dataset_size:,}"
        )
    return Verdict.of(causes, more)


def _unreadable(code: str, error: LogError) -> Cause:
    where = f" ({error.where})" if error.where else ""
    return Cause(code, f"{error.what}{where}", error.remedy)


def _causes_of_any_run(detail: DetailLog, workload: Workload, mode: Mode) -> Iterator[Cause]:
    if not detail.finished:
        yield Cause("log-incomplete", "LoadGen did not finish its test: its detail log breaks off")
    wanted = {
        "effective_scenario": workload.scenario.loadgen_name,
        "effective_test_mode": "AccuracyOnly" if mode is Mode.ACCURACY else "PerformanceOnly",
    }
    for key, value in wanted.items():
        found = detail.get(key, value)
        if found != value:
            yield Cause("wrong-test", f"LoadGen ran {key} {found!r}, not {value!r}")
    yield from reasons.error_lines(detail)
    for name, seed in attrs.asdict(load_round(workload.round).seeds).items():
        found = detail.get(f"effective_{name}")
        if found is not None and found != seed:
            yield Cause(
                "seeds",
                f"{name} was {found}, and round {workload.round} has {seed}",
                "run with the round's seeds (no audit.config in LoadGen's working directory), "
                "or choose the round that has these with --round",
            )


def _causes_of_performance(
    detail: DetailLog, scenario: Scenario, concurrency: int, sample_count: int
) -> Iterator[Cause]:
    known = False
    if not detail.flag("result_min_duration_met"):
        known = True
        yield reasons.too_short(detail, scenario)
    if not detail.flag("result_min_queries_met"):
        known = True
        yield reasons.too_few(detail)
    if not detail.get("result_perf_constraints_met", True):
        known = True
        yield from reasons.latency_missed(detail, concurrency)
    if not detail.flag("early_stopping_met"):
        known = True
        yield reasons.not_proven(detail, scenario, concurrency)
    validity = detail.text("result_validity")
    if validity != "VALID" and not known:
        reason = str(detail.get("result_invalid_reason", "")).strip()
        yield Cause("loadgen-invalid", f"LoadGen calls the run {validity}: {reason or 'no reason'}")
    if scenario is Scenario.OFFLINE:
        issued = detail.integer("result_query_count") * detail.integer(
            "generated_samples_per_query"
        )
        if issued < sample_count:
            yield Cause(
                "offline-samples",
                f"Offline issued {issued:,} samples, fewer than the data set's {sample_count:,}",
                f"set loadgen.min_query_count to {sample_count}",
            )


def _causes_of_answers(log: AccuracyLog, sample_count: int, padding: int) -> Iterator[Cause]:
    missing = log.missing(sample_count)
    if missing.size:
        yield Cause(
            "missing-answers",
            f"{missing.size:,} of {sample_count:,} samples have no answer: {_some(missing)}",
        )
    duplicates = log.duplicates()
    if len(log) - log.first_entries().size > padding:
        yield Cause(
            "duplicate-answers",
            f"{duplicates.size:,} samples have more than one answer: {_some(duplicates)}",
        )
    unknown = log.unknown(sample_count)
    if unknown.size:
        yield Cause(
            "unknown-answers",
            f"{unknown.size:,} answers are to samples that the data set does not have: "
            f"{_some(unknown)}",
        )


def _some(samples: Any) -> str:
    shown = ", ".join(str(sample) for sample in samples[:SHOWN].tolist())
    return f"{shown}, ..." if samples.size > SHOWN else shown
