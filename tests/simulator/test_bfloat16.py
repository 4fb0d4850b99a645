"""Half-width floats against ml_dtypes, which comes with onnx."""

import numpy as np
import pytest
from edge_adapt.simulator.bfloat16 import from_bfloat16, to_bfloat16

ml_dtypes = pytest.importorskip("ml_dtypes")


def test_every_bit_pattern_is_widened_as_ml_dtypes_has_it():
    bits = np.arange(2**16, dtype=np.uint16)
    ours, theirs = from_bfloat16(bits), bits.view(ml_dtypes.bfloat16).astype(np.float32)
    known = ~np.isnan(theirs)
    assert np.array_equal(ours[known], theirs[known]) and np.isnan(ours[~known]).all()


def test_the_nearest_number_is_that_of_ml_dtypes_but_for_ties_which_go_up_here():
    values = np.random.default_rng(0).exponential(1, 100_000).astype(np.float32)
    tied = values.view(np.uint32) & np.uint32(0xFFFF) == 0x8000
    values[:2] = np.uint32([0x3F808000, 0x3F818000]).view(np.float32)  # halfway above an even and an odd number
    tied[:2] = True
    ours, theirs = to_bfloat16(values), values.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(ours[~tied], theirs[~tied])
    assert (ours[0], theirs[0], ours[1], theirs[1]) == (0x3F81, 0x3F80, 0x3F82, 0x3F82)
