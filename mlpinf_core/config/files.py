"""Settings files: tables for every workload, and ``[[for]]`` entries for those they select."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.config.layers import Layer, merge
from mlpinf_core.config.schema import TABLES, LoadGenSettings, RunSettings, SutSettings
from mlpinf_core.errors import ConfigurationError, UnknownNameError
from mlpinf_core.names import fold
from mlpinf_core.rules import round_name
from mlpinf_core.vocabulary import Mode, Scenario, Variant

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.vocabulary import Workload

ENTRIES: Final = "for"
SET: Final = "set"
"""In an entry, a table of tables: ``set.backend.x`` beside the selector ``backend``."""
SELECTORS: Final = (
    "benchmark",
    "scenario",
    "variant",
    "accuracy_target",
    "round",
    "power",
    "mode",
    "backend",
)
_OWN_TABLES: Final[Mapping[str, type]] = {
    "run": RunSettings,
    "loadgen": LoadGenSettings,
    "sut": SutSettings,
}


@attrs.frozen
class Entry:
    """One ``[[for]]`` of a file.

    Attributes:
        origin: the file and the entry's number in it, from 1.
        selectors: selector to the names it admits; an absent selector admits all.
        values: the tables that apply to the workloads selected.
    """

    origin: str
    selectors: Mapping[str, tuple[str, ...]]
    values: Mapping[str, Any]

    def admits(self, facts: Mapping[str, Collection[str]]) -> bool:
        """Whether every selector names one of the facts' spellings (case-blind)."""
        return all(
            {fold(name) for name in names} & {fold(name) for name in facts[selector]}
            for selector, names in self.selectors.items()
        )


@attrs.frozen
class SettingsFile:
    """A settings file that has been read and checked as far as it can be without a workload.

    Attributes:
        origin: the file, as the user named it.
        values: the tables for every workload.
        entries: the ``[[for]]`` entries in the file's order.
    """

    origin: str
    values: Mapping[str, Any]
    entries: tuple[Entry, ...] = ()

    def layers(
        self,
        workload: Workload,
        mode: Mode,
        backend: str | None,
        *,
        aliases: Collection[str] = (),
    ) -> list[Layer]:
        """What the file says of one run, the lowest layer first.

        Args:
            workload: what is run.
            mode: what the run measures.
            backend: what computes; None where that is not known yet, so that no entry that
                selects by backend applies.
            aliases: other names of the workload's benchmark, which a selector may use as well.
        """
        facts: dict[str, Collection[str]] = {
            "benchmark": (workload.benchmark, *aliases),
            "scenario": (workload.scenario.value,),
            "variant": (workload.variant.value,),
            "accuracy_target": (workload.accuracy_target,),
            "round": (workload.round,),
            "power": (str(workload.power),),
            "mode": (mode.value,),
            "backend": () if backend is None else (backend,),
        }
        found = [Layer(self.origin, self.values)] if self.values else []
        found += [Layer(e.origin, e.values) for e in self.entries if e.admits(facts)]
        return found

    def names(self, selector: str) -> list[tuple[str, str]]:
        """Every name that a selector uses, with its origin.

        Benchmarks and backends are known to plugins only: whoever has loaded them checks these, so
        that a misspelt name is an error and not an entry that never applies.
        """
        return [(name, e.origin) for e in self.entries for name in e.selectors.get(selector, ())]


def read_settings_file(path: Path) -> SettingsFile:
    """Read and check a settings file.

    Raises:
        ConfigurationError: the file is missing, is not TOML (says the line), or a table, a
            selector or a key is unknown or of the wrong kind.
    """
    return settings_of(parse_toml(path, "settings file"), str(path))


def settings_of(data: Mapping[str, Any], origin: str) -> SettingsFile:
    """Check the content of a settings file.

    Args:
        data: the tables, and the entries below ``for``.
        origin: what to call their source.

    Raises:
        ConfigurationError: as :func:`read_settings_file`.
    """
    data = dict(data)
    entries = data.pop(ENTRIES, [])
    if not (isinstance(entries, list) and all(isinstance(e, dict) for e in entries)):
        raise ConfigurationError(
            f"{ENTRIES!r} is not an array of tables",
            where=origin,
            remedy=f"write [[{ENTRIES}]], with two pairs of brackets",
        )
    _check_tables(data, origin, also=(ENTRIES,))
    return SettingsFile(
        origin,
        data,
        tuple(_entry(e, f"{origin} [[{ENTRIES}]] #{n}") for n, e in enumerate(entries, 1)),
    )


