"""Whether the pool fits: McNemar's exact test, on answers that were held out."""

import numpy as np
import pytest
from edge_adapt.studies.pool_check import checked, folds, pool_fit

pytest.importorskip("scipy")


def answers(only_pool, only_other, both=10):
    """(LoRAFusion's answers, the other's)."""
    return "1" * only_pool + "0" * only_other + "1" * both, "0" * only_pool + "1" * only_other + "1" * both


def fit(lora, probe=None, number=0):
    pooled, other = answers(*lora)
    right = {"lorafusion": [pooled], "lora": [other]}
    if probe is not None:
        right["probe"] = ["".join("01"[int(bit == "1") ^ (n in probe)] for n, bit in enumerate(pooled))]
    return pool_fit(right, number)


@pytest.mark.parametrize(
    ("split", "verdict", "probability"),
    [
        ((9, 0), "fits", 2 / 2**9),
        ((6, 0), "fits", 2 / 2**6),
        ((0, 6), "does not fit", 2 / 2**6),
        ((5, 0), "too few answers", 2 / 2**5),
        ((8, 2), "cannot tell", 2 * (1 + 10 + 45) / 2**10),
        ((0, 0), "too few answers", 1.0),
    ],
)
def test_the_split_decides(split, verdict, probability):
    found = fit(split)
    (test,) = found.tests
    assert (found.verdict, test.answers) == (verdict, sum(split) + 10)
    assert (test.only_pool_right, test.only_other_right) == split
    assert test.probability == pytest.approx(probability)


def test_it_fits_where_it_beats_all_and_does_not_where_it_loses_to_one():
    beaten, level, lost = set(range(9)), {0}, set(range(9, 19))
    assert fit((9, 0), beaten).verdict == "fits"
    assert fit((9, 0), level).verdict == "cannot tell"
    assert fit((9, 0, 10), set()).verdict == "cannot tell"
    pooled, other = answers(9, 0, 0)
    worse = pool_fit({"lorafusion": [pooled + "0" * 9], "lora": [other + "0" * 9], "probe": [pooled + "1" * 9]})
    assert worse.verdict == "does not fit" and lost


def test_twenty_answers_no_longer_decide_on_a_gap_of_twenty_points():
    """Five of 20 answers better and one worse: +20 points, called a fit before."""
    found = fit((5, 1, 14))
    assert found.verdict == "cannot tell" and "p = 0.22" in found.text
    assert "With --check-pool 5 there are five times as many answers" in found.text


def test_runs_are_taken_together():
    pooled, other = answers(3, 0)
    assert pool_fit({"lorafusion": [pooled], "lora": [other]}).verdict == "too few answers"
    found = pool_fit({"lorafusion": [pooled] * 2, "lora": [other] * 2}, 5)
    assert (found.verdict, found.folds, found.tests[0].answers) == ("fits", 5, 26)
    assert found.text.startswith(
        "Of 26 answers in 5-fold cross-validation, with exact weights, these differ: against LoRA, 6 that only "
        "LoRAFusion got right and 0"
    )


@pytest.mark.parametrize("right", [{}, {"lorafusion": ["01"]}, {"lorafusion": [None], "lora": [None]}])
def test_without_answers_nothing_is_judged(right):
    found = pool_fit(right)
    assert (found.verdict, found.tests) == ("too few answers", [])


def test_who_is_compared():
    assert checked(["frozen", "probe", "lora", "full", "lorafusion"]) == ["lorafusion", "lora", "probe"]
    assert checked(["full", "lorafusion"]) == ["lorafusion", "full"]
    assert checked(["lora", "probe"]) == []


def test_pools_that_do_not_matter_are_rarely_judged():
    """Of pools that change nothing, at most one in twenty is judged, however many answers differ."""
    rng = np.random.default_rng(0)
    for count in (20, 60, 200):
        judged = 0
        for _ in range(400):
            better = rng.random(count) < 0.5
            differ = rng.random(count) < 0.3
            pooled = "".join("01"[int(a)] for a in better)
            other = "".join("01"[int(a ^ d)] for a, d in zip(better, differ, strict=True))
            judged += pool_fit({"lorafusion": [pooled], "lora": [other]}).verdict in ("fits", "does not fit")
        assert judged / 400 <= 0.05 + 3 * 0.011, count


def test_a_pool_that_harms_is_found_by_cross_validation():
    """Wrong in 20 of 100 answers where LoRA is right, and the other way round in 5."""
    assert fit((5, 20, 75), number=5).verdict == "does not fit"


@pytest.mark.parametrize("number", [2, 3, 5])
def test_folds_hold_every_example_once_and_every_class_evenly(number):
    labels = [0] * 11 + [1] * 7 + [2] * 4
    found = folds(labels, number)
    assert sorted(np.concatenate(found).tolist()) == list(range(22))
    for label in (0, 1, 2):
        sizes = [sum(labels[n] == label for n in fold) for fold in found]
        assert max(sizes) - min(sizes) <= 1
