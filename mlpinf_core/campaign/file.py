"""``campaign.toml``: what is run, and what is submitted of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.config.files import parse_toml
from mlpinf_core.config.layers import Layer
from mlpinf_core.config.scalars import StructureError
from mlpinf_core.config.structure import structure
from mlpinf_core.errors import ConfigurationError
from mlpinf_core.plan import Request
from mlpinf_core.rules import DEFAULT_ROUND, round_name
from mlpinf_core.vocabulary import Category, Division, Scenario, Variant

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_FILE: Final = Path("campaign.toml")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen
class WorkloadEntry:
    """One ``[[workloads]]`` table.

    Attributes:
        benchmark: its name.
        scenarios: those to run; none means those that a submission needs.
        variant: ``full`` or ``tiny``; None means the full one, or the benchmark's only one.
        accuracy_target: ``99``, ``99.9``, ``highest``; None is the benchmark's default.
        files: settings files, the lowest first.
        settings: tables of settings, above the files.
    """

    benchmark: str
    scenarios: tuple[str, ...] = ()
    variant: str | None = None
    accuracy_target: str | None = None
    files: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = _NOTHING


@attrs.frozen
class SubmissionEntry:
    """The ``[submission]`` table: what is staged, checked and packed.

    Attributes:
        submitter: the organisation.
        division: ``closed`` or ``open``.
        archive: the file to pack; None means ``SUBMITTER.tar.gz`` in the campaign's directory.
        source: the folder of source code.
        calibration: the calibration note.
        password_file: its first line encrypts the archive; None leaves it readable.
        fields: what stands above the system files, by key of the official description.
        measurements: what stands above the plugins, by key of the file of measurements.
    """

    submitter: str
    division: str
    archive: Path | None = None
    source: Path | None = None
    calibration: Path | None = None
    password_file: Path | None = None
    fields: Mapping[str, str] = _NOTHING
    measurements: Mapping[str, str] = _NOTHING


@attrs.frozen
class CampaignFile:
    """The whole file, with its paths absolute.

    Attributes:
        workloads: what is run, in this order.
        round: of the rules.
        output: the campaign's directory; None means the file's name without its ending, beside it.
        category: ``datacenter`` or ``edge``: leave out scenarios that such a system does not have.
        system: a known system, or a system file; None means the one that is recognised.
        audits: whether to make the compliance tests that the round asks for.
        attempts: how often a run that ends INVALID is made at most, each time it is started.
        submission: None means that nothing is staged.
    """

    workloads: tuple[WorkloadEntry, ...]
    round: str = DEFAULT_ROUND
    output: Path | None = None
    category: str | None = None
    system: str | None = None
    audits: bool = True
    attempts: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    submission: SubmissionEntry | None = None

    @property
    def directory(self) -> Path:
        """The campaign's directory."""
        if self.output is None:
            raise RuntimeError("a campaign is read with read_campaign()")
        return self.output

    def requests(self) -> Iterator[Request]:
        """What to run, one request for each table.

        Raises:
            UnknownNameError: a word is not known.
        """
        for number, entry in enumerate(self.workloads, 1):
            origin = f"[[workloads]] #{number}"
            yield Request(
                benchmarks=(entry.benchmark,),
                scenarios=tuple(map(Scenario.parse, entry.scenarios)) or None,
                round=self.round,
                variant=None if entry.variant is None else Variant.parse(entry.variant),
                accuracy_target=entry.accuracy_target,
                category=None if self.category is None else Category.parse(self.category),
                files=entry.files,
                system=self.system,
                layers=(Layer(origin, entry.settings),) if entry.settings else (),
                output=self.directory,
            )


def read_campaign(path: Path) -> CampaignFile:
    """Read and check a campaign.

    Raises:
        ConfigurationError: the file is missing or not TOML, or a key is unknown, missing or wrong.
    """
    data = parse_toml(path, "campaign")
    try:
        found: CampaignFile = structure(data, CampaignFile)
    except StructureError as error:
        raise ConfigurationError(
            "\n    ".join(("the campaign is wrong:", *map(str, error.problems))),
            where=str(path),
            remedy="see docs/campaign.md",
        ) from error
    if not found.workloads:
        raise ConfigurationError(
            "the campaign has no workloads", where=str(path), remedy="write [[workloads]] tables"
        )
    if found.submission is not None:
        Division.parse(found.submission.division)
    here = path.absolute().parent
    output = found.output if found.output is not None else Path(path.stem)
    return attrs.evolve(
        found,
        round=round_name(found.round),
        output=here / output,
        workloads=tuple(
            attrs.evolve(entry, files=tuple(here / file for file in entry.files))
            for entry in found.workloads
        ),
        submission=_placed(found.submission, here, here / output),
    )


def _placed(entry: SubmissionEntry | None, here: Path, output: Path) -> SubmissionEntry | None:
    if entry is None:
        return None

    def placed(path: Path | None) -> Path | None:
        return None if path is None else here / path

    return attrs.evolve(
        entry,
        archive=placed(entry.archive) or output / f"{entry.submitter}.tar.gz",
        source=placed(entry.source),
        calibration=placed(entry.calibration),
        password_file=placed(entry.password_file),
    )
