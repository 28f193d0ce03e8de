"""Which of the declared files and folders a configuration needs, and where the user has them."""

from __future__ import annotations

import functools
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
    declared = (*spec.sources, *spec.backend_sources.get(config.run.backend, ()))
    return tuple(
        source
        for source in dict.fromkeys(declared)
        if source.unless is None or _value(config, source.unless) is None
    )


def local_path(source: AnySource, config: Config) -> Path | None:
    """Where the configuration says that the user has it; None where it says nothing."""
    if source.setting is None:
        return None
    path: Path | None = _value(config, source.setting)
    return path


def _value(config: Config, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), config)
