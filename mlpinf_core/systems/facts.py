"""What is known of a machine: facts, each with where it was read, or why it is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import attrs

from mlpinf_core.systems.host import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpinf_core.systems.host import Host

Value = str | int | float | bool | tuple[str, ...]


@attrs.frozen
class Fact:
    """One thing that is known, or is not.

    Attributes:
        value: None where it is unknown.
        source: where it was read ("/proc/meminfo MemTotal"); of an unknown one, where it was
            looked for.
        why: of an unknown one, the reason.
    """

    value: Value | None
    source: str
    why: str | None = None


@attrs.frozen
class Way:
    """One way to learn a fact.

    Attributes:
        source: what it reads, for people.
        look: returns the value, or None where the source says that there is none.
    """

    source: str
    look: Callable[[], Value | None]


class Facts:
    """The facts of a machine by their dotted keys (``cpu.sockets``), in the order of their finding.

    The end of a key tells the unit: ``_bytes``, ``_mhz``, ``_w``; counts have none.
    """

    def __init__(self, facts: Mapping[str, Fact] | None = None) -> None:
        """Begin with these facts."""
        self._facts = dict(facts or {})

    def __getitem__(self, key: str) -> Fact:
        return self._facts.get(key) or Fact(None, "", "nothing looks for it")

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def items(self) -> Iterator[tuple[str, Fact]]:
        """Every key with its fact."""
        return iter(self._facts.items())

    def value(self, key: str) -> Value | None:
        """The value of a fact; None where it is unknown."""
        return self[key].value

    def text(self, key: str) -> str | None:
        """The value of a fact that is text."""
        value = self.value(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> float | None:
        """The value of a fact that is a number."""
        value = self.value(key)
        return value if is_number(value) else None

    def list(self, key: str) -> tuple[str, ...]:
        """The value of a fact that is a list; nothing where it is unknown."""
        value = self.value(key)
        return value if isinstance(value, tuple) else ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: ``{key: {"value": ..., "source": ..., "why": ...}}``."""
        return {key: attrs.asdict(fact) for key, fact in self._facts.items()}


class Looking:
    """Collects the facts of a host. Nothing that a host says, or does not say, raises."""

    def __init__(self, host: Host) -> None:
        """Ask this host."""
        self.host = host
        self._facts: dict[str, Fact] = {}

    @property
    def facts(self) -> Facts:
        """What has been learnt so far."""
        return Facts(self._facts)

    def learn(self, key: str, *ways: Way) -> Value | None:
        """Take the value of the first way that has one; otherwise note why none has."""
        reasons = []
        for way in ways:
            try:
                value = way.look()
            except UnavailableError as error:
                reasons.append(str(error))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                reasons.append(f"not understood ({type(error).__name__}: {error})")
            else:
                if value is not None:
                    self._facts[key] = Fact(value, way.source)
                    return value
                reasons.append("it does not say")
        if len(set(reasons)) > 1:
            why = "; ".join(f"{w.source}: {r}" for w, r in zip(ways, reasons, strict=True))
        else:
            why = reasons[0]
        self._facts[key] = Fact(None, ", ".join(way.source for way in ways), why)
        return None

    def derive(self, key: str, source: str, value: Value | None, why: str = "") -> None:
        """Note what follows from facts that are known already."""
        self._facts[key] = Fact(value, source, None if value is not None else why or "unknown")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value counts or measures; booleans do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def field(text: str, name: str, separator: str = ":") -> str | None:
    """The value of the first line ``name: value``; None where no line has that name."""
    for line in text.splitlines():
        key, found, value = line.partition(separator)
        if found and key.strip() == name:
            return value.strip()
    return None
