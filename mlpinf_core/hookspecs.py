"""The hooks: everything that a plugin may implement, with its contract.

A benchmark is five hooks: :func:`dataset`, :func:`preprocess`, :func:`build_backend`,
:func:`make_sut` and :func:`check_accuracy`. The other hooks declare what a plugin offers, and tell
it what happens.

The five are called for the plugin that owns the benchmark (``build_backend``: the one that offers
the backend), and for hook wrappers of *every* plugin, so that a third party can measure or log
around any of them. All five run in the child process of a run; a plugin may import whatever is
heavy inside them, and must not import it before.

What a hook raises ends the run: an error of :mod:`mlpinf_core.errors` is shown as it is, anything
else as a failure of the plugin, with the plugin, its distribution, its version and the hook named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpinf_core.benchmark import BackendInfo, Benchmark
    from mlpinf_core.context import Run
    from mlpinf_core.logs.accuracy import AccuracyLog
    from mlpinf_core.protocols import Backend, NotGraded, Samples, Sut
    from mlpinf_core.servers import ServeOptions, ServerSpec

PROJECT = "mlpinf"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's functions as hooks; ``@hookimpl(wrapper=True)`` makes a wrapper."""


@hookspec
def benchmarks() -> Sequence[Benchmark]:  # type: ignore[empty-body]
    """Offer benchmarks.

    When: once, when plugins are loaded; in every process that needs to know them. Keep it cheap.

    Returns:
        The benchmarks this distribution owns. A name that another plugin also offers is refused
        for both.

    Raises:
        Anything: the plugin is graded as broken and left out.

    Example::

        @hookimpl
        def benchmarks():
            tiny = VariantSpec(summary="1,000 random vectors", backend="numpy")
            return [Benchmark("nearest", "nearest neighbours", variants={Variant.TINY: tiny})]
    """


@hookspec
def backends() -> Sequence[BackendInfo]:  # type: ignore[empty-body]
    """Offer backends, for one's own benchmarks or for those of another distribution.

    When: once, when plugins are loaded; in every process that needs to know them. Keep it cheap.

    Returns:
        The backends; ``build_backend`` of this plugin makes them.

    Raises:
        Anything: the plugin is graded as broken and left out.

    Example::

        @hookimpl
        def backends():
            return [BackendInfo("numpy", benchmarks=("nearest",), summary="brute force")]
    """


@hookspec
def systems() -> Sequence[Path]:  # type: ignore[empty-body]
    """Offer descriptions of known systems.

    When: when a system is looked up; in the parent process.

    Returns:
        Directories of TOML files, one a system.

    Raises:
        Anything: reported, and the directories are left out.

    Example::

        @hookimpl
        def systems():
            return [Path(__file__).parent / "systems"]
    """


@hookspec(firstresult=True)
def dataset(run: Run) -> Any:
    """Provide the raw data set: fetch or find it, check it, open it.

    When: first of the five, before each test, when scoring, and by ``mlpinf prepare``; in the
    child process, untimed.

    Args:
        run: the workload, its configuration, scratch space, artifacts and events.

    Returns:
        Whatever this benchmark's ``preprocess`` takes. None says that this plugin does not provide
        it, which is an error for a benchmark that it owns.

    Raises:
        PrerequisiteError: a file is missing, or wrong and cannot be fetched.

    Example::

        @hookimpl
        def dataset(run):
            return read_table(run.fetch(VECTORS))
    """


@hookspec(firstresult=True)
def preprocess(run: Run, dataset: Any) -> Samples | None:
    """Turn the data set into what the backend takes, once: write it as an artifact and open that.

    When: after ``dataset``; in the child process, untimed. The result of earlier preprocessing is
    found again through ``run.store.build``.

    Args:
        run: as above.
        dataset: what ``dataset`` returned.

    Returns:
        The samples, in the benchmark's own order. None is an error.

    Raises:
        PrerequisiteError: the data set is not what it should be.

    Example::

        @hookimpl
        def preprocess(run, dataset):
            return ArraySamples(normalise(dataset))
    """


