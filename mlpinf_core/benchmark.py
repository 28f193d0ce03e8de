"""What a plugin declares: its benchmarks, their variants, the files they need, its backends."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import attrs

from mlpinf_core.errors import PrerequisiteError
from mlpinf_core.names import lookup
from mlpinf_core.rules.model import BenchmarkRules, Limit
from mlpinf_core.vocabulary import Scenario, Variant


@attrs.frozen
class NoSettings:
    """The settings of a benchmark or backend that has none: any key is refused."""


@attrs.frozen
class Source:
    """A file that a variant needs and that is fetched, never shipped.

    Tried in order: the path the user gives, then ``wheel``, then ``url``. Whatever it comes from,
    its size and checksum decide. What needs unpacking is unpacked by the plugin, as an artifact.

    Attributes:
        name: its name in messages and on disk.
        kind: ``models`` or ``data``: which folder of the scratch space it belongs to.
        size: bytes; about, and not checked, where ``size_is_estimate``.
        sha256: lower-case hex digest of the file itself. None where nobody publishes one, which
            only a file that a person gets by hand can have: the plugin then checks what is in it.
        licence: SPDX identifier, or the terms to accept for a gated file.
        wheel: ``(requirement, member)``: a pinned package on the index, and the file in its wheel;
            a member of None means the wheel itself.
        url: where the file is on the web.
        gated: what to accept and where to put the file, when it cannot be fetched unattended.
        setting: dotted key of the setting that says where the user has the file already
            (``benchmark.model_path``); None where there is none.
        unless: dotted key of a setting that, when it has a value, makes this file unnecessary
            (``benchmark.data_path``, of a folder that is prepared already); or several keys, any of
            which does.
        size_is_estimate: whether the size is only known about.
    """

    name: str
    kind: str
    size: int
    sha256: str | None
    licence: str
    wheel: tuple[str, str | None] | None = None
    url: str | None = None
    gated: str | None = None
    setting: str | None = None
    unless: str | tuple[str, ...] | None = None
    size_is_estimate: bool = False

    @property
    def hint(self) -> str | None:
        """How the user says where the file is."""
        return _hint(self.setting)

    @property
    def by_hand(self) -> bool:
        """Whether only a person can get it."""
        return self.gated is not None


@attrs.frozen
class FolderSource:
    """A folder that a variant needs and that is fetched from the Hugging Face hub, never shipped.

    It counts as there when the hub's own sizes and checksums say so, as they were written down when
    it was fetched. A folder that the user gives, or puts in its place, need only have the files
    that are required of it.

    Attributes:
        name: its name in messages and on disk.
        kind: ``models`` or ``data``: which folder of the scratch space it belongs to.
        size: bytes, about; the hub's own figures decide when it is fetched.
        licence: SPDX identifier, or the terms to accept.
        repository: on the hub, as in its address: ``openai/whisper-large-v3``, and
            ``datasets/OWNER/NAME`` for a data set.
        revision: the commit, 40 hex digits.
        requires: files, or patterns of them, without which it is of no use (``config.json``,
            ``*.safetensors``).
        patterns: which of the repository's files to fetch, as in a shell; ``*`` matches ``/`` too.
        gated: what to accept on the hub before it lets the user in; None where anybody may.
        setting: dotted key of the setting that says where the user has the folder already; None
            where there is none.
        unless: dotted key of a setting that, when it has a value, makes this folder unnecessary;
            or several keys, any of which does.
    """

    name: str
    kind: str
    size: int
    licence: str
    repository: str
    revision: str
    requires: tuple[str, ...]
    patterns: tuple[str, ...] = ("*",)
    gated: str | None = None
    setting: str | None = None
    unless: str | tuple[str, ...] | None = None

    @property
    def hint(self) -> str | None:
        """How the user says where the folder is."""
        return _hint(self.setting)

    @property
    def by_hand(self) -> bool:
        """Whether only a person can get it: never, since credentials open what is gated."""
        return False


AnySource: TypeAlias = Source | FolderSource
"""Something that a variant needs and that is fetched."""


def _hint(setting: str | None) -> str | None:
    return f"set {setting} to where you have it" if setting else None


@attrs.frozen
class VariantSpec:
    """One variant of a benchmark.

    Attributes:
        summary: the model and the data, in one line.
        backend: the backend that runs it unless the user chooses another.
        sources: the files and folders it needs.
        backend_sources: those it needs besides when one backend runs it, by the backend's name.
        defaults: configuration values of this variant, by table and key, for every scenario.
        scenario_defaults: the same for one scenario; they stand above ``defaults``.
        accuracy: its own limits, by accuracy target and metric; None means the round's.
        measurements: what a submission says of the model, by the official key
            (``weight_data_types``), where it does not depend on settings.
        unavailable: why it cannot be run and what to do instead; None when it can.
        eos_token_id: the token that ends an answer, where answers are tokens: what TEST06 counts.
    """

    summary: str
    backend: str
    sources: tuple[AnySource, ...] = ()
    backend_sources: Mapping[str, tuple[AnySource, ...]] = attrs.field(
        factory=lambda: MappingProxyType({})
    )
    defaults: Mapping[str, Any] = attrs.field(factory=lambda: MappingProxyType({}))
    scenario_defaults: Mapping[Scenario, Mapping[str, Any]] = attrs.field(
        factory=lambda: MappingProxyType({})
    )
    accuracy: Mapping[str, Mapping[str, Limit]] | None = None
    measurements: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    unavailable: str | None = None
    eos_token_id: int | None = None


@attrs.frozen
class Benchmark:
    """A named task, as the plugin that owns it offers it.

    Attributes:
        name: its proper name, in MLCommons' spelling (``llama3.1-8b``).
        summary: one line for ``mlpinf list``.
        variants: at least one.
        scenarios: those it can run; the rules say which of them a submission needs.
        settings: an attrs class of the benchmark's own settings, the table ``[benchmark]``.
        aliases: other names people type.
        rules: its rules where no round knows it; None for a benchmark of the rounds.
        response_dtype: the dtype of every response ("int32"), checked as responses come; None
            admits any.
    """

    name: str
    summary: str
    variants: Mapping[Variant, VariantSpec]
    scenarios: tuple[Scenario, ...] = tuple(Scenario)
    settings: type[Any] = NoSettings
    aliases: tuple[str, ...] = ()
    rules: BenchmarkRules | None = None
    response_dtype: str | None = None

    def variant(self, variant: Variant) -> VariantSpec:
        """One of its variants.

        Raises:
            UnknownNameError: the benchmark does not have that variant.
        """
        known = {v.value: spec for v, spec in self.variants.items()}
        return lookup(f"variant of {self.name}", variant.value, known)


@attrs.frozen
class Estimate:
    """What a backend is expected to do, before anything is run.

    Attributes:
        samples_per_second: when it never lacks work.
        target_qps: the highest Server rate that is expected to keep the latency limits; None where
            that was not looked for, or there is none.
    """

    samples_per_second: float
    target_qps: float | None = None


@attrs.frozen
class BackendInfo:
    """A backend, as a plugin offers it.

    Attributes:
        name: what ``run.backend`` is set to (``ctranslate2``).
        benchmarks: proper names of the benchmarks it can run, whoever owns them.
        summary: one line for ``mlpinf list``.
        settings: an attrs class of the backend's own settings, the table ``[backend]``.
        requires: import name to the pip requirement that brings it.
        estimate: configuration (:class:`~mlpinf_core.config.schema.Config`) and scenario to an
            estimate, or to None where the configuration does not say enough; for `mlpinf plan`.
            Takes a second or so, and runs nothing.
        servers: whether it speaks to servers, such as `mlpinf serve` starts; its settings then have
            a key ``urls``.
    """

    name: str
    benchmarks: tuple[str, ...]
    summary: str
    settings: type[Any] = NoSettings
    requires: Mapping[str, str] = attrs.field(factory=lambda: MappingProxyType({}))
    estimate: Callable[[Any, Scenario], Estimate | None] | None = None
    servers: bool = False

    def missing(self) -> list[str]:
        """The pip requirements whose modules are not installed; imports none of them."""
        missing = [pip for module, pip in self.requires.items() if not is_installed(module)]
        return list(dict.fromkeys(missing))

    def require(self) -> None:
        """Check that nothing is missing.

        Raises:
            PrerequisiteError: something is; its remedy is the pip command.
        """
        if missing := self.missing():
            raise PrerequisiteError(
                f"the backend {self.name!r} needs what is not installed: {', '.join(missing)}",
                remedy=f"pip install {shlex.join(missing)}",
            )


def is_installed(module: str) -> bool:
    """Whether a module could be imported; imports at most the packages above it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
