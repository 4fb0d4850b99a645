"""The words of the work of a run."""

import pytest
from edge_adapt.studies.life import _age


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
    assert _age(seconds) == words