@hookspec(firstresult=True)
def build_backend(run: Run, samples: Samples) -> Backend | None:
    """Build the engine, once, and return a backend that can load it.

    When: after ``preprocess``; in the child process, untimed; also by ``mlpinf prepare``, which
    does not load it. Loading belongs in :meth:`Backend.load`.

    Args:
        run: as above; ``run.config.run.backend`` names the backend, ``run.config.backend`` holds
            its settings.
        samples: what ``preprocess`` returned.

    Returns:
        The backend. None is an error.

    Raises:
        BackendError: the engine cannot be built.

    Example::

        @hookimpl
        def build_backend(run, samples):
            return BruteForce(samples)
    """


@hookspec(firstresult=True)
def make_sut(run: Run, backend: Backend, samples: Samples) -> Sut | None:
    """Put the backend behind LoadGen, in a way that suits the scenario.

    When: after the backend was loaded and warmed up; in the child process, just before the test.

    Args:
        run: as above; ``run.responder`` answers LoadGen.
        backend: what ``build_backend`` returned, loaded.
        samples: what ``preprocess`` returned.

    Returns:
        A SUT, usually one of :mod:`mlpinf_core.suts`. None is an error.

    Raises:
        BackendError: the backend cannot run this scenario.

    Example::

        @hookimpl
        def make_sut(run, backend, samples):
            return BatchingSut(run.responder, backend.search, run.config.sut)
    """


@hookspec(firstresult=True)
def check_accuracy(
    run: Run, samples: Samples, log: AccuracyLog
) -> Mapping[str, float | NotGraded] | None:
    """Score an accuracy run.

    When: after an accuracy run whose log is complete; in a child process of its own.

    Args:
        run: as above, without a responder.
        samples: what ``preprocess`` returned.
        log: LoadGen's accuracy log.

    Returns:
        Metric to value, named and scaled as in the benchmark's limits. The core judges them. A
        :class:`~mlpinf_core.protocols.NotGraded` stands for a value that was not worked out, and
        does not pass. None is an error.

    Raises:
        AccuracyError: the log cannot be scored.

    Example::

        @hookimpl
        def check_accuracy(run, samples, log):
            found = [next(iter(array), -1) for array in log.as_arrays(np.int64)]
            return {"recall": 100 * np.mean(found == samples.truth[log.qsl_indices])}
    """


@hookspec(firstresult=True)
def servers(run: Run, options: ServeOptions) -> Sequence[ServerSpec] | None:
    """Say which servers to start for a benchmark, by ``mlpinf serve`` and ``mlpinf run --serve``.

    When: before they are started; in a child process, which may build what they serve. The core
    starts them, waits until they are ready, watches them and stops them.

    Args:
        run: the workload, its configuration, scratch space, artifacts and events.
        options: which kind of server, how many, on which host and ports, with what parallelism.

    Returns:
        The servers. None says that this plugin knows none, which is an error.

    Raises:
        UnknownNameError: there is no server of that name.
        ConfigurationError: the options ask for what cannot be.

    Example::

        @hookimpl
        def servers(run, options):
            url = f"http://{options.host}:{options.port}"
            command = (sys.executable, "-m", "nearest.server", "--port", str(options.port))
            return [ServerSpec("nearest", command, url)]
    """


@hookspec
def run_started(run: Mapping[str, Any]) -> None:
    """A run begins; start a meter, say.

    When: before the child process is started; in the parent process.

    Args:
        run: what ``run.json`` holds.

    Raises:
        Anything: ends the run as a failure of this plugin.

    Example::

        @hookimpl
        def run_started(run):
            meter.start(run["directory"])
    """


@hookspec
def run_finished(run: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """A run has ended, whatever its verdict.

    When: after ``result.json`` was written; in the parent process.

    Args:
        run: what ``run.json`` holds.
        result: what ``result.json`` holds.

    Raises:
        Anything: reported as a failure of this plugin; the result stays.

    Example::

        @hookimpl
        def run_finished(run, result):
            meter.stop()
    """


FIVE = ("dataset", "preprocess", "build_backend", "make_sut", "check_accuracy")
"""The hooks that make a benchmark, in the order a run calls them."""
