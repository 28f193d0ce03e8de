"""A machine's answers, remembered; written to a file, and asked again on another machine.

A recording is TOML: a table a kind of question, an entry a question. What the machine refused has
the answer ``{ refused = "permission denied" }``. ``{0-3,8}`` in a question of a recording that
was written by hand stands for each of these numbers.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.machine import number_list
from mlpinf_core.systems.host import ThisHost, UnavailableError
from mlpinf_core.systems.toml import toml_lines, toml_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mlpinf_core.systems.host import Host

KINDS: Final = ("files", "directories", "commands", "nvml", "packages", "environment")
REFUSED: Final = "refused"


class RememberingHost:
    """Asks another host, each question once, and remembers the answers."""

    def __init__(self, host: Host) -> None:
        """Ask ``host``."""
        self._host = host
        self._answers: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

    def read(self, path: str) -> str:
        """See :class:`~mlpinf_core.systems.host.Host`, as for the others."""
        text: str = self._ask("files", path, lambda: self._host.read(path))
        return text

    def entries(self, path: str) -> list[str]:
        """The names in a directory."""
        names: list[str] = self._ask("directories", path, lambda: self._host.entries(path))
        return names

    def run(self, *command: str) -> str:
        """What a command prints."""
        text: str = self._ask("commands", " ".join(command), lambda: self._host.run(*command))
        return text

    def nvml(self, function: str, *arguments: int) -> Any:
        """What NVML says."""
        key = _call(function, arguments)
        return self._ask("nvml", key, lambda: self._host.nvml(function, *arguments))

    def version(self, distribution: str) -> str:
        """The version of a distribution."""
        text: str = self._ask("packages", distribution, lambda: self._host.version(distribution))
        return text

    def environment(self, name: str) -> str:
        """An environment variable."""
        text: str = self._ask("environment", name, lambda: self._host.environment(name))
        return text

    def _ask(self, kind: str, question: str, ask: Callable[[], Any]) -> Any:
        answers = self._answers[kind]
        if question not in answers:
            try:
                answers[question] = ask()
            except UnavailableError as error:
                answers[question] = error
        answer = answers[question]
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    def recording(self) -> str:
        """All that was asked and answered, as the text of a recording."""
        parts = ["# A recording of a machine, made by `mlpinf system detect --record`.\n"]
        for kind, answers in self._answers.items():
            parts.append(f"\n[{kind}]\n")
            for question, answer in sorted(answers.items()):
                if isinstance(answer, UnavailableError):
                    value = toml_value({REFUSED: str(answer)})
                else:
                    value = toml_lines(answer) if isinstance(answer, str) else toml_value(answer)
                parts.append(f"{toml_value(question)} = {value}\n")
        return "".join(parts)


class RecordedHost:
    """A machine that was recorded. What it was not asked then, it does not know now."""

    def __init__(self, answers: Mapping[str, Mapping[str, Any]], origin: str) -> None:
        """Answer from ``answers``: kind to question to answer."""
        self._origin = origin
        self._answers: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        for kind, known in answers.items():
            for question, answer in known.items():
                for variant in _variants(question):
                    self._answers[kind][variant] = answer

    def read(self, path: str) -> str:
        """The recorded text of a file."""
        return str(self._answer("files", path, "no such file or directory")).strip()

    def entries(self, path: str) -> list[str]:
        """The recorded names in a directory, or those of the recorded files below it."""
        if path in self._answers["directories"]:
            return sorted(self._answer("directories", path, ""))
        below = path.rstrip("/") + "/"
        known = (*self._answers["files"], *self._answers["directories"])
        names = {name[len(below) :].split("/")[0] for name in known if name.startswith(below)}
        if not names:
            raise UnavailableError("no such file or directory")
        return sorted(names)

    def run(self, *command: str) -> str:
        """What a command printed."""
        absent = f"{command[0]} is not installed"
        return str(self._answer("commands", " ".join(command), absent)).strip()

    def nvml(self, function: str, *arguments: int) -> Any:
        """What NVML said."""
        absent = "Not Supported" if self._answers["nvml"] else "nvidia-ml-py is not installed"
        return self._answer("nvml", _call(function, arguments), absent)

    def version(self, distribution: str) -> str:
        """The version that a distribution had."""
        return str(self._answer("packages", distribution, f"{distribution} is not installed"))

    def environment(self, name: str) -> str:
        """The value that a variable had."""
        return str(self._answer("environment", name, f"{name} is not set"))

    def _answer(self, kind: str, question: str, absent: str) -> Any:
        if question not in self._answers[kind]:
            raise UnavailableError(absent)
        answer = self._answers[kind][question]
        if isinstance(answer, dict) and set(answer) == {REFUSED}:
            raise UnavailableError(str(answer[REFUSED]))
        return answer


def read_recording(path: Path) -> RecordedHost:
    """Read a recording.

    Raises:
        ConfigurationError: it cannot be read, or is not a recording.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"the recording cannot be read: {reason}",
            where=str(path),
            remedy="give a file that `mlpinf system detect --record FILE` has written",
        ) from error
    wrong = [
        kind for kind, known in data.items() if kind not in KINDS or not isinstance(known, dict)
    ]
    if wrong or not data:
        raise ConfigurationError(
            f"this is not a recording of a machine: {', '.join(wrong) or 'it is empty'}",
            where=str(path),
            remedy=f"a recording has the tables {', '.join(KINDS)}",
        )
    return RecordedHost(data, str(path))


def host_of(path: Path | None) -> Host:
    """The machine of a recording, or this one.

    Raises:
        ConfigurationError: the recording cannot be read.
    """
    return ThisHost() if path is None else read_recording(path)


def _call(function: str, arguments: tuple[int, ...]) -> str:
    return f"{function}({', '.join(map(str, arguments))})"


def _variants(question: str) -> Iterator[str]:
    """The questions that one entry answers: ``cpu{0-3}`` stands for four."""
    found = re.search(r"\{([\d,-]+)\}", question)
    if found is None:
        yield question
        return
    for part in found[1].split(","):
        # A number alone is taken as it is written, with the noughts that it begins with.
        for number in map(str, number_list(part)) if "-" in part else [part]:
            yield from _variants(question[: found.start()] + number + question[found.end() :])
