"""Features are converted without losing their place, their scale or their sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat.features import convert, features_name, scale_of

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)


def converted(kind: str, folder: Path, features: np.ndarray = FEATURES, memory: int = 1 << 20):  # type: ignore[type-arg, no-untyped-def]
    scale = convert(features, "fos", kind, folder, memory=memory)
    return np.load(folder / features_name("fos")), scale


def test_float16_is_numpys_float16(tmp_path: Path) -> None:
    found, scale = converted("float16", tmp_path)
    assert scale == 1
    assert np.array_equal(found, FEATURES.astype(np.float16))


def test_fp8_is_pytorchs_e4m3_of_the_scaled_features(tmp_path: Path) -> None:
    found, scale = converted("float8_e4m3", tmp_path)
    wanted = (torch.from_numpy(FEATURES) * scale).to(torch.float8_e4m3fn).view(torch.uint8)
    assert found.dtype == np.uint8
    assert np.array_equal(found, wanted.numpy())


def test_fp8_comes_back_within_a_sixteenth(tmp_path: Path) -> None:
    found, scale = converted("float8_e4m3", tmp_path, 0.02 * FEATURES)
    back = torch.from_numpy(found).view(torch.float8_e4m3fn).float().numpy() / scale
    normal = np.abs(0.02 * FEATURES) > 2**-6 / scale
    assert np.abs(back / (0.02 * FEATURES) - 1)[normal].max() <= 1 / 16 + 1e-6
    assert normal.mean() > 0.98


@pytest.mark.parametrize("largest", [0.001, 1.0, 7.3, 500.0])
def test_the_scale_is_a_power_of_two_that_leaves_a_factor_of_two(largest: float) -> None:
    scale = scale_of(np.full((10, 2), -largest, dtype=np.float32))
    assert np.log2(scale) == round(np.log2(scale))
    assert 448 / 4 < largest * scale <= 448 / 2


def test_features_that_are_all_zero_keep_their_scale() -> None:
    assert scale_of(np.zeros((5, 2), dtype=np.float32)) == 1


def test_a_feature_beyond_the_range_of_fp8_becomes_the_largest_number(tmp_path: Path) -> None:
    features = np.ones((9000, 1), dtype=np.float32)
    features[1] = 1e6  # not among those that the scale is judged by
    found, _ = converted("float8_e4m3", tmp_path, features)
    assert float(torch.from_numpy(found[1:2]).view(torch.float8_e4m3fn).float()) == 448


@pytest.mark.parametrize("memory", [3000, 1 << 30])
def test_memory_does_not_change_what_comes_out(memory: int, tmp_path: Path) -> None:
    found, _ = converted("float16", tmp_path, memory=memory)
    assert np.array_equal(found, FEATURES.astype(np.float16))


def test_a_conversion_that_was_stopped_is_continued(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(FEATURES, "fos", "float16", tmp_path, memory=100_000, advanced=stop)
    part = tmp_path / f"{features_name('fos')}.part"
    assert 0 < part.stat().st_size < FEATURES.nbytes // 2
    found, _ = converted("float16", tmp_path)
    assert np.array_equal(found, FEATURES.astype(np.float16))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float16", "float8_e4m3"])
def test_a_feature_that_is_no_number_is_refused_with_its_node(
    wrong: float, kind: str, tmp_path: Path
) -> None:
    features = FEATURES.copy()
    features[700, 3] = wrong
    with pytest.raises(IntegrityError, match="a feature of fos 700 is") as caught:
        converted(kind, tmp_path, features)
    assert "row 700" in str(caught.value.where)


def test_a_feature_beyond_float16_is_refused_with_what_to_do(tmp_path: Path) -> None:
    features = FEATURES.copy()
    features[3, 3] = 70_000
    with pytest.raises(IntegrityError, match="a feature of fos is 70000, beyond float16") as caught:
        converted("float16", tmp_path, features)
    assert "float32" in str(caught.value.remedy)
