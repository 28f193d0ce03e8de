"""Reading CTranslate2's model files: what the package writes, and nothing that is damaged."""

from __future__ import annotations

import contextlib
import errno
import struct
from typing import TYPE_CHECKING, Any

import ctranslate2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpinf_core.errors import IntegrityError, PrerequisiteError
from mlpinf_whisper.ct2_file import Ct2File

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RANDOM = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "wide": RANDOM.normal(size=(3, 5)).astype(np.float32),
    "half": RANDOM.normal(size=(2, 2, 3)).astype(np.float16),
    "small": RANDOM.integers(-128, 127, (4, 2)).astype(np.int8),
    "whole": np.array([1, -70_000], dtype=np.int32),
    "flag": np.array(1, dtype=np.int8),
}


def written(directory: Path, arrays: Mapping[str, Any]) -> Path:
    """A model file, by the package itself."""

    base: Any = ctranslate2.specs.ModelSpec
    spec = type("Spec", (base,), {"name": "ToySpec", "revision": 4, **dict.fromkeys(arrays)})()
    for name, array in arrays.items():
        setattr(spec, name, array)
    spec.validate()
    spec.optimize()
    directory.mkdir(exist_ok=True)
    spec.save(str(directory))
    return directory / "model.bin"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("ct2") / "toy", ARRAYS)


def test_what_the_package_writes_is_read(file: Path) -> None:
    found = Ct2File.open(file)
    assert (found.specification, found.revision) == ("ToySpec", 4)
    assert found.variables.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.variables[name].dtype == array.dtype
        np.testing.assert_array_equal(found.variables[name], array)


def test_a_variable_that_is_used_twice_is_an_alias(tmp_path: Path) -> None:
    same = ARRAYS["wide"]
    found = Ct2File.open(written(tmp_path / "m", {"first": same, "second": same.copy()}))
    assert found.aliases == {"second": "first"}
    assert list(found.variables) == ["first"]


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5], [0.15625, 3e38]], dtype=np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    path = tmp_path / "model.bin"
    path.write_bytes(model_bytes(("w", upper.tobytes(), upper.shape, 5)))
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(Ct2File.open(path).variables["w"], expected)


def model_bytes(
    *variables: tuple[str, bytes, tuple[int, ...], int],
    version: int = 6,
    aliases: Mapping[str, str] | None = None,
) -> bytes:
    """A model file, byte by byte."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    made = struct.pack("<I", version) + text("ToySpec") + struct.pack("<II", 1, len(variables))
    for name, data, shape, kind in variables:
        made += text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        made += struct.pack("<BI", kind, len(data)) + data
    made += struct.pack("<I", len(aliases or {}))
    return made + b"".join(text(a) + text(b) for a, b in (aliases or {}).items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (model_bytes(version=5), "binary version is 5, and 6 can be read"),
        (model_bytes(("w", b"\0" * 8, (3,), 0)), "has 8 bytes instead of 12"),
        (model_bytes(("w", b"\0" * 9, (3,), 0)), "has 9 bytes instead of 12"),
        (model_bytes(("w", b"\0" * 4, (1,), 9)), "'w' has the unknown type 9"),
        (model_bytes(("w", b"", (1,) * 9, 0)), "'w' has 9 dimensions"),
        (model_bytes(("w", b"\0", (), 1), ("w", b"\0", (), 1)), "'w' is in it twice"),
        (model_bytes(aliases={"a": "b"}), "alias 'a' of 'b' leads nowhere"),
        (model_bytes() + b"more", "4 bytes follow its end"),
    ],
)
def test_what_does_not_fit_is_one_error_that_names_the_file(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message) as caught:
        Ct2File.open(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy


def test_a_truncated_file_is_refused_wherever_it_ends(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    path = tmp_path / "model.bin"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError, match=r"truncated|empty"):
            Ct2File.open(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match="missing") as caught:
        Ct2File.open(tmp_path / "model.bin")
    assert caught.value.where == str(tmp_path / "model.bin")


def test_a_file_that_cannot_be_read_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(
        PrerequisiteError, match=r"model\.bin cannot be read \(Permission"
    ) as caught:
        Ct2File.open(file)
    assert caught.value.where == str(file)
    assert caught.value.remedy


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_either_read_or_refused(
    data: st.DataObject, file: Path, tmp_path: Path
) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with contextlib.suppress(IntegrityError):
        found = Ct2File.open(path)
        assert sum(array.nbytes for array in found.variables.values()) <= len(content)
