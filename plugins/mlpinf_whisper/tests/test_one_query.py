"""Attention of one query a row: what PyTorch's says, however many keys there are.

Without a CUDA device the kernel is interpreted, which is slow and tells as much.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
with pytest.MonkeyPatch.context() as patch:
    if not torch.cuda.is_available():
        patch.setenv("TRITON_INTERPRET", "1")  # read when Triton and the kernel are imported
    pytest.importorskip("triton", reason="the kernel is written in Triton")
    one_query = pytest.importorskip("mlpinf_whisper.one_query")

pytestmark = pytest.mark.usefixtures("kernels_interpreted")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("keys", [1, 64, 150])
@pytest.mark.parametrize("width", [64, 24])
def test_one_query_attends_as_pytorch_does(keys: int, width: int) -> None:
    rows, heads = 3, 2
    joined = torch.randn((rows, 1, 3 * heads * width), device=DEVICE)
    query = joined.chunk(3, -1)[1].view(rows, 1, heads, width).transpose(1, 2)
    room = torch.randn((2, rows, heads, keys + 5, width), device=DEVICE)
    key, value = room[0, :, :, :keys], room[1, :, :, :keys]
    found = one_query.attend(query, key, value)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    torch.testing.assert_close(found, expected.transpose(1, 2).flatten(-2), rtol=1e-4, atol=1e-4)


def test_keys_after_the_last_are_not_looked_at() -> None:
    query = torch.randn((2, 2, 1, 64), device=DEVICE)
    key, value = torch.randn((2, 2, 2, 90, 64), device=DEVICE)
    expected = one_query.attend(query, key[:, :, :71], value[:, :, :71])
    key[:, :, 71:], value[:, :, 71:] = torch.nan, torch.nan
    last = torch.tensor([70], device=DEVICE)
    found = one_query.attend(query, key, value, last)
    torch.testing.assert_close(found, expected)


def test_keys_and_values_are_taken_apart_into_heads() -> None:
    joined = torch.randn((3, 70, 2 * 2 * 24), device=DEVICE)
    room = torch.full((2, 4, 2, 70, 24), torch.nan, device=DEVICE)
    keys, values = room[:, 1:]
    one_query.split(joined, keys, values)
    for part, found in zip(joined.chunk(2, -1), (keys, values), strict=True):
        assert torch.equal(found, part.view(3, 70, 2, 24).transpose(1, 2))
    assert room[:, 0].isnan().all()
