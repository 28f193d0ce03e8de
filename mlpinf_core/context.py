"""The one argument of the five hooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.artifacts import ArtifactStore
from mlpinf_core.benchmark import AnySource, Benchmark, VariantSpec
from mlpinf_core.config.schema import Config
from mlpinf_core.events import EventWriter
from mlpinf_core.rules.model import BenchmarkRules
from mlpinf_core.scratch import Scratch
from mlpinf_core.sources import local_path
from mlpinf_core.vocabulary import Mode, Workload

if TYPE_CHECKING:
    from mlpinf_core.loadgen.responder import Responder


@attrs.define
class Run:
    """A run, as its hooks see it.

    Attributes:
        workload: what is run.
        mode: performance or accuracy.
        config: every setting, resolved; ``config.benchmark`` and ``config.backend`` are instances
            of the plugin's own classes.
        rules: of the benchmark, in the workload's round.
        benchmark: the declaration.
        scratch: where data, models and artifacts live.
        store: builds artifacts once.
        directory: of the run; a plugin may write files of its own there.
        events: tells the user what is going on.
    """

    workload: Workload
    mode: Mode
    config: Config
    rules: BenchmarkRules
    benchmark: Benchmark
    scratch: Scratch
    store: ArtifactStore
    directory: Path
    events: EventWriter = attrs.field(factory=EventWriter)
    _responder: Any = None

    @property
    def variant(self) -> VariantSpec:
        """The variant's declaration."""
        return self.benchmark.variant(self.workload.variant)

    @property
    def responder(self) -> Responder:
        """What answers LoadGen.

        Raises:
            RuntimeError: outside ``make_sut`` and the test: nothing has been issued.
        """
        if self._responder is None:
            raise RuntimeError("there is a responder in make_sut and during the test only")
        responder: Responder = self._responder
        return responder

    @responder.setter
    def responder(self, responder: Responder) -> None:
        self._responder = responder

    def fetch(self, source: AnySource) -> Path:
        """The path of a file or folder the variant needs: found, or fetched now, and checked.

        Args:
            source: which; where its ``setting`` says the user has it, it is used from there.

        Raises:
            PrerequisiteError: it is not to be had; says what was tried.
            IntegrityError: it is there, and is not the right one.
        """
        from mlpinf_core import downloads

        def progress(done: int, total: int) -> None:
            self.events.step(f"fetching {source.name}", done, total)

        return downloads.fetch(
            source,
            self.scratch,
            local=local_path(source, self.config),
            progress=progress,
            remedy=source.hint,
        )
