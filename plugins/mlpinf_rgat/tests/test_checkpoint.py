"""The official checkpoint: every name accounted for, and anything else refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat import checkpoint, tiny
from mlpinf_rgat.checkpoint import STATE
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.relations import RELATIONS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(tiny.weights(), weights_only=True)[STATE]
    return found


def stored(state: object, folder: Path) -> Path:
    torch.save({STATE: state, "epoch": 3}, folder / "RGAT.pt")
    return folder / "RGAT.pt"


def test_the_official_model_has_its_official_size_under_its_official_names() -> None:
    with torch.device("meta"):
        model = Rgat(1024, 512, 2983)
    assert sum(parameter.numel() for parameter in model.parameters()) == 13_115_303
    names = checkpoint.official_names(3)
    assert len(names) == 3 * 11 * 4 + 2
    assert names["model.layers.1.mods.rev_written_by.fc.weight"] == ("layers.1.weight", 6)
    assert names["model.layers.2.mods.cites.attn_r"] == ("layers.2.target", 0)
    assert names["model.linear.bias"] == ("linear.bias", None)


def test_what_is_saved_is_loaded_again_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Rgat(12, 8, 5)
    checkpoint.save(model, tmp_path / "a.pt")
    again = checkpoint.load(tmp_path / "a.pt")
    for (name, one), (_, other) in zip(
        model.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name


def test_each_official_parameter_goes_to_its_own_place(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model = checkpoint.load(stored(state, tmp_path))
    for layer in range(3):
        for number, relation in enumerate(RELATIONS):
            prefix = f"model.layers.{layer}.mods.{relation.name}."
            ours = model.layers[layer]
            assert torch.equal(ours.weight[number], state[f"{prefix}fc.weight"])
            assert torch.equal(ours.source[number], state[f"{prefix}attn_l"][0])
            assert torch.equal(ours.target[number], state[f"{prefix}attn_r"][0])
            assert torch.equal(ours.bias[number], state[f"{prefix}bias"])


def test_the_second_copy_of_each_layer_that_the_official_file_holds_is_accepted(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    twice = state | {
        key.removeprefix("model."): value for key, value in state.items() if ".layers." in key
    }
    assert len(twice) == 2 * 132 + 2
    checkpoint.load(stored(twice, tmp_path))


def change(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**state, **changes}


CITES = "model.layers.1.mods.cites.fc.weight"
FIRST = "model.layers.0.mods.cites.fc.weight"
LEFT = "model.layers.0.mods.cites.attn_l"
LINEAR = "model.linear.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != CITES}, f"lacks {CITES}"),
        (lambda s: s | {"model.extra": s[CITES]}, "that the model does not: model.extra"),
        (lambda s: s | {CITES: s[CITES][:, :10]}, rf"has {CITES} of \[64, 10\], not \[64, 64\]"),
        (
            lambda s: s | {CITES.removeprefix("model."): s[CITES] + 1},
            "has two layers in one: layers.1.mods.cites.fc.weight differs",
        ),
        (lambda s: {"model.linear.bias": s["model.linear.bias"]}, "lacks"),
        (lambda s: s | {CITES: 3}, f"has parameters that are no tensors: {CITES}"),
        (lambda s: {}, "lacks"),
        (lambda s: s | {FIRST: s[FIRST].unsqueeze(0)}, rf"has {FIRST} of \[1, 64, 64\], not of 2"),
        (lambda s: s | {LEFT: s[LEFT].flatten()}, rf"has {LEFT} of \[64\], not of \[1, heads"),
        (lambda s: s | {LEFT: s[LEFT].expand(2, -1, -1)}, rf"has {LEFT} of \[2, 4, 16\], not of"),
        (lambda s: s | {LEFT: s[LEFT][:, :3]}, "do not make 3 heads"),
        (lambda s: s | {LEFT: s[LEFT][:, :0]}, "do not make 0 heads"),
        (lambda s: s | {"model.layers.x.foo": s[FIRST]}, r"model does not: model\.layers\.x\.foo"),
        (lambda s: s | {"model.layers.7": s[FIRST]}, r"that the model does not: model\.layers\.7"),
        (lambda s: s | {7: s[FIRST]}, "has parameters whose names are no text: 7"),
        (lambda s: s | {LINEAR: torch.tensor(1.0)}, rf"has {LINEAR} of \[\], not of 2 dimensions"),
        (lambda s: s | {CITES: s[CITES] * torch.nan}, f"has {CITES} with numbers that are not fin"),
        (lambda s: s | {CITES: s[CITES] / 0}, f"has {CITES} with numbers that are not finite"),
        (lambda s: s | {CITES: s[CITES] * 1j}, f"has {CITES} of complex64"),
        (lambda s: s | {CITES: s[CITES].int()}, f"has {CITES} of int32"),
        (lambda s: s | {CITES: s[CITES].to_sparse()}, f"has {CITES} of float32, sparse_coo"),
        (lambda s: 5, "cannot be read as a checkpoint"),
    ],
)
def test_a_checkpoint_that_is_not_exactly_this_model_is_refused(
    damage: Any, message: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = stored(damage(state), tmp_path)
    with pytest.raises(IntegrityError, match=message) as caught:
        checkpoint.load(path)
    assert "RGAT.pt" in str(caught.value)


class Sly:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


def test_a_checkpoint_cannot_run_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({STATE: Sly()}, tmp_path / "RGAT.pt")
    with pytest.raises(IntegrityError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "RGAT.pt")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half an archive"])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "RGAT.pt").write_bytes(content)
    with pytest.raises(IntegrityError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "RGAT.pt")
