"""The progress bar of a download."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mlpinf_core.cli.console import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.benchmark import AnySource


@contextlib.contextmanager
def transfer_progress(source: AnySource) -> Iterator[Callable[[int, int], None]]:
    """A callback for ``downloads.fetch`` that draws a bar on standard error."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console(err=True), transient=True) as bar:
        task = bar.add_task(source.name, total=source.size)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
