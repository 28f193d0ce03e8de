"""The rules as a pytest class; the only module of the kit that needs pytest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from mlpinf_core.testing import rules
from mlpinf_core.testing.rule import NotApplicableError, Rule
from mlpinf_core.testing.subject import Subject
from mlpinf_core.vocabulary import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping


class PluginConformance:
    """Every rule as a test. A plugin subclasses it and says what to run.

    Example::

        class TestConformance(PluginConformance):
            plugin = "digits"
            benchmark = "digits"

    Attributes:
        plugin: the name of the entry point.
        benchmark: which to run; None means the plugin's first.
        variant: None means ``tiny``, or the only one.
        backend: None means the variant's own.
        settings: tables of settings that make runs quick.
        scenarios: those to run; None means all that the benchmark has.
        repeatable: whether two runs give the same answers to the bit.
    """

    plugin: ClassVar[str]
    benchmark: ClassVar[str | None] = None
    variant: ClassVar[str | None] = None
    backend: ClassVar[str | None] = None
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    scenarios: ClassVar[tuple[str, ...] | None] = None
    repeatable: ClassVar[bool] = True

    _subject: ClassVar[Subject]
    _directory: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def setup_class(cls) -> None:
        """One subject for the class: rules share its runs."""
        cls._directory = tempfile.TemporaryDirectory(prefix="mlpinf-conformance-")
        cls._subject = Subject(
            plugin=cls.plugin,
            directory=Path(cls._directory.name),
            benchmark=cls.benchmark,
            variant=cls.variant,
            backend=cls.backend,
            settings=cls.settings,
            only=None if cls.scenarios is None else tuple(map(Scenario.parse, cls.scenarios)),
            repeatable=cls.repeatable,
        )

    @classmethod
    def teardown_class(cls) -> None:
        """Remove the runs."""
        cls._directory.cleanup()

    def _hold_to(self, rule: Rule) -> None:
        try:
            rule(self._subject)
        except NotApplicableError as reason:
            pytest.skip(str(reason))

    def test_entry_point_loads(self) -> None:
        """The entry point loads."""
        self._hold_to(rules.entry_point_loads)

    def test_light_import(self) -> None:
        """Importing the plugin is cheap and does nothing."""
        self._hold_to(rules.light_import)

    def test_declarations_are_sane(self) -> None:
        """What it declares fits together."""
        self._hold_to(rules.declarations_are_sane)

    def test_unknown_key_refused(self) -> None:
        """A settings key that does not exist is refused."""
        self._hold_to(rules.unknown_key_refused)

    def test_scenarios_run(self) -> None:
        """Every scenario runs."""
        self._hold_to(rules.scenarios_run)

    def test_good_answers_pass(self) -> None:
        """Good answers are within the limits."""
        self._hold_to(rules.good_answers_pass)

    def test_corrupted_answers_fail(self) -> None:
        """Corrupted answers are not."""
        self._hold_to(rules.corrupted_answers_fail)

    def test_same_samples(self) -> None:
        """Every process sees the same samples."""
        self._hold_to(rules.same_samples)

    def test_prepared_once(self) -> None:
        """A second run builds nothing."""
        self._hold_to(rules.prepared_once)

    def test_answers_in_any_order(self) -> None:
        """Each sample gets its own answer, in any order."""
        self._hold_to(rules.answers_in_any_order)

    def test_backend_raises(self) -> None:
        """A backend that raises makes the run INVALID."""
        self._hold_to(rules.backend_raises)

    def test_backend_returns_nothing(self) -> None:
        """A backend that returns None makes the run INVALID."""
        self._hold_to(rules.backend_returns_nothing)

    def test_backend_returns_too_few(self) -> None:
        """A backend that leaves samples out makes the run INVALID."""
        self._hold_to(rules.backend_returns_too_few)

    def test_torn_down(self) -> None:
        """Everything is closed, whatever happened."""
        self._hold_to(rules.torn_down)
