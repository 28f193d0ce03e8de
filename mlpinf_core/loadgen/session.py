"""One LoadGen test: the SUT and the sample library behind LoadGen's callbacks.

An exception that leaves a callback kills the process, so none does: whatever is raised fails the
queries it belongs to, or aborts the test.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from mlpinf_core.errors import RunError
from mlpinf_core.loadgen.failures import Failure
from mlpinf_core.loadgen.responder import Progress
from mlpinf_core.protocols import Query

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from mlpinf_core.loadgen.responder import Responder
    from mlpinf_core.protocols import Samples, Sut

log = logging.getLogger(__name__)

PROGRESS_INTERVAL: Final = 0.5
"""Seconds between signs of life."""
ABORT_GRACE: Final = 2.0
"""Seconds that LoadGen gets to end by itself after a test was aborted; it has no way to be told."""


@attrs.frozen
class Tested:
    """A test that LoadGen finished.

    Attributes:
        seconds: from the first query issued to LoadGen's return.
        progress: the final counts.
    """

    seconds: float
    progress: Progress


class Session:
    """A SUT and samples, constructed at LoadGen for one or more tests."""

    def __init__(
        self,
        responder: Responder,
        sut: Sut,
        samples: Samples,
        *,
        on_progress: Callable[[Progress], None],
        on_stuck: Callable[[], None],
    ) -> None:
        """Construct.

        Args:
            responder: answers LoadGen.
            sut: takes the queries.
            samples: the sample library.
            on_progress: called twice a second while a test runs.
            on_stuck: called when a test was aborted and LoadGen has not returned in time; ends
                the process.
        """
        import mlperf_loadgen as lg

        self._lg = lg
        self._responder = responder
        self._sut = sut
        self._samples = samples
        self._on_progress = on_progress
        self._on_stuck = on_stuck
        self._ended = threading.Event()
        self._started_at = 0.0
        self._repeated = False
        self.busy = False
        """Whether LoadGen is waiting for the SUT to return."""
        self._abort_timer: threading.Timer | None = None

    def test(self, settings: Any, directory: Path, sample_count: int) -> Tested:
        """Run one test.

        Args:
            settings: LoadGen's ``TestSettings``.
            directory: where LoadGen writes its logs; must exist.
            sample_count: samples that LoadGen is told of; beyond the data set's own, it begins
                anew.

        Raises:
            RunError: LoadGen returned without having run a test.
        """
        lg = self._lg
        sut = lg.ConstructFastSUT(self._issue, self._flush)
        performance_count = min(
            settings.performance_sample_count_override or sample_count, sample_count
        )
        self._repeated = sample_count > len(self._samples)
        qsl = lg.ConstructQSL(sample_count, performance_count, self._load, self._unload)
        log_settings = lg.LogSettings()
        log_settings.enable_trace = False  # on by default, and it fills the disk
        log_settings.log_output.outdir = str(directory)
        log_settings.log_output.copy_summary_to_stdout = False
        # LoadGen takes an audit.config from the working directory unless it is told of another.
        audit = str(directory / "audit.config")
        self._ended.clear()
        self._started_at = 0.0
        if self._responder.aborted:
            self.aborted()  # while the SUT was made, say; LoadGen needs to be stopped all the same
        ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        ticker.start()
        try:
            lg.StartTestWithLogSettings(sut, qsl, settings, log_settings, audit)
            ended_at = time.perf_counter()
        finally:
            self._ended.set()
            if self._abort_timer is not None:
                self._abort_timer.cancel()
            ticker.join()
        lg.DestroyQSL(qsl)
        lg.DestroyFastSUT(sut)
        if not self._started_at:
            raise RunError(
                "LoadGen returned without issuing a query",
                where=str(directory),
                remedy="look at mlperf_log_detail.txt and child.log there; is the disk full?",
            )
        return Tested(ended_at - self._started_at, self._responder.progress())

    def aborted(self) -> None:
        """The test was aborted: end the process unless LoadGen returns soon."""
        if self._abort_timer is None and not self._ended.is_set():
            self._abort_timer = threading.Timer(ABORT_GRACE, self._stuck)
            self._abort_timer.daemon = True
            self._abort_timer.start()

    def _stuck(self) -> None:
        if not self._ended.is_set():
            self._on_stuck()

    # -- LoadGen's callbacks ---------------------------------------------------------------------

    def _issue(self, ids: list[int], indices: list[int]) -> None:
        if not self._started_at:
            self._started_at = time.perf_counter()
        try:
            slots = self._responder.open(ids)
        except BaseException:
            log.critical("queries cannot be taken in", exc_info=True)
            self._on_stuck()
            return
        if self._responder.aborted:
            return  # the query has been answered
        self.busy = True
        try:
            self._sut.issue(Query(slots, self._rows(indices)))
        except BaseException as error:
            log.exception("the SUT did not take a query")
            self._responder.fail(slots, error)
        finally:
            self.busy = False

    def _flush(self) -> None:
        self.busy = True
        try:
            self._sut.flush()
        except BaseException as error:
            log.exception("the SUT could not be flushed")
            self._responder.abort(error)
        finally:
            self.busy = False
        self._responder.close_open()

    def _load(self, indices: list[int]) -> None:
        try:
            self._samples.load(self._distinct(indices))
        except BaseException as error:
            log.exception("samples could not be loaded")
            self._responder.abort(
                Failure("raised", f"loading samples: {type(error).__name__}: {error}")
            )

    def _unload(self, indices: list[int]) -> None:
        try:
            self._samples.unload(self._distinct(indices))
        except BaseException:
            log.exception("samples could not be unloaded")

    def _rows(self, indices: list[int]) -> npt.NDArray[np.int64]:
        """LoadGen's samples as the data set numbers them."""
        rows = np.array(indices, dtype=np.int64)
        return rows % len(self._samples) if self._repeated else rows

    def _distinct(self, indices: list[int]) -> npt.NDArray[np.int64]:
        """The same, each once, for what is loaded is loaded."""
        rows = self._rows(indices)
        return np.unique(rows) if self._repeated else rows

    def _tick(self) -> None:
        """Signs of life for the parent; ends with the test."""
        while not self._ended.wait(PROGRESS_INTERVAL):
            self._on_progress(self._responder.progress())
        self._on_progress(self._responder.progress())
