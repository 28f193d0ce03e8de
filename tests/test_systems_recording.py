"""A recorded machine answers as the machine did."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import ConfigurationError
from mlpinf_core.systems.detection import detect
from mlpinf_core.systems.host import ThisHost
from mlpinf_core.systems.recording import RememberingHost, read_recording
from mlpinf_core.systems.toml import toml_lines, toml_value

from .machines import NAMES, facts_of, recorded

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("machine", NAMES)
def test_a_recording_of_a_recorded_machine_has_the_same_facts(machine: str, tmp_path: Path) -> None:
    host = RememberingHost(recorded(machine))
    detect(host)
    again = tmp_path / "again.toml"
    again.write_text(host.recording())
    assert detect(read_recording(again)).to_dict() == facts_of(machine).to_dict()


def test_a_recording_of_this_machine_has_its_facts(tmp_path: Path) -> None:
    host = RememberingHost(ThisHost())
    facts = detect(host)
    path = tmp_path / "this.toml"
    path.write_text(host.recording())
    assert detect(read_recording(path)).to_dict() == facts.to_dict()


def test_a_question_is_put_to_the_machine_once() -> None:
    class Counting(ThisHost):
        asked = 0

        def run(self, *command: str) -> str:
            self.asked += 1
            return "x86_64"

    machine = Counting()
    host = RememberingHost(machine)
    assert host.run("uname", "-m") == host.run("uname", "-m") == "x86_64"
    assert machine.asked == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("files = 3\n", "files"),
        ("[settings]\nx = 1\n", "settings"),
        ("[files\n", "cannot be read"),
    ],
)
def test_what_is_not_a_recording_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_recording(path)


def test_a_recording_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_recording(tmp_path / "none.toml")


plain = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(plain)
def test_a_value_written_as_toml_reads_back(value: object) -> None:
    written = toml_value(value)
    assert len(written.splitlines()) <= 1 or not written.isascii()
    assert tomllib.loads(f"value = {written}\n")["value"] == value


@settings(max_examples=300)
@given(st.text(st.sampled_from("a'\"\n\r\t\x00\x7f\x85\u2028\\ ")) | st.text())
@example("a\r\x85")
@example("\n\n")
@example("it's\n'")
@example("a\n\tb")
def test_a_text_written_on_several_lines_reads_back(text: str) -> None:
    read = tomllib.loads(f"value = {toml_lines(text)}\n")["value"]
    assert read in (text, text.replace("\t", " "))
