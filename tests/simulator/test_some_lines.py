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
    return load_chip("reram", ARRAYS | {"array.mapping": mapping, "write.unchanged": "verify"} | settings)


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
    # This chip looks at every cell of the lines, and after each pulse; references have the inputs' word lines.
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


@pytest.mark.parametrize("mapping", ["differential", "offset"])
@pytest.mark.parametrize("only", [None, Some(0, np.array([1, 2, 8])), Some(1, np.array([0, 7, 8, 20]))])
def test_only_weights_that_change_are_looked_at(mapping, only):
    """By default; the cells are the same to the last bit as on a chip that looks at the others and corrects nothing."""
    chips = [chip_of(mapping, **{"write.unchanged": unchanged}) for unchanged in ("skip", "verify")]
    skipping, looking = (program(chip, {"w": weights(0)}, np.random.default_rng(1)) for chip in chips)
    some = np.where(np.random.default_rng(2).random(SHAPE) < 0.2, weights(5), weights(0))
    logs = []
    for model in (skipping, looking):
        model.set_time(86400.0)  # unchanged cells have relaxed out of their tolerance, and stay there
        integers = model.matrix("w").integers.copy()
        logs.append(model.rewrite("w", some, only=only))
    changed = int((skipping.matrix("w").integers != integers).sum())
    skipped, looked = logs
    assert changed and skipped.verifies - skipped.pulses.sum() == changed * skipping.matrix("w").layout.cells_per_weight
    assert np.array_equal(skipping.matrix("w").conductance_siemens(), looking.matrix("w").conductance_siemens())
    assert (skipped.cell_joules, skipped.pulse_turns) == (looked.cell_joules, looked.pulse_turns)
    assert skipped.verifies < looked.verifies and skipped.verify_turns <= looked.verify_turns
    per_look = skipping.chip.periphery.adc_energy_joules
    assert looked.converter_joules - skipped.converter_joules == pytest.approx(
        (looked.verifies - skipped.verifies) * per_look
    )


def test_nothing_changes_and_nothing_is_looked_at():
    model = program(chip_of("differential", **{"write.unchanged": "skip"}), {"w": weights(0)}, np.random.default_rng(1))
    log = model.rewrite("w", weights(0))
    assert (log.verifies, log.verify_turns, log.pulse_turns, log.energy_joules, log.time_seconds) == (0, 0, 0, 0.0, 0.0)


def test_groups_without_a_change_take_no_turn():
    """By hand: 4 cells together are one weight; 5 weights of one array change, and each waits for its slowest cell."""
    chip = chip_of("differential", **{"write.unchanged": "skip", "write.cells_in_parallel": "4",
                                      "write.arrays_in_parallel": "1"})  # fmt: skip
    model = program(chip, {"w": weights(0)}, np.random.default_rng(1))
    some = weights(0)
    some[0, :5] *= -1.0
    log = model.rewrite("w", some)
    slowest = log.sets.max((0, 1)).astype(int) + (log.pulses - log.sets).max((0, 1))
    assert slowest.shape == (5,)
    assert (log.pulse_turns, log.verify_turns) == (slowest.sum(), slowest.sum() + 5)


def test_a_chip_that_refreshes_writes_as_a_refresh_does():
    """`write.unchanged` refresh is `refresh=True` at every write."""
    chips = [chip_of("differential", **{"write.unchanged": way}) for way in ("refresh", "skip")]
    logs, held = [], []
    for chip in chips:
        model = program(chip, {"w": weights(0)}, np.random.default_rng(1))
        model.set_time(86400.0)
        logs.append(model.rewrite("w", weights(0), refresh=chip is chips[1]))
        held.append(model.effective_weight("w"))
    assert np.array_equal(*held) and logs[0].cells_pulsed == logs[1].cells_pulsed > 0
    assert logs[0].verifies == logs[1].verifies
