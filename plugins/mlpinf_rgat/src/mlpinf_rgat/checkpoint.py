"""The official checkpoint, ``RGAT.pt``: what each of its parameters is called here.

Source: the names that the reference's modules give their parameters. The official file holds every
layer twice, under ``model.layers`` and under ``layers``, because the reference's wrapper refers to
them; the two must agree. The tiny variant's weights are stored under the official names too.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final

import torch

from mlpinf_core.errors import IntegrityError
from mlpinf_rgat.model import Rgat
from mlpinf_rgat.relations import RELATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

STATE: Final = "model_state_dict"
"""Where the parameters are in the file."""

RENAMES: Final = (
    ("fc.weight", "weight"),
    ("attn_l", "source"),
    ("attn_r", "target"),
    ("bias", "bias"),
)
"""Official name of a relation's parameter in a layer, and the name here; the relation's number is
the first dimension of the parameter here."""


_RANKS: Final = {"attn_l": 3, "attn_r": 3, "weight": 2, "bias": 1}
"""Dimensions of a parameter by the end of its official name."""


def official_names(layers: int) -> dict[str, tuple[str, int | None]]:
    """Each official name: the parameter here, and the relation's number in it."""
    names: dict[str, tuple[str, int | None]] = {
        f"model.layers.{layer}.mods.{relation.name}.{official}": (f"layers.{layer}.{own}", number)
        for layer in range(layers)
        for number, relation in enumerate(RELATIONS)
        for official, own in RENAMES
    }
    names["model.linear.weight"] = ("linear.weight", None)
    names["model.linear.bias"] = ("linear.bias", None)
    return names


def load(path: Path) -> Rgat:
    """A model of the sizes that the checkpoint has, with its parameters, float32.

    Raises:
        IntegrityError: it is no such checkpoint; names what is missing, unknown or misshapen.
    """
    state = _state(path)
    layers = _layers(state)
    names = official_names(layers)
    missing = [key for key in names if key not in state]
    if missing or not layers:
        raise _unfit(path, f"lacks {_some(missing) or 'every layer'}")
    _check_duplicates(path, state, names)
    _check_numbers(path, {key: state[key] for key in names})
    first = "model.layers.0.mods.cites."
    hidden, width = state[f"{first}fc.weight"].shape
    heads = state[f"{first}attn_l"].shape[1]
    classes = len(state["model.linear.weight"])
    if not (width and classes and heads and hidden and hidden % heads == 0):
        raise _unfit(
            path, f"has {first}fc.weight of {[hidden, width]}, which do not make {heads} heads"
        )
    with torch.device("meta"):
        model = Rgat(width, hidden, classes, layers=layers, heads=heads)
    model = model.to_empty(device="cpu")
    own = dict(model.named_parameters())
    with torch.no_grad():
        for key, (name, number) in names.items():
            place = own[name] if number is None else own[name][number]
            given = state[key].squeeze(0) if ".attn_" in key else state[key]
            if given.shape != place.shape:
                raise _unfit(path, f"has {key} of {list(given.shape)}, not {list(place.shape)}")
            place.copy_(given)
    return model.eval()


def save(model: Rgat, path: Path) -> None:
    """Write a model under the official names."""
    own = dict(model.named_parameters())
    state = {}
    for key, (name, number) in official_names(len(model.layers)).items():
        value = own[name].detach() if number is None else own[name].detach()[number]
        state[key] = (value.unsqueeze(0) if ".attn_" in key else value).clone()
    torch.save({STATE: state}, path)


def _state(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        state = content[STATE]
        strange = [repr(key) for key in state.keys() if not isinstance(key, str)]  # noqa: SIM118
        wrong = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    except FileNotFoundError:
        raise
    except (
        OSError,
        RuntimeError,
        pickle.UnpicklingError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
    ) as error:
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _unfit(path, f"cannot be read as a checkpoint with {STATE!r}: {what}") from error
    if strange:
        raise _unfit(path, f"has parameters whose names are no text: {_some(strange)}")
    if wrong:
        raise _unfit(path, f"has parameters that are no tensors: {_some(wrong)}")
    found: dict[str, Tensor] = state
    return found


def _layers(state: dict[str, Tensor]) -> int:
    """How many layers there are names of, numbered from 0."""
    count = 0
    while any(key.startswith(f"model.layers.{count}.") for key in state):
        count += 1
    return count


def _check_duplicates(
    path: Path, state: dict[str, Tensor], names: dict[str, tuple[str, int | None]]
) -> None:
    """Refuse names that are unknown, and second copies that differ."""
    unknown = []
    for key, value in state.items():
        if key in names:
            continue
        twin = f"model.{key}"
        if twin not in names:
            unknown.append(key)
        elif not torch.equal(value, state[twin]):
            raise _unfit(path, f"has two layers in one: {key} differs from {twin}")
    if unknown:
        raise _unfit(path, f"has parameters that the model does not: {_some(unknown)}")


def _check_numbers(path: Path, state: dict[str, Tensor]) -> None:
    """Refuse what is no array of the right rank of finite real numbers."""
    for key, value in state.items():
        rank = _RANKS[next(ending for ending in _RANKS if key.endswith(ending))]
        if value.ndim != rank or (".attn_" in key and len(value) != 1):
            shape = "[1, heads, size]" if rank == 3 else f"{rank} dimensions"
            raise _unfit(path, f"has {key} of {list(value.shape)}, not of {shape}")
        if not value.dtype.is_floating_point or value.layout != torch.strided:
            what = f"{value.dtype}, {value.layout}".replace("torch.", "")
            raise _unfit(path, f"has {key} of {what}, not of real numbers")
        if not value.isfinite().all():
            raise _unfit(path, f"has {key} with numbers that are not finite")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _unfit(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"the checkpoint {path.name} {what}",
        where=str(path),
        remedy="use the official RGAT.pt, or one that `python -m mlpinf_rgat.train` has written",
    )
