"""The memory of a training, against numbers worked out by hand."""

from edge_adapt.studies.digital import training_sets
from edge_adapt.studies.encoding import Encoded


def test_by_hand():
    # 10 numbers with two moments each: 120 bytes; a gradient of each: 40; 1000 activations of 2 bytes.
    assert training_sets(120, 10, 1000, 0, by_gradient=True, through=True).memory == 120 + 40 + 2000
    # Without gradients: the state alone (no moments), and a copy of it.
    assert training_sets(40, 10, 1000, 0, by_gradient=False, through=True).memory == 80
    # A head alone keeps features of 4 bytes, and no activations.
    assert training_sets(120, 10, 1000, 64, by_gradient=True, through=False).memory == 120 + 40 + 256


def test_the_longest_batch():
    data = Encoded([[1] * n for n in (3, 9, 4, 7)], [0] * 4)
    assert (data.longest(2), data.longest(9), data.answers) == (16, 23, 4)
