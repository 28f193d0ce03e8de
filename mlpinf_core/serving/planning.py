"""Which servers a benchmark needs: its plugin says so, in a child process that builds engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpinf_core.errors import RunError
from mlpinf_core.loadgen.child import SERVE_FILE
from mlpinf_core.outcomes import error_of
from mlpinf_core.record import new_directory, write_json
from mlpinf_core.runner import Runner
from mlpinf_core.servers import ServerSpec

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.plan import Plan
    from mlpinf_core.plugins import Plugins
    from mlpinf_core.servers import ServeOptions


def plan_servers(
    plan: Plan, plugins: Plugins, options: ServeOptions, **more: Any
) -> tuple[list[ServerSpec], Path]:
    """The servers for the first run of a plan, and the directory for their logs.

    Args:
        plan: whose first run says benchmark, variant and settings.
        plugins: those the plan was made with.
        options: how the servers are wanted.
        more: as :class:`~mlpinf_core.runner.Runner` takes it.

    Raises:
        MlpinfError: as the child process met it.
    """
    return _Planner(plan, plugins, **more).servers(options)


class _Planner(Runner):
    """Runs the ``serve`` task."""

    def servers(self, options: ServeOptions) -> tuple[list[ServerSpec], Path]:
        planned = self._plan.runs[0]
        mode = planned.modes[0]
        config = planned.config(self._plugins, mode)
        directory = new_directory(self._plan.output) / "servers"
        self._record(planned, mode, config, directory)
        write_json(directory / SERVE_FILE, options.to_dict())
        outcome = self._supervise(planned, mode, "serve", config, directory)
        if (error := error_of(outcome, directory)) is not None:
            raise error
        if outcome.result is None:
            raise RunError("the servers were not planned", where=str(directory))
        return [ServerSpec.from_dict(spec) for spec in outcome.result["servers"]], directory
