"""The torch backend: three stages, any number of threads, clear errors."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from mlpinf_core.errors import BackendError, ConfigurationError, IntegrityError, PrerequisiteError
from mlpinf_core.vocabulary import Scenario
from mlpinf_whisper import alphabet, data, hf_convert, staged, torch_backend
from mlpinf_whisper import samples as audio
from mlpinf_whisper.ct2 import CTranslate2Backend
from mlpinf_whisper.torch_backend import TorchBackend
from mlpinf_whisper.torch_settings import TorchSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mlpinf_core.context import Run
    from mlpinf_whisper.samples import AudioSamples

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

CAP = 12


def _load_toy() -> Any:
    path = Path(__file__).parent / "toy_whisper.py"
    spec = importlib.util.spec_from_file_location("mlpinf_whisper_toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = _load_toy()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = toy.save(tmp_path_factory.mktemp("toy"), frames=3000)
    return folder


@pytest.fixture
def samples(new_run: Callable[..., Run]) -> AudioSamples:
    run = new_run()
    return audio.preprocessed(run, data.dataset(run))


def backend_of(checkpoint: Path, samples: AudioSamples, **changes: Any) -> TorchBackend:
    made = TorchBackend(
        checkpoint=checkpoint,
        samples=samples,
        settings=TorchSettings(),
        max_output_tokens=CAP,
        max_batch_size=4,
        device="cpu",
        dtype="float32",
        replicas=1,
        threads=1,
    )
    return attrs.evolve(made, **changes)


@pytest.fixture
def backend(checkpoint: Path, samples: AudioSamples) -> Iterator[TorchBackend]:
    made = backend_of(checkpoint, samples)
    made.load()
    yield made
    made.close()


def test_stages_make_responses_of_clips(backend: TorchBackend) -> None:
    backend.warm_up()
    features = backend.features(np.arange(6))
    assert tuple(features.shape) == (6, 80, 3000)
    answers = backend.generate(features)
    found = backend.outputs(answers)
    assert found.n_tokens is not None
    assert found.n_tokens.tolist() == [min(max(len(a) + 1, 2), CAP) for a in answers]  # the end too
    assert all(len(answer) <= CAP for answer in answers)
    assert all(set(answer.tolist()) <= set(range(toy.WORDS)) for answer in answers)
    words = [alphabet.decode(np.asarray(response)) for response in found.data]
    expected = ["".join(f"a{token}" for token in answer) for answer in answers]
    assert [word.replace(" ", "") for word in words] == expected


def test_replicas_answer_at_the_same_time_what_one_answers(
    checkpoint: Path, samples: AudioSamples, backend: TorchBackend
) -> None:
    batches = [np.arange(first, first + 3) for first in range(0, 12, 3)]
    expected = [backend.generate(backend.features(batch)) for batch in batches]
    several = backend_of(checkpoint, samples, replicas=2)
    several.load()
    several.warm_up()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: several.generate(several.features(batch)), batches))
    for answers, others in zip(found, expected, strict=True):
        for answer, other in zip(answers, others, strict=True):
            np.testing.assert_array_equal(answer, other)


def test_a_failed_batch_does_not_cost_a_replica(backend: TorchBackend) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError):
            backend.generate(torch.zeros((1, 79, 3000)))  # one mel too few
    assert len(backend.infer(np.arange(1))) == 1


def test_a_backend_that_was_not_loaded_says_so(checkpoint: Path, samples: AudioSamples) -> None:
    with pytest.raises(RuntimeError, match="before it was loaded"):
        backend_of(checkpoint, samples).infer(np.arange(1))


def test_weights_that_cannot_be_loaded_name_the_folder(
    tmp_path: Path, samples: AudioSamples
) -> None:
    toy.save(tmp_path, frames=3000)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackendError, match="cannot be loaded") as caught:
        backend_of(tmp_path, samples).load()
    assert caught.value.where == str(tmp_path)


def test_a_cap_beyond_the_models_positions_is_refused(
    checkpoint: Path, samples: AudioSamples
) -> None:
    with pytest.raises(ConfigurationError, match="40 positions") as caught:
        backend_of(checkpoint, samples, max_output_tokens=39).load()
    assert caught.value.where == "benchmark.max_output_tokens"


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path, samples: AudioSamples) -> None:
    toy.save(tmp_path, frames=3000)
    (tmp_path / "tokenizer.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(IntegrityError, match="tokenizer"):
        backend_of(tmp_path, samples).load()


def configured(run: Run, scenario: Scenario = Scenario.OFFLINE, **settings: Any) -> Run:
    """The run, of another scenario and with settings of the backend."""
    return attrs.evolve(
        run,
        config=attrs.evolve(run.config, backend=TorchSettings(**settings)),
        workload=attrs.evolve(run.workload, scenario=scenario),
    )


@pytest.mark.parametrize(
    ("scenario", "settings", "expected"),
    [
        (Scenario.OFFLINE, {}, (3, 1)),
        (Scenario.SERVER, {"replicas": 1}, (1, 3)),
        (Scenario.SINGLE_STREAM, {}, (1, 3)),
        (Scenario.OFFLINE, {"threads": 2}, (3, 2)),
    ],
)
def test_cores_are_shared_between_replicas(
    new_run: Callable[..., Run],
    samples: AudioSamples,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Scenario,
    settings: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(staged, "usable_processors", lambda: 3)
    run = configured(new_run(), scenario, device="cpu", **settings)
    made = torch_backend.make(run, samples, Path("checkpoint"))
    assert (made.replicas, made.threads) == expected
    assert (made.device, made.dtype) == ("cpu", "float32")
    assert made.max_batch_size == run.config.sut.max_batch_size


def test_cuda_is_half_precision_and_one_replica(
    new_run: Callable[..., Run], samples: AudioSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    made = torch_backend.make(configured(new_run(), device="auto"), samples, Path("checkpoint"))
    assert (made.device, made.dtype, made.replicas) == ("cuda", "float16", 1)


def test_cuda_without_a_device_is_refused(
    new_run: Callable[..., Run], samples: AudioSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PrerequisiteError, match="no CUDA device") as caught:
        torch_backend.make(configured(new_run(), device="cuda"), samples, Path("checkpoint"))
    assert caught.value.where == "backend.device"
    made = torch_backend.make(configured(new_run(), device="auto"), samples, Path("checkpoint"))
    assert made.device == "cpu"


def test_float16_on_a_cpu_is_refused(new_run: Callable[..., Run], samples: AudioSamples) -> None:
    run = configured(new_run(), device="cpu", dtype="float16")
    with pytest.raises(ConfigurationError, match="float16 on a CPU") as caught:
        torch_backend.make(run, samples, Path("checkpoint"))
    assert caught.value.where == "backend.dtype"


@pytest.mark.model
@pytest.mark.slow
def test_the_tiny_model_gives_ctranslate2s_tokens(
    engine: Path, tmp_path: Path, samples: AudioSamples
) -> None:
    hf_convert.convert(engine, tmp_path)
    ours = backend_of(tmp_path, samples, max_output_tokens=200)
    theirs = CTranslate2Backend(
        engine=engine,
        samples=samples,
        max_output_tokens=200,
        device="cpu",
        compute_type="float32",
        replicas=1,
        threads=1,
    )
    indices = np.arange(len(samples))
    answers = []
    for backend in (ours, theirs):
        backend.load()
        answers.append(backend.generate(backend.features(indices)))
        backend.close()
    for answer, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(answer, other)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_cuda_answers_as_the_cpu_does(
    backend: TorchBackend, checkpoint: Path, samples: AudioSamples, dtype: str
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    made = backend_of(checkpoint, samples, device="cuda", dtype=dtype, replicas=2)
    made.load()
    made.warm_up()
    indices = np.arange(6)
    answers = made.generate(made.features(indices))
    assert len(made.outputs(answers)) == len(indices)
    if dtype == "float32":
        for answer, other in zip(answers, backend.generate(backend.features(indices)), strict=True):
            np.testing.assert_array_equal(answer, other)
    made.close()
