"""What a round asks of the tree that a submission is, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mlpinf_core.vocabulary import Division, Scenario

if TYPE_CHECKING:
    from pathlib import Path


@attrs.frozen
class TreePaths:
    """Where things lie in a tree.

    Each is a path relative to the tree's root, in which ``{division}``, ``{submitter}``,
    ``{system}``, ``{benchmark}``, ``{scenario}`` and ``{test}`` stand for themselves.

    Attributes:
        source: the folders of source code; one is enough, and the first is the round's own.
        results: of one scenario: ``performance/`` and ``accuracy/`` lie below.
        measurements: the folders in which ``user.conf``, ``README.md`` and the file of measurements
            have to lie; the first is the round's own.
        measurements_file: the name of that file in each of them.
        audits: the folders of one compliance test; the first is the round's own.
        system: the description of a system.
        documentation: of a submitter.
        calibration: where the calibration note may lie; one is enough.
        mapping: the submitter's names of benchmarks to the round's, in the open division.
    """

    source: tuple[str, ...]
    results: str
    measurements: tuple[str, ...]
    measurements_file: tuple[str, ...]
    audits: tuple[str, ...]
    system: str
    documentation: str
    calibration: tuple[str, ...]
    mapping: str


@attrs.frozen
class TreeFiles:
    """The names of files that have to lie in a folder, or may.

    Attributes:
        performance: of a performance run.
        optional_performance: what may lie beside them.
        accuracy: of an accuracy run.
        measurements: beside the file of measurements.
        optional_measurements: what may lie beside them.
        power_performance: of a performance run beside the others, where power was measured.
        power: of a power measurement.
        power_measurements: what the names of its settings' files begin with.
        beside_benchmarks: what may lie with a system's benchmarks.
        beside_description: what may lie with a system's description, ``{system}`` its name.
        audit_accuracy: what has to lie in the folder ``accuracy`` of a TEST01 whose exact
            comparison failed.
    """

    performance: tuple[str, ...]
    optional_performance: tuple[str, ...]
    accuracy: tuple[str, ...]
    measurements: tuple[str, ...]
    power_performance: tuple[str, ...]
    power: tuple[str, ...]
    power_measurements: tuple[str, ...]
    audit_accuracy: tuple[str, ...]
    optional_measurements: tuple[str, ...] = ()
    beside_benchmarks: tuple[str, ...] = ()
    beside_description: tuple[str, ...] = ()


@attrs.frozen
class AuditSettings:
    """What a compliance test's own log has to say: keys of the detail log to their values.

    Attributes:
        values: by key; 1 is also true.
        verdicts: a file of the test to the lines that have to stand in it, each of which may be
            one of several.
    """

    values: Mapping[str, int] = attrs.field(factory=dict)
    verdicts: Mapping[str, tuple[tuple[str, ...], ...]] = attrs.field(factory=dict)


@attrs.frozen
class SubmissionRules:
    """What a round asks of a submission's tree.

    Attributes:
        divisions: those that there are.
        paths: where things lie.
        files: what they are called.
        root_suffixes: how files beside the divisions may end.
        max_file_bytes: of any file.
        max_accuracy_log_bytes: of an accuracy log, when it is cut.
        accuracy_log_end_bytes: how much of each end of it remains.
        measurement_fields: keys of the file of measurements; each has to say something.
        one_of: scenarios of which a closed submission has at least one, where the round offers all
            of them for the benchmark.
        audited_divisions: those whose submissions need compliance tests, a calibration note, every
            required scenario and the round's accuracy.
        loadgen_versions: those of LoadGen that were made for the round.
        loadgen_sources: files of LoadGen whose checksums every log has.
        truncated_audits: compliance tests whose accuracy log is cut as a result's is; the others'
            are small.
        audits: compliance test to what its log and its verdicts have to say.
        images: benchmark to the files, without their ending, that have to lie in
            ``accuracy/images``.
    """

    divisions: tuple[Division, ...]
    paths: TreePaths
    files: TreeFiles
    root_suffixes: tuple[str, ...]
    max_file_bytes: int
    max_accuracy_log_bytes: int
    accuracy_log_end_bytes: int
    measurement_fields: tuple[str, ...]
    one_of: tuple[Scenario, ...]
    audited_divisions: tuple[Division, ...]
    loadgen_versions: tuple[str, ...]
    loadgen_sources: tuple[str, ...]
    truncated_audits: tuple[str, ...] = ()
    audits: Mapping[str, AuditSettings] = attrs.field(factory=dict)
    images: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


def expanded(template: str, root: Path, **names: str) -> Path:
    """A path of the tree with its names filled in."""
    return root / template.format(**names)
