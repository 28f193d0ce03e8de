"""The quality metrics."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpinf_llm import matching, parallel, rouge, scoring, sentences

TEXTS = [
    "The cat sat on the mat. It purred.",
    "Rain is expected on Sunday.",
    "Nobody knew why the printer worked.",
]


def test_identical_texts_score_a_hundred_in_every_rouge() -> None:
    assert rouge.rouge(TEXTS, TEXTS) == dict.fromkeys(rouge.METRICS, pytest.approx(100))


def test_rouge_is_the_mean_f_measure_of_the_definition() -> None:
    # "a b c" against "a b d e": 2 shared of 3 and 4 words; 1 shared pair of 2 and 3.
    found = rouge.rouge(["alpha beta gamma"], ["alpha beta delta omega"])
    assert found["ROUGE1"] == pytest.approx(100 * 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert found["ROUGE2"] == pytest.approx(100 * 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert found["ROUGEL"] == pytest.approx(found["ROUGE1"])


def test_rouge_compares_stems() -> None:
    assert rouge.rouge(["running dogs"], ["run dog"])["ROUGE1"] == pytest.approx(100)


def test_only_the_summary_level_rouge_ignores_the_order_of_sentences() -> None:
    found = rouge.rouge(["It rains today.\nWe stay home."], ["We stay home.\nIt rains today."])
    assert found["ROUGELSUM"] == pytest.approx(100)
    assert found["ROUGEL"] < 60


def test_sentences_end_at_full_stops() -> None:
    assert sentences.sentences("One came. Two went! Did three?") == [
        "One came.", "Two went!", "Did three?",
    ]  # fmt: skip


def test_abbreviations_do_not_end_sentences() -> None:
    assert sentences.sentences("Mr. Muir lives in St. Ives. He is 40.") == [
        "Mr. Muir lives in St. Ives.", "He is 40.",
    ]  # fmt: skip


def test_scores_are_the_same_however_many_processes_work_on_them() -> None:
    many, wanted = TEXTS * 90, (TEXTS[1:] + TEXTS[:1]) * 90
    assert rouge.rouge(many, wanted, processes=2) == rouge.rouge(many, wanted, processes=1)


def test_what_is_spread_over_processes_comes_back_in_order() -> None:
    texts = [f"Text {number}." for number in range(300)]
    assert parallel.spread(sentences.lines, texts, processes=2) == texts


def test_only_the_metrics_that_are_asked_for_are_computed() -> None:
    assert list(rouge.rouge(TEXTS, TEXTS, ("ROUGEL",))) == ["ROUGEL"]


def test_answers_of_the_wrong_samples_score_far_lower() -> None:
    assert rouge.rouge(TEXTS[1:] + TEXTS[:1], TEXTS)["ROUGE1"] < 40


@pytest.mark.parametrize(
    ("prediction", "reference", "right"),
    [
        ("It was Agnes Muir, of course", "Agnes Muir", True),
        ("it was AGNES\n muir", "Agnes Muir", True),
        ("there were 19 birds", "nineteen|19", True),
        ("Agnes Muir. Answer: Bertha", "Agnes Muir", False),
        ("Bertha. Answer: Agnes Muir", "Agnes Muir", True),
        ("Bertha", "Agnes Muir", False),
        ("nes M", "Agnes Muir", True),  # the official script looks both ways
        ("", "Agnes Muir", True),
        ("Nobody knows. Answer: ", "Agnes Muir", False),
    ],
)
def test_an_answer_matches_when_it_holds_an_alternative(
    prediction: str, reference: str, right: bool
) -> None:
    assert matching.match(prediction, reference, "qa_em") == (100.0 if right else 0.0)


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("7 + 5 = 12 books.", True),
        ("12", True),
        ("it is 12.0", False),
        ("12 of 15", False),
        ("none", False),
        ("1 2", False),
    ],
)
def test_the_last_number_is_what_counts(prediction: str, right: bool) -> None:
    assert matching.match(prediction, "12", "number") == (100.0 if right else 0.0)


def test_numbers_are_compared_without_thousands_separators() -> None:
    assert matching.match("it costs 1,000 euros", "1000", "number") == 100.0
    assert matching.final_number("from 3 to -4.5.") == "-4.5"


def test_identifiers_are_compared_in_order() -> None:
    one, two = "0a1b2c3d-1111-2222-3333-444455556666", "ffffffff-9999-8888-7777-eeeeeeeeeeee"
    assert matching.match(f"It is {one}.", one, "niah_em") == 100.0
    assert matching.match(f"It is {two}.", one, "niah_em") < 50.0
    assert matching.match("I do not know.", one, "niah_em") == 0.0


def test_an_unknown_kind_of_match_is_refused() -> None:
    with pytest.raises(ValueError, match="'fuzzy'"):
        matching.match("a", "a", "fuzzy")


def test_exact_match_is_a_percentage_of_the_samples() -> None:
    found = matching.exact_match(["a 1", "b", "c 3"], ["1", "2", "3"], ["number"] * 3)
    assert found == pytest.approx(200 / 3)


def test_lengths_are_counted_as_the_rules_count_them() -> None:
    assert scoring.tokens_per_sample([[1, 2], [3], []]) == 1.0
    texts = [sentences.lines(text) for text in (" abc ", "One.  Two.")]
    assert scoring.characters(texts) == 3 + len("One.\nTwo.")


@pytest.mark.parametrize("score", [rouge.rouge, lambda p, r: matching.exact_match(p, r, r)])
def test_lists_of_different_length_and_empty_ones_are_refused(score: object) -> None:
    assert callable(score)
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        score(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="no outputs"):
        score([], [])


def test_a_benchmark_with_two_parts_scores_each_on_its_own_samples() -> None:
    found = scoring.benchmark_scores(
        "llama3.1-405b",
        [[1, 2, 3], [1], [1, 2]],
        ["the quick fox", "salt", "wrong"],
        ["the quick fox", "salt", "Lund"],
        ["rouge", "qa_em", "qa_em"],
    )
    assert found == {
        "ROUGEL": pytest.approx(100),
        "exact_match": 50.0,
        "TOKENS_PER_SAMPLE": 2.0,
    }


def test_an_unknown_benchmark_is_refused() -> None:
    with pytest.raises(KeyError):
        scoring.benchmark_scores("bert", [[1]], ["a"], ["a"], ["rouge"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_scores_stay_between_nothing_and_a_hundred(pairs: list[tuple[str, str]]) -> None:
    predictions, references = [p for p, _ in pairs], [r for _, r in pairs]
    for value in rouge.rouge(predictions, references).values():
        assert 0.0 <= value <= 100.0 + 1e-9
    for kind in ("qa_em", "niah_em", "number"):
        assert 0.0 <= matching.exact_match(predictions, references, [kind] * len(pairs)) <= 100.0
