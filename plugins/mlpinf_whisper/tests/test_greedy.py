"""Batched greedy decoding: Hugging Face's own texts, whatever the batch."""

from __future__ import annotations

import functools
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
greedy = pytest.importorskip("mlpinf_whisper.greedy")
torch_whisper = pytest.importorskip("mlpinf_whisper.torch_whisper")

FRAMES = 40
MOST = 30
"""Tokens of a text at most, in these tests."""


def _load_toy() -> Any:
    path = Path(__file__).parent / "toy_whisper.py"
    spec = importlib.util.spec_from_file_location("mlpinf_whisper_toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = _load_toy()
DECODING = greedy.Decoding(
    prompt=toy.PROMPT,
    end_token=toy.END,
    suppress=toy.SUPPRESSED,
    suppress_first=toy.SUPPRESSED_FIRST,
    max_tokens=MOST,
    max_batch_size=12,
    encoder_batch_size=5,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return toy.model(frames=FRAMES)


@functools.cache
def clips(count: int = 12) -> Any:
    """Noise, each clip as different from the others as can be."""
    made = torch.randn((count, 80, FRAMES), generator=torch.Generator().manual_seed(11))
    return made * torch.linspace(0.5, 4.0, count)[:, None, None]


def decoder_of(model: Any, device: str = "cpu", **changes: Any) -> Any:
    """A decoder of the model, of other settings than these tests' own where they are given."""
    model = model.to(device)
    return greedy.GreedyDecoder(
        torch_whisper.Encoder(model),
        torch_whisper.Decoder(model),
        attrs.evolve(DECODING, **changes),
    )


def as_lists(answers: list[Any]) -> list[list[int]]:
    return [answer.tolist() for answer in answers]


def hugging_face(model: Any, features: Any) -> list[list[int]]:
    """The texts of ``generate``, up to their ends."""
    texts = []
    for found in model.generate(features, max_new_tokens=MOST).tolist():
        text = [token for token in found if token not in toy.PROMPT]
        texts.append(text[: text.index(toy.END)] if toy.END in text else text)
    return texts


def test_texts_are_those_of_hugging_faces_generate(model: Any) -> None:
    expected = hugging_face(model, clips())
    assert len({len(text) for text in expected}) > 4  # they end at different times
    assert len({tuple(text) for text in expected}) > 8  # and say different things
    answers = decoder_of(model).generate(clips())
    assert as_lists(answers) == expected
    assert all(answer.dtype == np.int32 for answer in answers)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_batch_size": 1},
        {"max_batch_size": 5},
        {"max_batch_size": 40},
        {"encoder_batch_size": 1},
        {"encoder_batch_size": 50},
    ],
)
def test_texts_do_not_depend_on_the_batch(model: Any, changes: dict[str, Any]) -> None:
    expected = as_lists(decoder_of(model).generate(clips()))
    assert as_lists(decoder_of(model, **changes).generate(clips())) == expected


def test_a_batch_leaves_nothing_behind_for_the_next_one(model: Any) -> None:
    decoder = decoder_of(model)
    expected = as_lists(decoder.generate(clips()))
    decoder.generate(clips().flip(0) * 2)
    assert as_lists(decoder.generate(clips()[3:7])) == expected[3:7]


def test_several_decoders_share_the_weights_and_nothing_else(model: Any) -> None:
    encoder, decoder = torch_whisper.Encoder(model), torch_whisper.Decoder(model)
    decoders = [greedy.GreedyDecoder(encoder, decoder, DECODING) for _ in range(3)]
    expected = as_lists(decoders[0].generate(clips()))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: decoders[n % 3].generate(clips()), range(12)))
    assert all(as_lists(answers) == expected for answers in found)


@pytest.mark.parametrize("cap", [1, 2, 9])
def test_a_text_ends_at_the_cap(model: Any, cap: int) -> None:
    whole = as_lists(decoder_of(model).generate(clips()))
    found = as_lists(decoder_of(model, max_tokens=cap).generate(clips()))
    assert found == [text[:cap] for text in whole]
    assert max(len(text) for text in found) == cap


