"""Which of the declared files and folders a configuration needs, and where the user has them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mlpinf_core.benchmark import AnySource, VariantSpec
    from mlpinf_core.config.schema import Config


def needed(spec: VariantSpec, config: Config) -> tuple[AnySource, ...]:
    """The variant's sources and those of the chosen backend, without what a setting makes needless.

    Args:
        spec: the variant.
        config: its settings, resolved; ``run.backend`` is a proper name.
    """
    replaced = {source for source, _, _ in replacements(spec, config)}
    return tuple(source for source in _declared(spec, config) if source not in replaced)


def replacements(spec: VariantSpec, config: Config) -> list[tuple[AnySource, str, Any]]:
    """The sources that a setting makes needless, each with the setting's key and value.

    Args:
        spec: the variant.
        config: its settings, resolved; ``run.backend`` is a proper name.
    """
    found = []
    for source in _declared(spec, config):
        keys = (source.unless,) if isinstance(source.unless, str) else source.unless or ()
        given = ((key, value) for key in keys if (value := _value(config, key)) is not None)
        found += [(source, *first) for first in itertools.islice(given, 1)]
    return found


def local_path(source: AnySource, config: Config) -> Path | None:
    """Where the configuration says that the user has it; None where it says nothing."""
    if source.setting is None:
        return None
    path: Path | None = _value(config, source.setting)
    return path


def _declared(spec: VariantSpec, config: Config) -> tuple[AnySource, ...]:
    declared = (*spec.sources, *spec.backend_sources.get(config.run.backend, ()))
    return tuple(dict.fromkeys(declared))


def _value(config: Config, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), config)
