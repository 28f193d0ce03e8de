"""LoadGen's detail log, ``mlperf_log_detail.txt``: one ``:::MLLOG {json}`` a line."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import attrs

from mlpinf_core.errors import LogError

PREFIX: Final = b":::MLLOG "

KEPT: Final = 1000
"""Lines kept of one key, and of errors and warnings: a run that completes every sample twice
writes one error line a sample, and the first thousand say it all."""


@attrs.frozen
class LogLine:
    """One line of the detail log.

    Attributes:
        line: its number, from 1.
        key: ``error_runtime``, ``result_validity``, ...
        value: what LoadGen logged; text for errors and warnings.
    """

    line: int
    key: str
    value: Any
    is_error: bool = False
    is_warning: bool = False

    @property
    def message(self) -> str:
        """The value as text."""
        return str(self.value)


@attrs.frozen(eq=False)
class DetailLog:
    """A detail log, read whole and checked line by line.

    Attributes:
        path: the file.
        values: every key to the last value logged for it. The indices of ``loaded_qsl_set`` are
            an ``array('q')``, for there may be millions.
        errors: the first lines that LoadGen marked as errors (at most 1,000).
        warnings: the first lines that it marked as warnings (at most 1,000).
        error_count: how many error lines there are in all.
        warning_count: how many warning lines there are in all.
        counts: every key to how often it was logged.
    """

    path: Path
    values: Mapping[str, Any]
    errors: tuple[LogLine, ...]
    warnings: tuple[LogLine, ...]
    error_count: int
    warning_count: int
    counts: Mapping[str, int]
    _lines: Mapping[str, tuple[LogLine, ...]] = attrs.field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a detail log.

        Raises:
            LogError: there is no such file, it is empty (the process died), its last line is cut
                off, or a line is not what LoadGen writes.
        """
        values: dict[str, Any] = {}
        lines: dict[str, list[LogLine]] = {}
        counts: dict[str, int] = {}
        errors: list[LogLine] = []
        warnings: list[LogLine] = []
        error_count = warning_count = 0
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    entry = _parse(path, number, raw)
                    values[entry.key] = entry.value
                    counts[entry.key] = counts.get(entry.key, 0) + 1
                    if counts[entry.key] <= KEPT:
                        lines.setdefault(entry.key, []).append(entry)
                    if entry.is_error:
                        error_count += 1
                        if error_count <= KEPT:
                            errors.append(entry)
                    elif entry.is_warning:
                        warning_count += 1
                        if warning_count <= KEPT:
                            warnings.append(entry)
        except OSError as error:
            raise LogError(
                f"the detail log cannot be read: {error.strerror or error}",
                where=str(path),
                remedy="LoadGen did not run, or could not write to its output directory",
            ) from error
        if not counts:
            raise LogError(
                "the detail log is empty: the process died before LoadGen had written anything",
                where=str(path),
                remedy="look at the run's own output for why the process died",
            )
        return cls(
            path=path,
            values=MappingProxyType(values),
            errors=tuple(errors),
            warnings=tuple(warnings),
            error_count=error_count,
            warning_count=warning_count,
            counts=MappingProxyType(counts),
            lines=MappingProxyType({key: tuple(found) for key, found in lines.items()}),
        )

    @property
    def finished(self) -> bool:
        """Whether LoadGen came to the end of its test.

        A performance run ends with its number of errors; an accuracy run with the end of the
        last set of samples that it loaded.
        """
        if self.get("effective_test_mode") == "AccuracyOnly":
            loaded = self.counts.get("loaded_qsl_set", 0)
            return 0 < loaded == self.counts.get("power_end", 0)
        return "num_errors" in self.values

    def all(self, key: str) -> tuple[LogLine, ...]:
        """Every line of a key, in order (the first 1,000)."""
        return self._lines.get(key, ())

    def get(self, key: str, default: Any = None) -> Any:
        """The last value of a key, or ``default``."""
        return self.values.get(key, default)

    def require(self, key: str) -> Any:
        """The last value of a key.

        Raises:
            LogError: the log does not have it.
        """
        try:
            return self.values[key]
        except KeyError:
            raise LogError(
                f"the detail log has no {key!r}",
                where=str(self.path),
                remedy=None if self.finished else "LoadGen did not finish its test",
            ) from None

    def number(self, key: str) -> float:
        """The last value of a key, a number (NaN and infinities among them).

        Raises:
            LogError: the log does not have it, or it is not a number.
        """
        value = self.require(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self._wrong(key, "an integer of many digits", "a number") from None

    def integer(self, key: str) -> int:
        """The last value of a key, a whole number.

        Raises:
            LogError: the log does not have it, or it is not a whole number.
        """
        value = self.require(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, value, "a whole number")
        return value

    def flag(self, key: str) -> bool:
        """The last value of a key, true or false.

        Raises:
            LogError: the log does not have it, or it is neither.
        """
        value = self.require(key)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str) -> str:
        """The last value of a key, a text.

        Raises:
            LogError: the log does not have it, or it is not text.
        """
        value = self.require(key)
        if not isinstance(value, str):
            raise self._wrong(key, value, "text")
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> LogError:
        return LogError(
            f"{key!r} in the detail log is {value!r:.100}, not {wanted}", where=str(self.path)
        )


def _parse(path: Path, number: int, raw: bytes) -> LogLine:
    where = f"{path}, line {number}"
    if not raw.endswith(b"\n"):
        raise LogError(
            "the detail log is truncated: its last line is cut off",
            where=where,
            remedy="the process died while LoadGen was writing, or the copy is incomplete",
        )
    if not raw.startswith(PREFIX):
        raise LogError("a line of the detail log does not begin with ':::MLLOG'", where=where)
    try:
        data = json.loads(raw[len(PREFIX) :])
        key, value, metadata = data["key"], data["value"], data["metadata"]
        is_error, is_warning = metadata["is_error"], metadata["is_warning"]
        if key == "loaded_qsl_set" and isinstance(value, list):
            value = array("q", value)
        line = LogLine(number, key, value, bool(is_error), bool(is_warning))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        # ValueError covers broken JSON, broken UTF-8 and integers of too many digits.
        raise LogError("a line of the detail log is not what LoadGen writes", where=where) from None
    if not isinstance(key, str):
        raise LogError("a line of the detail log has no key", where=where)
    return line
