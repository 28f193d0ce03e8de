"""The child process of a run: ``python -m mlpinf_core.loadgen.child TASK DIRECTORY EVENTS``.

Every test has a process of its own, because LoadGen keeps process-wide state, dies of an exception
in a callback and cannot be interrupted. Tasks:

``prepare``
    data set, preprocessing and engine, so that later runs find them.
``measure``
    how fast the SUT is: short tests, growing until one is long enough.
``execute``
    the test itself.
``score``
    the accuracy of a finished accuracy run.
``serve``
    which servers to start; builds what they serve.

The child reads ``run.json`` in ``DIRECTORY``, writes events to the descriptor ``EVENTS``, ends with
the exit code of its error, and ends at once when its standard input does: its parent is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core import events as ev
from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.binding import Binding, bind_process
from mlpinf_core.config import dump
from mlpinf_core.context import Run
from mlpinf_core.errors import BackendError, ConfigurationError, ExitCode, MlpinfError
from mlpinf_core.events import EventWriter
from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.loadgen.lifetime import closing, end_with_parent, thread_died
from mlpinf_core.plugins import Plugins
from mlpinf_core.record import FILE_NAME, read_json
from mlpinf_core.rules import load_round
from mlpinf_core.scratch import Scratch
from mlpinf_core.servers import ServeOptions
from mlpinf_core.vocabulary import Mode, Scenario, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.loadgen.responder import Progress, Responder
    from mlpinf_core.loadgen.session import Session
    from mlpinf_core.protocols import Backend, Samples

log = logging.getLogger(__name__)

SERVE_FILE: Final = "serve.json"
"""The options of the task ``serve``, in the run directory."""
_FIRST_MEASURED: Final = 64
"""Least samples of the first measured test; in a stream, where it takes longer, a few queries."""
_FIRST_STREAMED: Final = 4
_BURST_QPS: Final = 1e6
"""Server queries of a measured test are due all at once, so that the SUT is the limit."""
_GROWTH: Final = 50
"""Most that a measured test is longer than the one before."""


class Child:
    """A run in its own process."""

    def __init__(self, directory: Path, events: EventWriter) -> None:
        """Read what is to be done from ``run.json``."""
        record = read_json(directory / FILE_NAME)
        workload = Workload.from_dict(record["workload"])
        self._plugins = Plugins.from_environment()
        benchmark = self._plugins.benchmark(workload.benchmark)
        config = dump.from_dict(
            record["config"],
            benchmark_settings=benchmark.settings,
            backend_settings=lambda name: self._plugins.backend(benchmark.name, name).settings,
        )
        self._bound = Binding()
        if config.run.cpus or config.run.memory_nodes:
            # Before anything is imported whose threads would stay where they began.
            self._bound = bind_process(config.run.cpus, config.run.memory_nodes)
            events.emit(ev.BINDING, **self._bound.to_dict())
            if self._bound.not_applied:
                events.note(f"not bound: {self._bound.not_applied}")
        scratch = Scratch(Path(record["scratch"]))
        self._events = events
        self._session: Session | None = None
        self._concurrency = 1
        self._run = Run(
            workload=workload,
            mode=Mode(record["mode"]),
            config=config,
            rules=load_round(workload.round).rules_of(benchmark.name, benchmark.rules),
            benchmark=benchmark,
            scratch=scratch,
            store=ArtifactStore(scratch),
            directory=directory,
            events=events,
        )

    # -- tasks -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make everything that later runs need."""
        self._backend(self._samples())
        self._events.emit(
            ev.RESULT,
            artifacts=[
                {"path": str(one.path), "built": one.built} for one in self._run.store.handed_out
            ],
        )

    def serve(self) -> None:
        """Find out which servers to start, and build what they serve."""
        options = ServeOptions.from_dict(read_json(self._run.directory / SERVE_FILE))
        self._events.phase("preparing")
        specs = self._hook("servers", run=self._run, options=options)
        self._events.emit(ev.RESULT, servers=[spec.to_dict() for spec in specs])

    def score(self) -> None:
        """Score the accuracy log in the run directory."""
        from mlpinf_core.logs.accuracy import AccuracyLog
        from mlpinf_core.protocols import NotGraded

        samples = self._samples()
        self._events.phase("scoring")
        accuracy_log = AccuracyLog.read(self._run.directory / "mlperf_log_accuracy.json")
        if self._run.config.loadgen.total_sample_count is not None:
            accuracy_log = accuracy_log.folded(len(samples))
        scores = self._hook("check_accuracy", run=self._run, samples=samples, log=accuracy_log)
        plain = {
            str(metric): value.to_dict() if isinstance(value, NotGraded) else float(value)
            for metric, value in scores.items()
        }
        self._events.emit(ev.RESULT, scores=plain)

    def execute(self) -> None:
        """Run the test."""
        with self._ready() as (total, responder, test):
            self._events.phase("running")
            tested = test(None, self._run.directory)
            self._report(responder, seconds=tested.seconds, sample_count=total)

    def measure(self) -> None:
        """Find the rate: tests that grow until one takes ``run.measure_seconds``."""
        wanted = self._run.config.run.measure_seconds
        stream = self._run.workload.scenario.is_stream
        with self._ready() as (total, responder, test):
            self._events.phase("measuring")
            count = _FIRST_STREAMED if stream else max(_FIRST_MEASURED, self._concurrency)
            while True:
                before = responder.progress()
                tested = test(count, self._run.directory)
                done = tested.progress.completed - before.completed
                if tested.seconds >= wanted or responder.failures():
                    break
                ratio = 1.2 * wanted / max(tested.seconds, 1e-6)
                count = int(count * min(max(ratio, 1.5), _GROWTH))
            queries = count if stream else done
            rate = queries / tested.seconds
            self._report(responder, seconds=tested.seconds, sample_count=total, rate=rate)

    # -- parts -----------------------------------------------------------------------------------

    def _hook(self, name: str, **arguments: Any) -> Any:
        return self._plugins.call_five(
            name, self._run.benchmark.name, self._run.config.run.backend, **arguments
        )

    def _blaming(self, step: str) -> contextlib.AbstractContextManager[None]:
        """Name the backend's plugin in whatever its method raises."""
        return self._plugins.blaming(step, self._run.benchmark.name, self._run.config.run.backend)

    def _blamed(self, step: str, method: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            with self._blaming(step):
                method()

        return call

    def _samples(self) -> Samples:
        self._events.phase("preparing")
        # What the backend lacks is told before anything is fetched or built for it.
        self._plugins.backend(self._run.benchmark.name, self._run.config.run.backend).require()
        dataset = self._hook("dataset", run=self._run)
        samples: Samples = self._hook("preprocess", run=self._run, dataset=dataset)
        if len(samples) == 0:
            raise BackendError(f"{self._run.benchmark.name} has no samples", where="preprocess")
        return samples

    def _backend(self, samples: Samples) -> Backend:
        backend: Backend = self._hook("build_backend", run=self._run, samples=samples)
        return backend

    def _total(self, samples: Samples) -> int:
        """How many samples LoadGen is told of: the data set's, or more of the same."""
        total = self._run.config.loadgen.total_sample_count
        if total is not None and total < len(samples):
            raise ConfigurationError(
                f"loadgen.total_sample_count is {total:,}, and the data set has {len(samples):,}",
                where="loadgen.total_sample_count",
                remedy="leave it unset, or set it to at least as many",
            )
        return total or len(samples)

    @contextlib.contextmanager
    def _ready(self) -> Iterator[tuple[int, Responder, Callable[..., Any]]]:
        """Everything up to the test, and its teardown: how many samples, who answers, the test."""
        from mlpinf_core.loadgen import settings as loadgen_settings
        from mlpinf_core.loadgen.responder import Responder
        from mlpinf_core.loadgen.session import Session

        run = self._run
        samples = self._samples()
        backend = self._backend(samples)
        total = self._total(samples)
        prepared = loadgen_settings.prepare(run, total)
        loadgen_settings.check_memory(run, prepared.test_settings)
        with closing(self._blamed("Backend.close", backend.close)):
            self._events.phase("loading")
            with self._blaming("Backend.load"):
                backend.load()
            if run.config.run.warmup:
                self._events.phase("warming up")
                with self._blaming("Backend.warm_up"):
                    backend.warm_up()
            responder = Responder(
                token_latencies=prepared.test_settings.use_token_latencies,
                first_tokens=prepared.test_settings.use_token_latencies
                and run.workload.scenario is not Scenario.OFFLINE,
                dtype=run.benchmark.response_dtype,
                on_failure=self._failed,
            )
            run.responder = responder
            threading.excepthook = lambda args: thread_died(responder, args)
            sut = self._hook("make_sut", run=run, backend=backend, samples=samples)
            concurrency = getattr(sut, "concurrency", None)
            self._concurrency = concurrency or 1
            self._events.emit(
                ev.SETTINGS,
                model=prepared.model,
                loadgen_version=prepared.loadgen_version,
                embedded_round=prepared.embedded_round,
                seeds_enforced=prepared.seeds_enforced,
                user_conf=prepared.user_conf,
                concurrency=concurrency,
            )
            if run.config.sut.worker_cpus:
                self._tell_of_workers(sut)
            session = self._session = Session(
                responder,
                sut,
                samples,
                on_progress=self._progress,
                on_stuck=lambda: self._give_up(responder),
            )

            def test(count: int | None, directory: Path) -> Any:
                settings = prepared.test_settings
                if count is not None:
                    settings.min_query_count = settings.max_query_count = count
                    settings.min_duration_ms = 0
                    settings.offline_expected_qps = 0
                    settings.server_target_qps = _BURST_QPS
                    if hasattr(settings, "sample_concatenate_permutation"):
                        # It would make of a few samples the whole data set; 5.1.2 does not bind it.
                        settings.sample_concatenate_permutation = False
                return session.test(settings, directory, total)

            with closing(self._blamed("Sut.close", sut.close)):
                yield total, responder, test

    def _tell_of_workers(self, sut: Any) -> None:
        """Tell what the SUT's workers are bound to, or that it has none to be bound."""
        if worker_cpus := getattr(sut, "worker_cpus", ()):
            self._events.emit(ev.BINDING, worker_cpus=list(worker_cpus))
            return
        refused = f"sut.worker_cpus: {type(sut).__name__} has no workers that could be bound"
        told = "; ".join(filter(None, (self._bound.not_applied, refused)))
        self._events.emit(ev.BINDING, not_applied=told)
        self._events.note(f"not bound: {refused}; run.cpus binds the whole process")

    def _progress(self, progress: Progress) -> None:
        self._events.emit(
            ev.PROGRESS,
            issued=progress.issued,
            completed=progress.completed,
            failed=progress.failed,
            tokens=progress.tokens,
            busy=self._session is not None and self._session.busy,
        )

    def _failed(self, failure: Failure, error: BaseException | None) -> None:
        """The first failure of a kind: tell, and stop where the user wants that."""
        log.error("%s: %s", failure.code, failure.message, exc_info=error)
        self._events.emit(ev.FAILURE, code=failure.code, message=failure.message, count=None)
        if self._run.responder.aborted:
            if self._session is not None:
                self._session.aborted()
        elif self._run.config.run.stop_on_error:
            stopped = "the test was stopped at its first failure"
            self._run.responder.abort(Failure("aborted", stopped))

    def _report(self, responder: Responder, **fields: Any) -> None:
        for failure, count in responder.failures().items():
            self._events.emit(ev.FAILURE, code=failure.code, message=failure.message, count=count)
        self._events.emit(ev.RESULT, **fields)

    def _give_up(self, responder: Responder) -> None:
        """End the process although LoadGen has not returned."""
        self._report(responder, seconds=None, sample_count=None)
        self._events.emit(
            ev.ERROR,
            type="RunError",
            what="the test was aborted, and LoadGen did not end by itself",
            where=str(self._run.directory),
            remedy="mend the first failure",
            exit_code=int(ExitCode.FAILED),
        )
        logging.shutdown()
        os._exit(ExitCode.FAILED)


def main(arguments: list[str]) -> int:
    """Run a task; returns the exit code."""
    task, directory, descriptor = arguments[0], Path(arguments[1]), int(arguments[2])
    os.set_inheritable(descriptor, False)
    logging.basicConfig(
        level=logging.DEBUG if os.environ.get("MLPINF_DEBUG") else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    events = EventWriter(descriptor)
    end_with_parent()
    started = time.perf_counter()
    try:
        getattr(Child(directory, events), task)()
    except BaseException as error:  # a plugin may call sys.exit() as well
        known = error if isinstance(error, MlpinfError) else None
        log.log(logging.DEBUG if known else logging.ERROR, "%s failed", task, exc_info=True)
        code = known.exit_code if known else ExitCode.FAILED
        events.emit(
            ev.ERROR,
            type=type(error).__name__,
            what=known.what if known else f"{type(error).__name__}: {error}",
            where=known and known.where,
            remedy=known.remedy if known else "run again with -v for the traceback",
            exit_code=int(code),
            traceback=traceback.format_exc(),
        )
        return code
    log.info("%s took %.1f s", task, time.perf_counter() - started)
    return ExitCode.OK


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    # Threads of engines may outlive everything; what there was to write has been written.
    os._exit(code)
