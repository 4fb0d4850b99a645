"""A rewrite of some outputs or inputs of a matrix: the others are neither pulsed nor looked at."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.counting import write_times
from edge_adapt.simulator.mapping import Some
from edge_adapt.simulator.turns import groups

SHAPE = (9, 21)
ARRAYS = {"array.rows": "8", "array.columns": "12", "array.slices": "2"}


def weights(seed):
    return np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def chip_of(mapping, **settings):
    return load_chip("reram", ARRAYS | {"array.mapping": mapping} | settings)


@pytest.mark.parametrize("mapping", ["differential", "offset"])
@pytest.mark.parametrize("refresh", [False, True])
@pytest.mark.parametrize(("axis", "numbers"), [(0, [1, 2, 8]), (1, [0, 7, 8, 20])])
def test_only_some_lines_are_written_and_looked_at(mapping, axis, numbers, refresh):
    model = program(chip_of(mapping), {"w": weights(0)}, np.random.default_rng(1))
    matrix, mask = model.matrix("w"), np.zeros(SHAPE, bool)
    mask[(numbers, slice(None)) if axis == 0 else (slice(None), numbers)] = True
    before, integers = matrix.conductance_siemens().copy(), matrix.integers.copy()
    log = model.rewrite("w", weights(5), refresh, Some(axis, np.array(numbers)))
    layout = matrix.layout
    assert np.array_equal(matrix.integers.T[~mask], integers.T[~mask])
    assert not np.array_equal(matrix.integers.T[mask], integers.T[mask])
    outputs = slice(0, layout.outputs)
    assert np.array_equal(matrix.conductance_siemens()[..., outputs][..., ~mask.T], before[..., outputs][..., ~mask.T])
    # A look at every cell of the lines, and one more after each pulse; references have the inputs' word lines.
    lines = len(numbers) * (layout.sensed if axis else layout.inputs)
    assert log.verifies - log.set_pulses - log.reset_pulses == lines * layout.cells_per_weight
    assert 0 < model.cell_writes("w") <= mask.sum() * layout.cells_per_weight


@pytest.mark.parametrize("axis", [0, 1])
def test_all_lines_are_a_whole_rewrite(axis):
    chip = chip_of("differential")
    models = [program(chip, {"w": weights(0)}, np.random.default_rng(1)) for _ in range(2)]
    whole = models[0].rewrite("w", weights(5))
    lines = models[1].rewrite("w", weights(5), only=Some(axis, np.arange(SHAPE[axis])))
    assert whole.verifies == lines.verifies
    assert (whole.time_seconds, whole.energy_joules) == (lines.time_seconds, lines.energy_joules)
    assert np.array_equal(models[0].effective_weight("w"), models[1].effective_weight("w"))


def test_groups_by_hand():
    """Two outputs of 4 cells fit an array of 12 columns beside each other, three tiles of 8, 8 and 5 word lines."""
    chip = chip_of("differential", **{"write.cells_in_parallel": "4"})
    layout = program(chip, {"w": weights(0)}, np.random.default_rng(1)).matrix("w").layout
    assert (layout.cells_per_weight, layout.outputs_per_array) == (4, 3)
    of = lambda axis, numbers: groups(layout, write_times(chip), Some(axis, np.array(numbers))).tolist()
    assert of(0, [1, 2, 8]) == [[16, 0, 8], [16, 0, 8], [10, 0, 5]]
    assert of(1, [0, 7, 20]) == [[6, 6, 6], [0, 0, 0], [3, 3, 3]]


def test_inputs_that_are_mixed_are_written_as_a_whole():
    chip = chip_of("differential", **{"array.rotation": "hadamard"})
    model = program(chip, {"w": weights(0)[:, :16]}, np.random.default_rng(1))
    merged = weights(0)[:, :16].copy()
    merged[:, 3] = 1.0
    log = model.rewrite("w", merged, only=Some(1, np.array([3])))
    assert log.verifies - log.set_pulses - log.reset_pulses == model.matrix("w").layout.cells
    log = model.rewrite("w", merged, only=Some(0, np.array([3])))
    assert log.verifies == model.matrix("w").layout.cells // SHAPE[0]
