"""Engines that Python reaches through asyncio, behind a desk: one event loop, one thread.

A *service* answers one sample at a time, as a coroutine; the engine runs as many of them at once as
there is room for. First tokens and answers are handed in at the desk as they come, and LoadGen is
told of them in batches, once a turn of the loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Final, Protocol

from mlpinf_core.errors import BackendError
from mlpinf_core.loadgen.failures import Failure
from mlpinf_llm.faults import RequestError
from mlpinf_llm.token_rules import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Set

    from mlpinf_core.suts.worker import EngineDesk

log = logging.getLogger(__name__)

_PATIENCE: Final = 5.0
"""Seconds that requests which nobody wants any more get to end."""


class Service(Protocol):
    """What computes answers, or asks another program for them. All methods run on one loop."""

    async def open(self) -> None:
        """Load or reach the engine, and return when it is healthy."""

    async def answer(self, index: int, first: Callable[[int], None] | None) -> Sequence[int]:
        """The token ids of one answer, as the engine made them.

        Args:
            index: of the sample.
            first: to be called with the first token when it has come; None where nobody asks, and
                the answer had better come whole.

        Raises:
            RequestError: this answer failed.
            BackendError: the engine is of no use any more.
        """

    async def close(self) -> None:
        """Free everything; called once, also after a failure."""


class AsyncioEngine:
    """Runs a service for :class:`~mlpinf_core.suts.asynchronous.AsyncSut`."""

    def __init__(
        self, service: Service, *, room: int, stream: bool, cap: int, stop_ids: Set[int]
    ) -> None:
        """Make an engine; nothing is loaded yet.

        Args:
            service: answers samples.
            room: most samples that it has at the same time; the others wait at the desk.
            stream: whether first tokens are reported.
            cap: most tokens of an answer.
            stop_ids: ids that end an answer and are no part of it.
        """
        self._service = service
        self._room = room
        self._stream = stream
        self._cap = cap
        self._stop_ids = stop_ids
        # One loop from the loading to the end: engines keep sockets and tasks of their own on it.
        # It runs in whichever thread has work for it, one after another.
        self._loop = asyncio.new_event_loop()
        self._bell = asyncio.Event()
        self._rung = False
        self._open: set[asyncio.Task[None]] = set()
        self._dropping = False
        self._died: BackendError | None = None

    def open(self) -> None:
        """Load the service; raises whatever is wrong with it."""
        self._loop.run_until_complete(self._service.open())

    def close(self) -> None:
        """Free the service and the loop."""
        if self._loop.is_running():  # its thread did not end in time; it ends with the process
            log.warning("the engine is still busy, and is left as it is")
            return
        try:
            self._loop.run_until_complete(self._service.close())
            self._loop.run_until_complete(_end_tasks())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    # -- the engine of an AsyncSut ---------------------------------------------------------------

    def wake(self) -> None:
        """There is something new at the desk."""
        if not self._rung and not self._loop.is_closed():
            self._rung = True  # before the loop looks at the desk, one ring is enough for all
            self._loop.call_soon_threadsafe(self._bell.set)

    def run(self, desk: EngineDesk) -> None:
        """Answer what comes to the desk until it is closed.

        Raises:
            BackendError: the engine is of no use any more.
        """
        self._loop.run_until_complete(self._serve(desk))

    async def _serve(self, desk: EngineDesk) -> None:
        self._died = None
        try:
            while True:
                self._rung = False
                self._bell.clear()
                if desk.stopped:
                    await self._drop()
                    desk.drop()
                else:
                    self._begin(desk)
                desk.report()
                if self._died is not None:
                    raise self._died
                if desk.closed and not self._open and not desk.waiting:
                    return
                if desk.stopped and self._open:
                    continue  # reporting a failure ended the test
                await self._bell.wait()
        finally:
            await self._drop()

    def _begin(self, desk: EngineDesk) -> None:
        """Give waiting samples to the service, as far as there is room."""
        room = self._room - len(self._open)
        if room > 0 and desk.waiting:
            for slot, index in desk.take(room):
                task = self._loop.create_task(self._answer(desk, slot, index))
                self._open.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._bell.set()

    async def _answer(self, desk: EngineDesk, slot: int, index: int) -> None:
        first = functools.partial(self._first, desk, slot) if self._stream else None
        try:
            ids = await self._service.answer(index, first)
            desk.answer(slot, exact(ids, self._cap, self._stop_ids))
        except RequestError as error:
            desk.fail(slot, error.failure)
        except BackendError as error:
            self._died = self._died or error
        except asyncio.CancelledError:
            if self._dropping:
                raise
            desk.fail(slot, Failure("raised", "the engine cancelled a request"))
        except Exception as error:
            log.warning("a request failed", exc_info=True)
            desk.fail(slot, error)

    def _first(self, desk: EngineDesk, slot: int, token: int) -> None:
        desk.first_token(slot, token)
        self._bell.set()

    async def _drop(self) -> None:
        """End what is on its way: nobody wants it any more."""
        if not self._open:
            return
        self._dropping = True
        try:
            for task in self._open:
                task.cancel()
            await asyncio.wait(self._open, timeout=_PATIENCE)
        finally:
            self._open.clear()  # what has not ended by now is left to the end of the loop
            self._dropping = False


async def _end_tasks() -> None:
    """Cancel what the service has left on the loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_PATIENCE)
