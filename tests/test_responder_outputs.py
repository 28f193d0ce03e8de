"""What backends return: logged as its bytes where it fits, and a failure where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlpinf_core.loadgen.responder import Responder
from mlpinf_core.protocols import Outputs

from .issuing import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .issuing import IssuingLoadGen


@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lambda n: np.arange(n, dtype=np.int64), lambda i: np.int64(i).tobytes()),
        (lambda n: np.arange(4 * n, dtype=np.int16).reshape(n, 4)[:, ::2], None),
        (lambda n: np.arange(6 * n, dtype=np.uint8).reshape(n, 2, 3), None),
        (lambda n: np.asfortranarray(np.arange(3.0 * n).reshape(n, 3)), None),
        (lambda n: np.empty((n, 0), dtype=np.int32), lambda i: b""),
        (lambda n: [np.arange(i, dtype=np.int32) for i in range(n)], None),
        (lambda n: [np.arange(10, dtype=np.int32)[::3] for _ in range(n)], None),
        (lambda n: tuple(np.array([i]) for i in range(n)), None),
        (lambda n: [np.empty(0, dtype=np.int32)] * n, lambda i: b""),
    ],
    ids=["scalar", "strided", "3d", "fortran", "empty", "ragged", "strided-rows", "tuple", "none"],
)
def test_rows_of_any_shape_and_layout_are_logged_as_their_bytes(
    loadgen: IssuingLoadGen,
    count: int,
    data: Callable[[int], Any],
    expected: Callable[[int], bytes] | None,
) -> None:
    responder = Responder()
    rows = data(count)
    responder.complete(responder.open(loadgen.issue(count)), Outputs(rows))
    wanted = [expected(i) if expected else rows[i].tobytes() for i in range(count)]
    assert loadgen.payloads() == wanted
    assert not responder.failures()


class Odd:
    """Says it has a length and cannot be read."""

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        raise RuntimeError("cannot be read")


odd: Any = Outputs
"""Outputs that a type checker would not let through."""


@pytest.mark.parametrize("repeat", [1, 5])
@pytest.mark.parametrize(
    ("outputs", "code"),
    [
        (odd(np.arange(3)), "count"),
        (odd(np.arange(5)), "count"),
        (odd([]), "count"),
        (odd(np.arange(4, dtype=np.int32)), "dtype"),
        (odd(np.array([1, "a", None, 2.0], dtype=object)), "dtype"),
        (odd([np.arange(2), np.arange(2), None, np.arange(2)]), "dtype"),
        (odd([np.arange(2), np.arange(2), np.arange(2.0), np.arange(2)]), "dtype"),
        (odd(["a", "b", "c", "d"]), "dtype"),
        (odd([[1], [2, [3]], [4], [5]]), "outputs"),
        (odd(iter([1, 2, 3, 4])), "outputs"),
        (odd(np.array(4)), "outputs"),
        (odd(None), "outputs"),
        (odd(Odd()), "outputs"),
        (np.arange(4), "outputs"),
        ([np.arange(4)], "outputs"),
        (None, "outputs"),
        (odd(np.arange(4), n_tokens=np.arange(3)), "tokens"),
        (odd(np.arange(4), n_tokens=np.arange(4.0)), "tokens"),
        (odd(np.arange(4), n_tokens=np.array([1, 2, -1, 4])), "tokens"),
        (odd(np.arange(4), n_tokens=[1, 2, None, 4]), "tokens"),
        (odd(np.arange(4), n_tokens=7), "tokens"),
    ],
    ids=repr,
)
def test_outputs_that_do_not_fit_fail_every_sample_of_the_batch(
    loadgen: IssuingLoadGen, outputs: Any, code: str, repeat: int
) -> None:
    count = 4 * repeat
    if repeat > 1:  # the same mistake in a batch that is handled by arrays
        outputs = enlarged(outputs, repeat)
    responder = Responder(dtype=np.int64)
    responder.complete(responder.open(loadgen.issue(count)), outputs)
    assert loadgen.payloads() == [b""] * count
    assert codes(responder) == {code: count}
    assert responder.progress().failed == responder.progress().completed == count


def enlarged(outputs: Any, times: int) -> Any:
    if not isinstance(outputs, Outputs):
        return outputs
    data: Any = outputs.data
    n_tokens: Any = outputs.n_tokens
    if isinstance(data, list) or (isinstance(data, np.ndarray) and data.ndim):
        data = list(data) * times if isinstance(data, list) else np.tile(data, times)
    elif isinstance(data, Odd):
        data = type("Odder", (Odd,), {"__len__": lambda _: 4 * times})()
    if isinstance(n_tokens, list | np.ndarray):
        n_tokens = n_tokens * times if isinstance(n_tokens, list) else np.tile(n_tokens, times)
    return odd(data, n_tokens)


def test_rows_of_several_dtypes_name_the_wrong_one_and_the_right_one(
    loadgen: IssuingLoadGen,
) -> None:
    responder = Responder(dtype="int32")
    responder.complete(responder.open(loadgen.issue(1)), Outputs(np.array([[1.5]])))
    (failure,) = responder.failures()
    assert "float64" in failure.message
    assert "int32" in failure.message
