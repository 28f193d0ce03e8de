"""What happens, while it does: a live line at a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from rich.markup import escape

from mlpinf_core import events as ev
from mlpinf_core.cli.console import console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.status import Status

    from mlpinf_core.plan import PlannedRun
    from mlpinf_core.results import RunResult
    from mlpinf_core.vocabulary import Mode

_PLAIN_INTERVAL: Final = 10.0
"""Seconds between progress lines where the output is not a terminal."""


class ConsoleReporter:
    """Shows progress on standard error; a context manager."""

    def __init__(self, *, verbose: bool = False) -> None:
        """Nothing is shown until a run starts; with ``verbose``, the children's tracebacks too."""
        self._verbose = verbose
        self._console = console(err=True)
        self._status: Status | None = None
        self._label = ""
        self._phase = ""
        self._phase_began = 0.0
        self._said = 0.0
        self._said_once: set[str] = set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def started(self, planned: PlannedRun, mode: Mode, task: str) -> None:
        """A child process starts."""
        what = {"measure": "measured pass", "execute": mode, "score": mode}.get(task, task)
        self._label = escape(f"{planned.workload} {what}")
        self._enter("scoring" if task == "score" else "starting")

    def event(self, event: Mapping[str, Any]) -> None:
        """The child tells something."""
        kind = event["event"]
        if kind == ev.PHASE:
            self._enter(event["name"])
        elif kind == ev.STEP:
            text = escape(event["text"])
            if not self._console.is_terminal:
                self._once(f"{self._label}: {text}")
            self._say(text + _share(event["done"], event["total"]))
        elif kind == ev.PROGRESS:
            self._say(self._counts(event))
        elif kind == ev.FAILURE and event["count"] is None:
            self._line(f"[bold red]failure[/] {self._label}: {escape(event['message'])}")
        elif kind == ev.ERROR and self._verbose and event.get("traceback"):
            self._console.out(event["traceback"], highlight=False)
        elif kind == ev.SETTINGS and event["seeds_enforced"]:
            self._once(
                f"LoadGen {event['loadgen_version']} embeds "
                f"{event['embedded_round'] or 'an unknown round'}; the seeds of the chosen round "
                "are enforced"
            )

    def finished(self, result: RunResult) -> None:
        """A run has its result."""
        self._stop()
        good, bad = ("passed", "failed") if result.audit else ("VALID", "INVALID")
        verdict = f"[green]{good}[/]" if result.verdict.valid else f"[bold red]{bad}[/]"
        if result.accuracy is not None:
            verdict += ", accuracy " + ("passed" if result.accuracy.passed else "[red]missed[/]")
        self._line(f"{escape(str(result.workload))} {result.audit or result.mode}: {verdict}")

    # -- inside ----------------------------------------------------------------------------------

    def _enter(self, phase: str) -> None:
        self._phase = escape(phase)
        self._phase_began = self._said = time.monotonic()
        self._show(f"{self._label}: {phase}")
        if not self._console.is_terminal and phase in ("measuring", "running"):
            self._line(f"{self._label}: {phase}")

    def _say(self, text: str) -> None:
        """A detail of the phase: at once at a terminal, now and then elsewhere."""
        self._show(f"{self._label}: {self._phase}: {text}")
        if self._console.is_terminal:
            return
        now = time.monotonic()
        if now - self._said >= _PLAIN_INTERVAL:
            self._said = now
            self._line(f"{self._label}: {self._phase}: {text}")

    def _counts(self, event: Mapping[str, Any]) -> str:
        seconds = time.monotonic() - self._phase_began
        completed = event["completed"]
        parts = [f"{seconds:.0f} s", f"{completed:,} of {event['issued']:,} samples"]
        if seconds > 0 and completed:
            parts.append(f"{completed / seconds:,.1f}/s")
        if event["tokens"]:
            parts.append(f"{event['tokens'] / max(seconds, 1e-9):,.0f} tokens/s")
        if event["failed"]:
            parts.append(f"[red]{event['failed']:,} failed[/]")
        return ", ".join(parts)

    def _show(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _line(self, text: str) -> None:
        self._console.print(text)

    def _once(self, text: str) -> None:
        if text not in self._said_once:
            self._said_once.add(text)
            self._line(text)


def _share(done: int | None, total: int | None) -> str:
    if done is None:
        return ""
    return f" {100 * done / total:.0f} %" if total else f" {done:,}"
