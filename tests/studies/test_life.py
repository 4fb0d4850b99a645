"""The words of the work of a run, and what variants side by side share."""

from types import SimpleNamespace

import pytest
from edge_adapt.studies import life
from edge_adapt.studies.life import age_text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (90, "90 seconds"),
        (3600, "1 hour"),
        (43200, "12 hours"),
        (86400, "1 day"),
        (2592000, "30 days"),
    ],
)
def test_an_age_is_said_in_the_unit_that_it_is_given_in(seconds: float, words: str) -> None:
    assert age_text(seconds) == words


def _trial(numbers: str, found: int) -> SimpleNamespace:
    """A trial of a method that computes in a format; what it finds is a number."""
    plan = SimpleNamespace(read_in_training=(), recipe=SimpleNamespace(numbers=numbers))
    adaptation = SimpleNamespace(plan=plan)
    return SimpleNamespace(adaptation=adaptation, features=lambda _: found, inference=lambda _: (found, found))


def test_features_are_shared_in_one_format_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "reads_backbone_alone", lambda _: True)
    shared, trials = life.SharedFeatures(), [_trial("fp32", 1), _trial("bf16", 2), _trial("fp32", 3)]
    assert [shared.features(trial, None) for trial in trials] == [1, 2, 1]
    assert [shared.inference(trial, None) for trial in trials] == [(1, 1), (2, 2), (1, 1)]
    shared.clear()
    assert shared.features(trials[2], None) == 3


def test_a_training_in_bf16_is_not_that_with_exact_weights() -> None:
    assert life.trains_without_chip(_trial("fp32", 0).adaptation.plan)
    assert not life.trains_without_chip(_trial("bf16", 0).adaptation.plan)
