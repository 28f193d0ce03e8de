"""A plugin of hook wrappers that disturbs a run, and records how its parts were torn down.

The kit installs it for the child process of a run through ``PYTHONPATH``; which fault it makes is
in an environment variable. It stands between a benchmark and its backend, and between its SUT and
the Responder, so what it disturbs is the plugin's own code in a run that is real otherwise.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from mlpinf_core.context import Run

VARIABLE: Final = "MLPINF_CONFORMANCE_FAULT"
RECORD: Final = "conformance.jsonl"
"""In the run directory: one JSON object for each thing that happened."""
MARK: Final = "a fault that the conformance kit made"
"""What an injected exception says."""
STRUCK: Final = "struck"


class Fault(enum.StrEnum):
    """What is done to a run."""

    OUT_OF_ORDER = "out of order"
    """Samples reach the SUT in another order, and its answers reach LoadGen split and late."""
    RAISES = "raises"
    """Every call to the backend raises, from the test's first on."""
    RETURNS_NOTHING = "returns nothing"
    """Every call to the backend in the test returns None."""
    RETURNS_TOO_FEW = "returns too few"
    """What the backend returns in the test lacks its last sample."""
    LOAD_RAISES = "load raises"
    """The backend cannot be loaded."""


@contextlib.contextmanager
def installed(fault: Fault) -> Iterator[None]:
    """Make a fault in the child processes that are started in the block."""
    with tempfile.TemporaryDirectory(prefix="mlpinf-conformance-") as folder:
        info = Path(folder) / "mlpinf_conformance-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: mlpinf-conformance\nVersion: 0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[mlpinf]\nmlpinf-conformance = {__name__}\n", encoding="utf-8"
        )
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        with environment(**{"PYTHONPATH": path, VARIABLE: fault.value}):
            yield


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def events(directory: Path) -> list[dict[str, Any]]:
    """What happened in a disturbed run; nothing where it did not get so far."""
    try:
        lines = (directory / RECORD).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


# -- in the child ----------------------------------------------------------------------------------


@attrs.frozen
class _Recorder:
    """Writes down what happens."""

    path: Path

    def tell(self, event: str, error: BaseException | None = None) -> None:
        line = {
            "event": event,
            "error": None if error is None else f"{type(error).__name__}: {error}",
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def call(self, event: str, function: Callable[[], None]) -> None:
        """Call it, and record how that went."""
        try:
            function()
        except BaseException as error:
            self.tell(event, error)
            raise
        self.tell(event)


class _Disturbed:
    """A backend whose methods fail during the test; everything else is the real one's."""

    def __init__(self, inner: Any, fault: Fault, recorder: _Recorder) -> None:
        self._inner = inner
        self._fault = fault
        self._recorder = recorder
        self.conformance_armed = False
        """Whether the test has begun."""

    @property  # isinstance() goes by this, and a plugin may ask it
    def __class__(self) -> type:
        return type(self._inner)

    @__class__.setter
    def __class__(self, _: type) -> None:  # object's can be assigned, so types say this must be too
        raise TypeError

    def load(self) -> None:
        if self._fault is Fault.LOAD_RAISES:
            self._recorder.tell(STRUCK)
            raise RuntimeError(MARK)
        self._inner.load()

    def close(self) -> None:
        self._recorder.call("backend.close", self._inner.close)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._disturb(self._inner, arguments, named)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def disturbed(*arguments: Any, **named: Any) -> Any:
            return self._disturb(found, arguments, named)

        return disturbed

    def _disturb(self, method: Any, arguments: Any, named: Any) -> Any:
        if not self.conformance_armed:
            return method(*arguments, **named)
        if self._fault is Fault.RAISES:
            self._recorder.tell(STRUCK)
            raise RuntimeError(MARK)
        if self._fault is Fault.RETURNS_NOTHING:
            self._recorder.tell(STRUCK)
            return None
        result = method(*arguments, **named)
        if self._fault is Fault.RETURNS_TOO_FEW:
            fewer = _without_last(result)
            if fewer is not result:
                self._recorder.tell(STRUCK)
            return fewer
        return result


def _without_last(result: Any) -> Any:
    """A batch's answers without the last sample's; what is none stays as it is."""
    from mlpinf_core.protocols import Outputs

    if isinstance(result, Outputs):
        counts = result.n_tokens
        return Outputs(result.data[:-1], None if counts is None else counts[:-1])
    sliceable = isinstance(result, list | tuple) or hasattr(result, "__array__")
    return result[:-1] if sliceable and len(result) else result


@hookimpl(wrapper=True)
def build_backend(run: Run) -> Generator[None, Any, Any]:
    """Put the disturber around the backend."""
    backend = yield
    if backend is None:
        return None
    return _Disturbed(backend, Fault(os.environ[VARIABLE]), _Recorder(run.directory / RECORD))


@hookimpl(wrapper=True)
def make_sut(run: Run, backend: Any) -> Generator[None, Any, Any]:
    """Put the disturbers around the SUT and the Responder, and arm the backend's."""
    from mlpinf_core.testing.disorder import LateResponder, ObservedSut, ShufflingSut

    recorder = _Recorder(run.directory / RECORD)
    late = None
    if Fault(os.environ[VARIABLE]) is Fault.OUT_OF_ORDER:
        late = LateResponder(run.responder, run.workload.scenario)
        # The plugin takes its Responder from the run; the session has the real one already.
        run.responder = late  # type: ignore[assignment]
    sut = yield
    backend.conformance_armed = True
    if sut is None:
        return None
    observed = ObservedSut(sut, lambda close: recorder.call("sut.close", close))
    if late is None:
        return observed
    recorder.tell(STRUCK)
    return ShufflingSut(observed, late, run.config.sut.max_batch_size)