def test_suppressed_tokens_are_never_chosen(model: Any) -> None:
    free = decoder_of(model, suppress=(), suppress_first=())
    chosen = [text for text in as_lists(free.generate(clips())) if text]
    never, never_first = chosen[0][-1], chosen[1][0]
    held = decoder_of(model, suppress=(never,), suppress_first=(never_first, toy.END))
    found = as_lists(held.generate(clips()))
    assert all(never not in text for text in found)
    assert all(text and text[0] != never_first for text in found)
    assert any(never_first in text for text in found)


def test_clips_that_have_ended_are_not_decoded_any_further(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    step = torch_whisper.Decoder.__call__

    def counted(self: Any, tokens: Any, *rest: Any) -> Any:
        rows.append(len(tokens))
        return step(self, tokens, *rest)

    monkeypatch.setattr(torch_whisper.Decoder, "__call__", counted)
    answers = decoder_of(model).generate(clips())
    # Each token and each end that was chosen is one row of one step.
    assert sum(rows) == sum(min(len(answer) + 1, MOST) for answer in answers)
    assert rows == sorted(rows, reverse=True)


def test_looking_less_often_changes_no_text(model: Any) -> None:
    expected = as_lists(decoder_of(model).generate(clips()))
    decoder = decoder_of(model)
    decoder._check_steps, decoder._sizes = 7, (1, 2, 4, 8, 12)  # as on CUDA
    assert as_lists(decoder.generate(clips())) == expected


def test_no_clips_give_no_texts(model: Any) -> None:
    assert decoder_of(model).generate(clips()[:0]) == []


def test_more_tokens_than_the_model_has_positions_are_refused(model: Any) -> None:
    with pytest.raises(ValueError, match=r"41 tokens of prompt and text .* 40 positions"):
        decoder_of(model, max_tokens=39)


def test_the_encoder_is_hugging_faces(model: Any) -> None:
    with torch.inference_mode():
        found = torch_whisper.Encoder(model)(clips())
        expected = model.model.encoder(clips()).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_logits_are_hugging_faces(model: Any) -> None:
    """A prompt of several tokens at once, then one token."""
    decoder = torch_whisper.Decoder(model)
    tokens = torch.tensor([[toy.START, toy.NO_TIMESTAMPS, 4, 9], [toy.START, 1, 2, 50]])
    with torch.inference_mode():
        cache = decoder.cache(2, 64)
        decoder.attend_to(torch_whisper.Encoder(model)(clips(2)), cache, 0)
        free = decoder.suppression([])
        decoder(tokens[:, :3], torch.arange(3), cache, 64, free)
        found = decoder(tokens[:, 3:], torch.tensor([3]), cache, 64, free)
        expected = model(input_features=clips(2), decoder_input_ids=tokens).logits[:, -1]
    assert torch.isneginf(found[:, decoder.vocabulary :]).all()
    torch.testing.assert_close(found[:, : decoder.vocabulary], expected, rtol=1e-4, atol=1e-4)


def test_recording_is_nothing_on_a_cpu(model: Any) -> None:
    decoder = decoder_of(model)
    expected = as_lists(decoder.generate(clips()))
    decoder.record()
    assert as_lists(decoder.generate(clips())) == expected


@pytest.fixture
def cuda() -> Callable[..., Any]:
    """Makes a decoder on a CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return lambda **changes: decoder_of(toy.model(frames=FRAMES), "cuda", **changes)


@pytest.mark.gpu
@pytest.mark.parametrize("check_steps", [1, 4, 50])
def test_recorded_steps_decode_the_same_texts(
    cuda: Callable[..., Any], model: Any, check_steps: int
) -> None:
    expected = as_lists(decoder_of(model).generate(clips()))
    eager = cuda(cuda_graphs=False)
    recorded = cuda(stop_check_steps=check_steps)
    recorded.record()
    for _ in range(2):
        assert as_lists(recorded.generate(clips().cuda())) == expected
        assert as_lists(eager.generate(clips())) == expected
    assert as_lists(recorded.generate(clips()[:3].cuda())) == expected[:3]
