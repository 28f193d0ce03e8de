"""Hold a plugin to every rule, without pytest."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from mlpinf_core.errors import ExitCode, MlpinfError
from mlpinf_core.testing.rule import NotApplicableError, RuleResult, RuleState
from mlpinf_core.testing.rules import RULES
from mlpinf_core.testing.subject import Subject
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlpinf_core.testing.rule import Rule

log = logging.getLogger(__name__)


@attrs.frozen
class Report:
    """How a plugin came out."""

    plugin: str
    results: tuple[RuleResult, ...]

    @property
    def passed(self) -> bool:
        """Whether it breaks no rule."""
        return all(result.state is not RuleState.FAILED for result in self.results)

    @property
    def exit_code(self) -> ExitCode:
        """What a process that reports it ends with."""
        return ExitCode.OK if self.passed else ExitCode.FAILED

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "plugin": self.plugin,
            "passed": self.passed,
            "exit_code": int(self.exit_code),
            "rules": [result.to_dict() for result in self.results],
        }


def check_plugin(
    plugin: str,
    *,
    benchmark: str | None = None,
    variant: str | None = None,
    backend: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    scenarios: Iterable[str] | None = None,
    repeatable: bool = True,
    directory: Path | None = None,
    on_rule: Callable[[Rule], None] | None = None,
) -> Report:
    """Hold a plugin to every rule of the kit.

    Args:
        plugin: the name of its entry point.
        benchmark: which to run; None means the plugin's first.
        variant: None means ``tiny``, or the only one.
        backend: None means the variant's own.
        settings: tables of settings that make runs quick.
        scenarios: those to run; None means all that the benchmark has.
        repeatable: whether two runs give the same answers to the bit.
        directory: where runs are made and kept; None means to keep none.
        on_rule: called before each rule.

    Raises:
        ConfigurationError: there is no such plugin, benchmark or scenario.
    """
    with tempfile.TemporaryDirectory(prefix="mlpinf-check-") as temporary:
        subject = Subject(
            plugin=plugin,
            directory=Path(temporary) if directory is None else directory,
            benchmark=benchmark,
            variant=variant,
            backend=backend,
            settings=settings or {},
            only=None if scenarios is None else tuple(map(Scenario.parse, scenarios)),
            repeatable=repeatable,
        )
        _known(subject)
        results = []
        for rule in RULES:
            if on_rule is not None:
                on_rule(rule)
            results.append(_apply(rule, subject))
    return Report(plugin, tuple(results))


def _known(subject: Subject) -> None:
    """Refuse names that do not exist, before anything is run."""
    _ = subject.info
    with contextlib.suppress(NotApplicableError):
        subject.declared()


def _apply(rule: Rule, subject: Subject) -> RuleResult:
    started = time.perf_counter()
    try:
        rule(subject)
    except NotApplicableError as reason:
        state, detail, remedy = RuleState.SKIPPED, str(reason), None
    except MlpinfError as error:
        where = f" ({error.where})" if error.where else ""
        state, detail, remedy = RuleState.FAILED, f"{error.what}{where}", error.remedy
    except Exception as error:
        log.debug("rule %s", rule.name, exc_info=True)
        state, remedy = RuleState.FAILED, "run again with -vv for the traceback"
        detail = f"the rule cannot be applied: {type(error).__name__}: {error}"
    else:
        state, detail, remedy = RuleState.PASSED, "", None
    return RuleResult(rule, state, detail, remedy, time.perf_counter() - started)
