"""Paired differences: against scipy, and on made-up answers without and with a difference."""

import math

import numpy as np
import pytest
from edge_adapt.reports.paired import Side, compared, of_answers, of_scores
from edge_adapt.reports.student import central_share, mcnemar, t_quantile
from hypothesis import given
from hypothesis import strategies as st

scipy_stats = pytest.importorskip("scipy.stats")


@given(st.integers(1, 400), st.floats(0, 50))
def test_students_t_is_scipys(degrees, t):
    wanted = scipy_stats.t.cdf(t, degrees) - scipy_stats.t.cdf(-t, degrees)
    assert central_share(t, degrees) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 6, 7, 30, 199, 4999])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
def test_quantiles_are_scipys(degrees, share):
    assert t_quantile(degrees, share) == pytest.approx(scipy_stats.t.ppf(0.5 + share / 2, degrees), rel=1e-7)


def test_no_degree_of_freedom_is_refused():
    with pytest.raises(ValueError, match="at least one degree"):
        t_quantile(0)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_binomial_test_of_scipy(one, other):
    wanted = scipy_stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(wanted, rel=1e-9)


def test_one_run_has_the_error_of_its_examples():
    difference = np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 160)
    found = of_answers([difference], shared=False)
    assert found.points == pytest.approx(10.0)
    assert found.error == pytest.approx(100 * difference.std(ddof=1) / math.sqrt(200))
    assert (found.degrees, found.error_of, found.runs, found.examples) == (199, "examples", 1, 200)
    assert found.verdict == "better" and of_answers([-difference], shared=False).verdict == "worse"


def test_four_to_nothing_is_a_tie_though_the_normal_distribution_says_otherwise():
    difference = np.array([1.0] * 4 + [0.0] * 196)
    found = of_answers([difference], shared=False)
    assert found.points > 2 * found.error
    assert mcnemar(4, 0) == 0.125 and found.verdict == "tie"


def test_few_examples_decide_nothing():
    assert of_answers([np.ones(14), np.ones(15)], shared=False).verdict == "too few"
    assert of_answers([np.ones(14), np.ones(16)], shared=False).verdict == "better"
    assert of_answers([np.ones(29), np.ones(29)], shared=True).verdict == "too few", "the same 29"


def test_runs_that_differ_make_the_error_larger_and_never_smaller_than_that_of_the_examples():
    rng = np.random.default_rng(0)
    alike = [rng.permutation([1.0] * 20 + [-1.0] * 20 + [0.0] * 160) for _ in range(3)]
    same = of_answers(alike, shared=False)
    within = 100 * np.concatenate(alike).std() / math.sqrt(600)
    assert same.error == pytest.approx(within, rel=0.01)
    apart = [np.where(run == 0, np.sign(n - 1) * (rng.random(200) < 0.15), run) for n, run in enumerate(alike)]
    wide = of_answers(apart, shared=False)
    assert wide.error > 1.3 * same.error
    between = 100 * np.std([run.mean() for run in apart], ddof=1) / math.sqrt(3)
    assert wide.error < between, "three runs say little: it counts as 2 beside 5 that are alike"


def test_many_runs_have_the_error_that_the_runs_show():
    rng = np.random.default_rng(1)
    runs = [np.sign(rng.normal(0.4 * rng.normal(), 1, 200)).round() for _ in range(200)]
    found = of_answers(runs, shared=False)
    assert found.error == pytest.approx(100 * np.std([r.mean() for r in runs], ddof=1) / math.sqrt(200), rel=0.02)


def test_shared_examples_do_not_become_more_by_being_asked_twice():
    difference = np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 160)
    once = of_answers([difference], shared=False)
    twice = of_answers([difference, difference], shared=True)
    assert twice.error == pytest.approx(once.error) and twice.examples == 200
    assert of_answers([difference, difference], shared=False).error < 0.75 * once.error


def drawn(rng, runs, examples, difference, between, shared, apart=0.2):
    """Answers of two rows that differ in a share `apart` of the examples; draws and chips move the difference."""
    moved = difference + between * rng.standard_normal(runs)
    hard = rng.choice([-1.0, 1.0], examples) * (rng.random(examples) < apart / 2)
    found = []
    for shift in moved:
        share = apart / 2 if shared else apart
        u = rng.random(examples)
        own = np.where(u < (share + shift) / 2, 1.0, np.where(u < share, -1.0, 0.0))
        found.append(np.where(hard != 0, hard, own) if shared else own)
    return found


def called(runs, examples, difference=0.0, between=0.0, shared=False, times=400):
    """How many of 100 such comparisons are called a difference."""
    rng = np.random.default_rng([runs, examples, int(1000 * between), shared])
    verdicts = [of_answers(drawn(rng, runs, examples, difference, between, shared), shared).verdict
                for _ in range(times)]  # fmt: skip
    assert "too few" not in verdicts
    return 100 * sum(verdict != "tie" for verdict in verdicts) / times


@pytest.mark.parametrize(("runs", "examples"), [(1, 200), (2, 200), (3, 200), (5, 400)])
@pytest.mark.parametrize(("between", "shared"), [(0.0, False), (0.02, False), (0.0, True), (0.02, True)])
def test_rows_that_do_not_differ_are_rarely_called_so(runs, examples, between, shared):
    """At most 7 in 100, and what 400 throws of the dice allow (3 standard errors of 1.3)."""
    if runs == 1:
        between = 0.0  # its error is that of the examples, and says so
    assert called(runs, examples, between=between, shared=shared) <= 7 + 3.9


@pytest.mark.parametrize(
    ("runs", "examples", "difference", "least"), [(2, 200, 0.10, 85), (3, 200, 0.08, 85), (5, 400, 0.05, 85)]
)
def test_a_difference_is_found(runs, examples, difference, least):
    assert called(runs, examples, difference, between=0.015) >= least


def test_scores_that_are_no_means_have_the_error_of_the_runs():
    values = [0.02, 0.05, 0.03, 0.04]
    found = of_scores(values, 200)
    assert found.error == pytest.approx(100 * scipy_stats.sem(values))
    assert found.interval == pytest.approx(found.error * scipy_stats.t.ppf(0.975, 3))
    assert (found.verdict, found.error_of, found.degrees) == ("better", "runs", 3)
    assert of_scores(values[:2], 200).verdict == "too few"
    assert of_scores([0.02, -0.02, 0.01], 200).verdict == "tie"


def test_an_entry_is_made_from_the_answers_of_the_same_runs(make_report, answers):
    report = make_report(shots=(100,), seeds=3)
    one, other = Side("lorafusion", "DIGITAL", "chip"), Side("probe", "DIGITAL", "chip")
    report["results"] = [r for r in report["results"] if r["method"] != "probe" or r["seed"] != 1]
    entry = compared(answers(report), 100, one, other)
    assert (entry.runs, entry.examples) == (2, 800)
    pairs = {r["seed"]: r["right_chip"] for r in report["results"] if r["method"] == "probe"}
    mine = {r["seed"]: r["right_chip"] for r in report["results"] if r["method"] == "lorafusion"}
    wanted = np.mean([(mine[s].count("1") - bits.count("1")) / 400 for s, bits in pairs.items()])
    assert entry.difference_points == pytest.approx(100 * wanted)
    assert compared(answers(report), 100, one, Side("vera", "DIGITAL", "chip")) is None
    assert compared(answers(report), 100, one, Side("frozen", "NVM_FROZEN", "readapted")) is None, "it has no value"
    report["task"]["metric"] = "macro-F1"
    assert compared(answers(report), 100, one, other).error_of == "runs"