def parse_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: of the file.
        what: it is called in errors ("settings file").

    Raises:
        ConfigurationError: it is missing, cannot be read or is not TOML; says the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {what} {path.name!r}", where=str(path), remedy="check the path"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"the {what} cannot be read: {error.strerror}",
            where=str(path),
            remedy="give the path of a file that you may read",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the {what} is not text in UTF-8", where=str(path), remedy="save it as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"the {what} is not TOML: {error}",
            where=str(path),
            remedy="mend the syntax: text needs quotes, and an entry that selects a benchmark or a "
            f"backend sets that one's own keys below {SET!r}, as in {SET}.backend.KEY = VALUE",
        ) from error


def _entry(data: dict[str, Any], origin: str) -> Entry:
    # "benchmark" and "backend" are selectors as well as tables: what was written decides, and
    # where an entry needs both meanings of the word, the table goes below "set".
    selectors, values = {}, {}
    for key, value in data.items():
        if key in SELECTORS and not isinstance(value, dict):
            selectors[key] = _selected(key, value, origin)
        elif key != SET:
            values[key] = value
    _check_tables(values, origin, also=(SET, *SELECTORS))
    below = data.get(SET, {})
    if not isinstance(below, dict):
        raise ConfigurationError(
            f"{SET!r} is a table, not a value: {below!r}",
            where=origin,
            remedy=f"write {SET}.TABLE.KEY = VALUE",
        )
    _check_tables(below, origin)
    values, _ = merge([Layer(origin, values), Layer(f"{origin}, {SET}", below)])
    if "backend" in selectors and "backend" in values.get("run", {}):
        raise ConfigurationError(
            "an entry selected by its backend cannot choose the backend",
            where=origin,
            remedy="leave out the selector 'backend' or the key 'run.backend'",
        )
    return Entry(origin, selectors, values)


def _selected(selector: str, value: Any, origin: str) -> tuple[str, ...]:
    given = value if isinstance(value, list) else [value]
    names = []
    for name in given:
        if isinstance(name, int | float) and selector in ("accuracy_target", "power"):
            names.append(f"{name:g}" if not isinstance(name, bool) else str(name))
        elif isinstance(name, str):
            names.append(name)
        else:
            raise ConfigurationError(
                f"the selector {selector!r} is neither text nor a list of texts: {name!r}",
                where=origin,
                remedy=f'write {selector} = "NAME"',
            )
    try:
        return tuple(_proper(selector, name) for name in names)
    except UnknownNameError as error:
        raise UnknownNameError(error.kind, error.name, error.known, where=origin) from None


def _proper(selector: str, name: str) -> str:
    match selector:
        case "scenario":
            return Scenario.parse(name).value
        case "variant":
            return Variant.parse(name).value
        case "mode":
            return Mode.parse(name).value
        case "round":
            return round_name(name)
        case "power" if name.casefold() not in ("true", "false"):
            raise UnknownNameError("power setting", name, ("true", "false"))
    return name


def _check_tables(data: Mapping[str, Any], origin: str, *, also: tuple[str, ...] = ()) -> None:
    for table, values in data.items():
        if table not in TABLES:
            kind = "table" if isinstance(values, Mapping) else "key"
            raise UnknownNameError(kind, table, (*TABLES, *also), where=origin)
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"{table!r} is a table, not a value: {values!r}",
                where=origin,
                remedy=f"write [{table}] and its keys below it",
            )
        # Found here, because an entry for another workload would hide its misspelt keys.
        if table in _OWN_TABLES:
            known = [field.name for field in attrs.fields(_OWN_TABLES[table])]
            for key in values:
                if key not in known:
                    raise UnknownNameError(f"key in [{table}]", key, known, where=origin)
