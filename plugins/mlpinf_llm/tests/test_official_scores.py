"""Scores against those that the official scripts print for the same logs.

The data files, logs and tokenizers in ``data/official`` are synthetic: sentences with abbreviations
and odd spacing, good answers and corrupted ones, some samples twice. The expected values are what
the scripts of mlcommons/inference at b66003e1 (language/llama2-70b/evaluate-accuracy.py,
llama3.1-8b/evaluation.py, llama3.1-405b/evaluate-accuracy.py, deepseek-r1/eval_accuracy.py with
PRM800K's grader at 7ecc794) printed for these very files, with NumPy 1.26.4, transformers 4.46.2,
evaluate 0.4.3, rouge_score 0.1.2 and nltk's punkt_tab.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from mlpinf_core.accuracy import judge
from mlpinf_core.errors import AccuracyError
from mlpinf_core.logs.accuracy import AccuracyLog
from mlpinf_core.rules import ROUNDS, load_round
from mlpinf_llm import accuracy, samples, scoring
from mlpinf_llm.benchmarks import data_name
from mlpinf_llm.dataset import DataFile
from mlpinf_llm.grading import grade
from mlpinf_llm.official import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpinf_core.context import Run
    from mlpinf_core.protocols import NotGraded

DATA = Path(__file__).parent / "data" / "official"
FILES = {
    "llama2-70b": ("llama2-70b.pkl", "llama-tokenizer"),
    "llama3.1-8b": ("llama3.1-8b.json", "bytes-tokenizer"),
    "llama3.1-405b": ("llama3.1-405b.pkl", "bytes-tokenizer"),
    "deepseek-r1": ("deepseek-r1.pkl", "deepseek-tokenizer"),
}
OFFICIALLY: dict[str, dict[str, float]] = {
    "llama2-70b": {
        "ROUGE1": 70.66, "ROUGE2": 64.1182, "ROUGEL": 69.6906, "TOKENS_PER_SAMPLE": 130.4,
    },
    "llama3.1-8b": {
        "ROUGE1": 73.57, "ROUGE2": 65.1714, "ROUGEL": 72.7268, "ROUGELSUM": 73.2701,
        "GEN_LEN": 5102,
    },
    "llama3.1-405b": {
        "ROUGEL": 63.41324396078897, "exact_match": 81.34444444444445, "TOKENS_PER_SAMPLE": 184.2,
    },
    "deepseek-r1": {"exact_match": 55.0, "TOKENS_PER_SAMPLE": 94.04375},
}  # fmt: skip
needs_mathematics = pytest.mark.skipif(
    not all(map(grade.is_installed, ("sympy", "pylatexenc"))),
    reason="an extra: mlpinf-llm[grading]",
)


def scores_of(name: str, run: Run, log: str | None = None) -> Mapping[str, float | NotGraded]:
    """The scores of a benchmark's log by its synthetic data set."""
    file = DATA / FILES[name][0]
    layout = attrs.evolve(OFFICIAL[name].data.layout, rows=None, md5=None)
    prepared = samples.preprocessed(run, DataFile(file, layout, sha256=name, remedy=""))
    return accuracy.score(run, prepared, AccuracyLog.read(DATA / f"{log or name}.log.json"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_mathematics if "deepseek" in n else ()) for n in FILES]
)
def test_scores_are_those_of_the_official_script(name: str, new_run: Callable[..., Run]) -> None:
    found = scores_of(name, new_run(name, model_path=DATA / FILES[name][1]))
    for metric, value in OFFICIALLY[name].items():
        assert found[metric] == pytest.approx(value, abs=1e-6), metric


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize("name", OFFICIAL)
def test_every_metric_of_every_round_has_a_score_and_a_limit(round_: str, name: str) -> None:
    rules = load_round(round_).benchmarks.get(name)
    if rules is None:
        assert (round_, name) == ("v6.1", "llama3.1-405b")
        return
    for limits in rules.accuracy.values():
        assert set(limits) == set(scoring.BENCHMARK_METRICS[data_name(name)])
        assert all(limit.lower is not None for limit in limits.values())
        lengths = {"GEN_LEN", "TOKENS_PER_SAMPLE"} & set(limits)
        assert lengths
        assert all(limits[length].upper is not None for length in lengths)


def test_the_references_own_scores_pass_and_a_length_outside_its_band_does_not() -> None:
    limits = load_round("v5.1").benchmarks["llama3.1-8b"].accuracy["99"]
    reference = {
        "ROUGE1": 38.7792, "ROUGE2": 15.9075, "ROUGEL": 24.4957, "ROUGELSUM": 35.793,
        "GEN_LEN": 8167644.0,
    }  # fmt: skip
    assert judge(reference, limits).passed
    for factor in (0.89, 1.11):
        assert not judge({**reference, "GEN_LEN": factor * 8167644}, limits).passed


@pytest.mark.parametrize("name", ["llama2-70b", "llama3.1-8b", "llama3.1-405b"])
def test_answers_given_to_other_samples_score_far_lower(
    name: str, new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run(name, model_path=DATA / FILES[name][1])
    file = DATA / FILES[name][0]
    layout = attrs.evolve(OFFICIAL[name].data.layout, rows=None, md5=None)
    prepared = samples.preprocessed(run, DataFile(file, layout, sha256=name, remedy=""))
    lines = (DATA / f"{name}.log.json").read_text().splitlines()
    count = len(prepared)
    shifted = [
        line.replace(f'"qsl_idx" : {i},', f'"qsl_idx" : {(i + 1) % count},')
        for line in lines
        for i in [int(line.split('"qsl_idx" : ')[1].split(",")[0]) if "qsl_idx" in line else 0]
    ]
    (tmp_path / "log.json").write_text("\n".join(shifted) + "\n")
    found = accuracy.score(run, prepared, AccuracyLog.read(tmp_path / "log.json"))
    value = found["ROUGEL"]
    assert isinstance(value, float)
    assert value < OFFICIALLY[name]["ROUGEL"] / 2


def test_a_log_of_another_data_set_is_refused(new_run: Callable[..., Run]) -> None:
    run = new_run("llama2-70b", model_path=DATA / "llama-tokenizer")
    with pytest.raises(AccuracyError, match="of a data set of 30"):
        scores_of("llama2-70b", run, log="deepseek-r1")


def test_a_folder_without_a_tokenizer_is_refused_by_what_it_lacks(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    from mlpinf_core.errors import IntegrityError

    with pytest.raises(IntegrityError, match=r"tokenizer\.json") as caught:
        scores_of("llama2-70b", new_run("llama2-70b", model_path=tmp_path))
    assert caught.value.where == str(tmp_path)
