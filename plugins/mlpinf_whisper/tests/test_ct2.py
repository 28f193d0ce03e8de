"""The CTranslate2 backend: real speech, exact token counts, clear errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import BackendError, ConfigurationError, PrerequisiteError
from mlpinf_whisper import alphabet, ct2, data
from mlpinf_whisper import samples as audio
from mlpinf_whisper.benchmarks import CTranslate2Settings
from mlpinf_whisper.ct2 import CTranslate2Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlpinf_core.context import Run
    from mlpinf_whisper.samples import AudioSamples

pytestmark = pytest.mark.model


@pytest.fixture
def samples(new_run: Callable[..., Run]) -> AudioSamples:
    run = new_run()
    return audio.preprocessed(run, data.dataset(run))


@pytest.fixture
def backend(engine: Path, samples: AudioSamples) -> Iterator[CTranslate2Backend]:
    backend = CTranslate2Backend(
        engine=engine,
        samples=samples,
        max_output_tokens=200,
        device="cpu",
        compute_type="int8",
        replicas=1,
        threads=2,
    )
    backend.load()
    yield backend
    backend.close()


def shortest(samples: AudioSamples, count: int) -> np.ndarray:
    return np.argsort(samples.lengths, kind="stable")[:count]


def test_a_clip_is_heard(backend: CTranslate2Backend, samples: AudioSamples) -> None:
    (index,) = shortest(samples, 1)
    found = backend.infer(np.array([index]))
    heard = alphabet.decode(np.asarray(found.data[0])).split()
    said = samples.references[index].split()
    assert len(set(heard) & set(said)) > 0.8 * len(set(said))


def test_tokens_are_the_models_own_and_hold_neither_prompt_nor_end(
    backend: CTranslate2Backend, samples: AudioSamples
) -> None:
    answers = backend.generate(backend.features(shortest(samples, 2)))
    found = backend.outputs(answers)
    assert found.n_tokens is not None
    assert found.n_tokens.tolist() == [len(answer) + 1 for answer in answers]  # and the end
    words = [len(alphabet.decode(np.asarray(response)).split()) for response in found.data]
    assert all(count > spoken for count, spoken in zip(found.n_tokens, words, strict=True))
    assert all(int(answer.max()) < 50_256 for answer in answers)  # the first special token


@pytest.mark.parametrize("cap", [2, 7])
def test_an_answer_never_passes_its_cap(cap: int, engine: Path, samples: AudioSamples) -> None:
    backend = CTranslate2Backend(
        engine=engine,
        samples=samples,
        max_output_tokens=cap,
        device="cpu",
        compute_type="int8",
        replicas=1,
        threads=2,
    )
    backend.load()
    answers = backend.generate(backend.features(shortest(samples, 2)))
    assert [len(answer) for answer in answers] == [cap, cap]


def test_a_batch_answers_each_clip_as_if_it_were_alone(
    backend: CTranslate2Backend, samples: AudioSamples
) -> None:
    indices = shortest(samples, 3)
    together = backend.infer(indices)
    for index, response in zip(indices, together.data, strict=True):
        (alone,) = backend.infer(np.array([index])).data
        assert alphabet.decode(np.asarray(alone)) == alphabet.decode(np.asarray(response))


def test_a_type_that_the_device_does_not_compute_in_is_refused_with_those_it_does(
    new_run: Callable[..., Run], samples: AudioSamples, engine: Path
) -> None:
    run = new_run()
    settings = CTranslate2Settings(compute_type="float16")  # no CPU does
    run.config = attrs.evolve(run.config, backend=settings)
    with pytest.raises(ConfigurationError, match="not compute in float16 on this") as caught:
        ct2.make(run, samples, engine)
    assert caught.value.where == "backend.compute_type"
    assert "float32" in str(caught.value.remedy)


def test_cuda_without_a_device_is_refused(
    new_run: Callable[..., Run], samples: AudioSamples, engine: Path
) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a device")
    run = new_run()
    run.config = attrs.evolve(run.config, backend=CTranslate2Settings(device="cuda"))
    with pytest.raises(PrerequisiteError, match="finds no CUDA device") as caught:
        ct2.make(run, samples, engine)
    assert caught.value.where == "backend.device"


def test_a_damaged_engine_is_one_error_that_names_it(
    backend: CTranslate2Backend, engine: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes((engine / "model.bin").read_bytes()[:1_000_000])
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((engine / name).read_bytes())
    with pytest.raises(BackendError, match="cannot load the engine") as caught:
        attrs.evolve(backend, engine=tmp_path).load()
    assert caught.value.where == str(tmp_path)
