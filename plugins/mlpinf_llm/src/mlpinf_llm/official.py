"""The full benchmarks: their official files, what is in them, and how answers are generated.

Sources: the READMEs of language/llama2-70b, llama3.1-8b, llama3.1-405b and deepseek-r1 in
mlcommons/inference name files, models and commits. MLCommons gives a checksum of the OpenOrca file
only (in mlcommons/endpoints); the other sha256 and md5 are those that submitters check their files
by. Where there is none, the file must have the right columns, rows, lengths and vocabulary, and the
sha256 that it has is recorded with what is made of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from mlpinf_core.benchmark import FolderSource, Source
from mlpinf_llm.generation import Generation
from mlpinf_llm.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOWNLOADER: Final = (
    "bash <(curl -s https://raw.githubusercontent.com/mlcommons/r2-downloader/refs/heads/main/"
    "mlc-r2-downloader.sh) https://inference.mlcommons-storage.org/metadata/{uri}.uri"
)
_LLAMA_2: Final = "Llama 2 Community Licence"
_LLAMA_3_1: Final = "Llama 3.1 Community Licence"
_CNN: Final = "Apache-2.0"
_MIXED: Final = "CC0, MIT and CC BY 4.0, by part"
_MLCOMMONS: Final = "MLCommons' terms"
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json")


@attrs.frozen
class OfficialData:
    """One official file.

    Attributes:
        source: how to get it, and how it is told from another.
        layout: what must be in it.
    """

    source: Source
    layout: Layout

    @property
    def remedy(self) -> str:
        """How to get the right one."""
        return self.source.gated or ""


@attrs.frozen
class Official:
    """A full benchmark.

    Attributes:
        data: the samples.
        calibration: the samples that a model may be quantised with.
        checkpoint: the model.
        tokenizer: the checkpoint's tokenizer alone, which scoring needs.
        generation: how answers are generated.
    """

    data: OfficialData
    calibration: OfficialData
    checkpoint: FolderSource
    tokenizer: FolderSource
    generation: Generation


def _data(
    name: str,
    layout: Layout,
    *,
    uri: str,
    licence: str,
    size: int,
    exact: bool = False,
    sha256: str | None = None,
    then: str = "",
    setting: str = "benchmark.data_path",
) -> OfficialData:
    """An official file; ``size`` is bytes, about, unless ``exact``."""
    source = Source(
        name=name,
        kind="data",
        size=size,
        size_is_estimate=not exact,
        sha256=sha256,
        licence=licence,
        gated=f"MLCommons' downloader gets it: {_DOWNLOADER.format(uri=uri)}{then}",
        setting=setting,
    )
    return OfficialData(source, layout)


def _model(
    repository: str, revision: str, *, size: int, licence: str, gated: bool
) -> tuple[FolderSource, FolderSource]:
    """The checkpoint, and its tokenizer alone."""
    name = repository.partition("/")[2]
    accept = (
        f"accept its licence at https://huggingface.co/{repository}, and set HF_TOKEN to your token"
        if gated
        else None
    )
    checkpoint = FolderSource(
        name=name,
        kind="models",
        size=size,
        licence=licence,
        repository=repository,
        revision=revision,
        requires=("config.json", "*.safetensors", *_TOKENIZER_FILES),
        patterns=("*.json", "*.safetensors", "*.model", "*.py"),
        gated=accept,
        setting="benchmark.model_path",
    )
    tokenizer = attrs.evolve(
        checkpoint,
        name=f"{name}-tokenizer",
        size=10_000_000,
        requires=_TOKENIZER_FILES,
        patterns=_TOKENIZER_FILES,
        setting="benchmark.tokenizer_path",
        unless="benchmark.model_path",
    )
    return checkpoint, tokenizer


_CALIBRATION: Final = "benchmark.calibration_path"


def _llama2_70b() -> Official:
    uri = "llama-2-70b-open-orca-dataset"
    columns = Layout(lengths="tok_input_length", references=("output",), vocabulary=32_000)
    checkpoint, tokenizer = _model(
        "meta-llama/Llama-2-70b-chat-hf",
        "e9149a12809580e8602995856f8098ce973d1080",
        size=138_000_000_000,
        licence=_LLAMA_2,
        gated=True,
    )
    return Official(
        data=_data(
            "llama2-70b/open_orca_gpt4_tokenized_llama.sampled_24576.pkl",
            attrs.evolve(columns, rows=24_576, max_tokens=1024),
            uri=uri,
            licence="MIT",
            size=140_000_000,
            sha256="b64e66e54b6267f79eb4f9ccec52d466bab3ac94747ed258c3b0f337ed166fab",
            then=" ; gunzip what ends in .gz",
        ),
        calibration=_data(
            "llama2-70b/open_orca_gpt4_tokenized_llama.calibration_1000.pkl",
            attrs.evolve(columns, rows=1000),
            uri=uri,
            licence="MIT",
            size=6_000_000,
            sha256="ebaa728b30337c1e9a78ec1f6f729012138dc6f056d66cabd4af749c8c089db5",
            then=" ; gunzip what ends in .gz",
            setting=_CALIBRATION,
        ),
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        generation=Generation(
            temperature=1.0, top_p=0.001, top_k=1, bos_id=1, eos_ids=(2,), max_tokens=1024
        ),
    )


def _llama3_1_8b(*, edge: bool = False) -> Official:
    columns = Layout(references=("output",), vocabulary=128_256)
    checkpoint, tokenizer = _model(
        "meta-llama/Llama-3.1-8B-Instruct",
        # The README names the commit of the 405B model's repository, which this one does not have.
        "0e9e39f249a16976918f6564b8830bc894c89659",
        size=16_100_000_000,
        licence=_LLAMA_3_1,
        gated=True,
    )
    full = _data(
        "llama3.1-8b/cnn_eval.json",
        attrs.evolve(columns, rows=13_368, max_tokens=2540),
        uri="llama3-1-8b-cnn-eval",
        licence=_CNN,
        size=320_000_000,
        sha256="6d066a21bd615909466885d53b664b73c5aabc32d60c1cbd03f4293de6430026",
    )
    part = _data(
        "llama3.1-8b/sample_cnn_eval_5000.json",
        attrs.evolve(columns, rows=5000, max_tokens=2540),
        uri="llama3-1-8b-sample-cnn-eval-5000",
        licence=_CNN,
        size=120_000_000,
        sha256="2d1a21eadd8ef7547d2f5fba939a9e1886a22ee926fe3781cb8934d3a01445db",
    )
    return Official(
        data=part if edge else full,
        calibration=_data(
            "llama3.1-8b/cnn_dailymail_calibration.json",
            attrs.evolve(columns, rows=1000),
            uri="llama3-1-8b-cnn-dailymail-calibration",
            licence=_CNN,
            size=24_000_000,
            sha256="a2ca44ea25bbb149beb9fec01dc54078f93f2228218c6e40049829f8fb3250a0",
            setting=_CALIBRATION,
        ),
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        generation=Generation(
            temperature=0.0, top_p=1.0, top_k=1, bos_id=128_000, eos_ids=(128_009,), max_tokens=128
        ),
    )


def _llama3_1_405b() -> Official:
    columns = Layout(lengths="tok_input_len", vocabulary=128_256)
    checkpoint, tokenizer = _model(
        "meta-llama/Llama-3.1-405B-Instruct",
        "be673f326cab4cd22ccfef76109faf68e41aa5f1",
        size=812_000_000_000,
        licence=_LLAMA_3_1,
        gated=True,
    )
    return Official(
        data=_data(
            "llama3.1-405b/mlperf_llama3.1_405b_dataset_8313_processed_fp16_eval.pkl",
            attrs.evolve(
                columns,
                references=("gt_output",),
                kinds="metric",
                rows=8313,
                max_tokens=20_000,
                md5="25d9f2085bbcacb07554cd7f4af303c9",
            ),
            uri="llama3-1-405b-dataset-8313",
            licence=_MLCOMMONS,
            size=891_889_920,
            exact=True,
        ),
        calibration=_data(
            "llama3.1-405b/mlperf_llama3.1_405b_calibration_dataset_512_processed_fp16_eval.pkl",
            attrs.evolve(columns, rows=512),
            uri="llama3-1-405b-calibration-dataset-512",
            licence=_MLCOMMONS,
            size=56_687_800,
            exact=True,
            setting=_CALIBRATION,
        ),
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        generation=Generation(
            temperature=1.0,
            top_p=0.001,
            top_k=1,
            bos_id=128_000,
            eos_ids=(128_009,),
            max_tokens=2000,
        ),
    )


def _deepseek_r1() -> Official:
    uri = "deepseek-r1-datasets-fp8-eval"
    columns = Layout(lengths="tok_input_len", vocabulary=129_280)
    checkpoint, tokenizer = _model(
        "deepseek-ai/DeepSeek-R1",
        "56d4cbbb4d29f4355bab4b9a39ccb717a14ad5ad",
        size=689_000_000_000,
        licence="MIT",
        gated=False,
    )
    return Official(
        data=_data(
            "deepseek-r1/mlperf_deepseek_r1_dataset_4388_fp8_eval.pkl",
            attrs.evolve(
                columns,
                references=("gt_output", "ground_truth"),
                kinds="dataset",
                rows=4388,
                max_tokens=3140,
            ),
            uri=uri,
            licence=_MIXED,
            size=150_000_000,
        ),
        calibration=_data(
            "deepseek-r1/mlperf_deepseek_r1_calibration_dataset_500_fp8_eval.pkl",
            attrs.evolve(columns, rows=500),
            uri=uri,
            licence=_MIXED,
            size=17_000_000,
            setting=_CALIBRATION,
        ),
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        generation=Generation(
            temperature=0.0, top_p=0.001, top_k=1, bos_id=0, eos_ids=(1,), max_tokens=20_000
        ),
    )


OFFICIAL: Final[Mapping[str, Official]] = {
    "llama2-70b": _llama2_70b(),
    "llama3.1-8b": _llama3_1_8b(),
    "llama3.1-8b-edge": _llama3_1_8b(edge=True),
    "llama3.1-405b": _llama3_1_405b(),
    "deepseek-r1": _deepseek_r1(),
}
"""By the benchmarks' proper names."""
