"""Making data sets and engines beforehand, and running nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpinf_core.outcomes import error_of
from mlpinf_core.record import new_directory
from mlpinf_core.runner import Runner

if TYPE_CHECKING:
    from mlpinf_core.plan import Plan
    from mlpinf_core.plugins import Plugins


def prepare(plan: Plan, plugins: Plugins, **options: Any) -> dict[Path, bool]:
    """Make data sets and engines for the plan's benchmarks, and run nothing.

    Args:
        plan: each benchmark and variant of it is prepared once.
        plugins: those the plan was made with.
        options: as :class:`Runner` takes them.

    Returns:
        The folder of each artifact that was needed, and whether it was built now.

    Raises:
        MlpinfError: as the child process met it.
    """
    return _Preparer(plan, plugins, **options).prepare()


class _Preparer(Runner):
    """Runs the ``prepare`` task of each benchmark of a plan."""

    def prepare(self) -> dict[Path, bool]:
        """Do it; the folders of artifacts, and whether each was built now."""
        artifacts: dict[Path, bool] = {}
        session = new_directory(self._plan.output)
        done = set()
        for planned in self._plan.runs:
            mode = planned.modes[0]
            config = planned.config(self._plugins, mode)
            key = (
                planned.workload.benchmark,
                planned.workload.variant,
                str(config.benchmark),
                config.run.backend,
                str(config.backend),
                config.sut.max_batch_size,  # an engine has room for so many samples
            )
            if key in done:
                continue
            done.add(key)
            directory = session / planned.workload.slug / "prepare"
            self._record(planned, mode, config, directory)
            outcome = self._supervise(planned, mode, "prepare", config, directory)
            if (error := error_of(outcome, directory)) is not None:
                raise error
            for one in (outcome.result or {}).get("artifacts", ()):
                path = Path(one["path"])
                artifacts[path] = artifacts.get(path, False) or one["built"]
        return artifacts
