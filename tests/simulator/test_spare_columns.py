"""Spare columns: faulty outputs found by verify move to them, and what that costs is counted."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import area, program, pulse_kernel
from edge_adapt.simulator.counting import write_events, write_times
from edge_adapt.simulator.faults import choose_columns
from edge_adapt.simulator.mapping import Layout, level_siemens, to_levels

SMALL = {"array.rows": "16", "array.columns": "24", "stuck_low": "1.5 %", "stuck_high": "0.5 %"}
CODINGS = [{}, {"array.slices": "2"}, {"array.mapping": "offset"}]


def programmed(weight, spares, seed=1, **changes):
    chip = load_chip("reram", SMALL | {"array.spare_columns": str(spares)} | changes)
    return program(chip, {"w": weight}, np.random.default_rng(seed))


def weights(rng, shape=(30, 40)):
    return rng.standard_normal(shape).astype(np.float32)


def test_the_worst_outputs_of_each_array_are_chosen():
    layout = Layout(outputs=5, inputs=6, rows=4, columns=6, slices=1, levels=4)
    failed = np.array([[0, 2, 1, 3, 3], [0, 0, 0, 0, 7]])
    assert choose_columns(failed, layout, 1).tolist() == [[-1, 0, -1, 0, -1], [-1, -1, -1, -1, 0]]
    assert choose_columns(failed, layout, 2).tolist() == [[-1, 0, 1, 0, 1], [-1, -1, -1, -1, 0]]


@pytest.mark.parametrize("coding", CODINGS)
def test_outputs_with_most_failed_cells_move_and_fewer_fail(coding, rng):
    weight = weights(rng)
    plain, spare = programmed(weight, 0, **coding, **{"array.columns": "16"}), programmed(weight, 8, **coding)
    before, after = plain.matrix("w"), spare.matrix("w")
    assert before.layout == after.layout and before.cells.spares is None
    moved = after.cells.spares >= 0
    groups = 8 // after.layout.cells_per_weight
    array_of = after.layout.array_of_output()
    rows = np.arange(40) // 16
    for tile in range(after.layout.row_tiles):
        for array in range(after.layout.column_tiles):
            here = after.cells.spares[tile, (array_of == array)]
            used = here[here >= 0]
            assert len(used) <= groups and len(set(used)) == len(used) and (used < groups).all()
    bad = lambda matrix: np.add.reduceat((matrix.stuck != 0).sum((0, 1)), [0, 16, 32], axis=0)
    assert moved.sum() >= 0.5 * moved.shape[0] * after.layout.column_tiles
    stuck_before, stuck_after = bad(before), bad(after)
    assert np.array_equal(stuck_before[~moved], stuck_after[~moved]), "the others are the same cells"
    assert stuck_after[moved].sum() < 0.6 * stuck_before[moved].sum()
    assert spare.write_log.failed.sum() < plain.write_log.failed.sum()
    same = ~moved[rows]
    assert np.array_equal(before.cells.programmed[:, :, same], after.cells.programmed[:, :, same])
    error = lambda model: np.abs(model.effective_weight("w") - weight).mean()
    assert error(spare) < error(plain)


def test_cells_of_spare_columns_hold_the_weights_they_were_given(rng):
    spare = programmed(weights(rng), 8, **{"relaxation.points": "null", "read.noise": "null"})
    matrix = spare.matrix("w")
    chip = spare.chip
    targets = level_siemens(chip)[to_levels(matrix.integers, matrix.layout)]
    moved = (matrix.cells.spares >= 0)[np.arange(40) // 16]
    wrong = np.abs(matrix.conductance_siemens() - targets) > chip.cell.program_tolerance_siemens * (1 + 1e-5)
    assert not (wrong & (matrix.stuck == pulse_kernel.HEALTHY))[:, :, moved].mean() > 0.02
    log = spare.write_log
    assert wrong.sum() == log.failed.sum(), "cells that were given up do not count"


def test_every_write_to_a_spare_cell_is_counted(rng):
    weight = weights(rng)
    plain, spare = programmed(weight, 0, **{"array.columns": "16"}), programmed(weight, 8)
    one, other = plain.write_log, spare.write_log
    layout = spare.matrix("w").layout
    tried = other.pulses.size - layout.cells
    assert tried % layout.cells_per_weight == 0 and tried >= 2 * (spare.matrix("w").cells.spares >= 0).sum() * 8
    events = write_events(other)
    assert events.set_pulses + events.reset_pulses == other.pulses.sum(dtype=int)
    assert events.verify_conversions == other.pulses.sum(dtype=int) + other.pulses.size
    for name in ("pulse_turns", "verify_turns", "cell_joules", "verify_joules", "converter_joules", "time_seconds"):
        assert getattr(other, name) > getattr(one, name), name
    parts = other.cell_joules + other.access_joules + other.line_joules + other.pump_joules
    parts += other.verify_joules + other.converter_joules
    assert other.energy_joules == pytest.approx(parts)
    times = write_times(spare.chip)
    pulsing = other.set_turns * times.set_seconds + other.reset_turns * times.reset_seconds
    seconds = pulsing + other.verify_turns * times.verify_seconds
    assert other.time_seconds == pytest.approx(seconds)
    assert spare.matrix("w").writes.max() == 1
    assert area(spare.chip, 1)["cells"] == pytest.approx(area(plain.chip, 1)["cells"] * 24 / 16)


def test_moved_cells_age_and_are_rewritten_as_others(rng):
    """Incremental updates agree with a full look, and relaxation of moved cells is drawn anew."""
    weight = weights(rng)
    plain, spare = programmed(weight, 0, **{"array.columns": "16"}), programmed(weight, 8)
    for model in (plain, spare):
        model.set_time(86400.0)
    matrix = spare.matrix("w")
    moved = (matrix.cells.spares >= 0)[np.arange(40) // 16]
    drift = [m.matrix("w").conductance_siemens() - m.matrix("w").cells.programmed for m in (plain, spare)]
    assert np.array_equal(drift[0][:, :, ~moved], drift[1][:, :, ~moved])
    assert abs(np.corrcoef(drift[0][:, :, moved].ravel(), drift[1][:, :, moved].ravel())[0, 1]) < 0.2
    _ = matrix.pairs
    spare.rewrite("w", np.where(rng.random(weight.shape) < 0.2, -weight, weight))
    quick = matrix.pairs.copy()
    matrix._cache = {}
    assert np.allclose(quick, matrix.pairs, rtol=1e-6)


def test_without_faults_and_failures_nothing_moves(rng):
    model = programmed(weights(rng), 8, stuck_low="0", stuck_high="0", cell_to_cell_sigma="0", pulses_max="200",
                       cycle_to_cycle_sigma="0", tolerance="1.2 uS", pulse_step="0.5 uS")  # fmt: skip
    assert model.write_log.failed.sum() == 0
    assert model.matrix("w").cells.spares is None and model.write_log.pulses.size == model.matrix("w").layout.cells


def test_wires_know_where_the_spare_columns_are(rng):
    """A moved output loses more on the way: its bit lines are the farthest from the drivers."""
    weight = np.full((12, 16), 0.5, np.float32)
    wired = {"array.wires": "exact", "wires.resistance": "200 ohm", "relaxation.points": "null"}
    model = programmed(weight, 8, **wired, **{"array.columns": "32"})
    matrix = model.matrix("w")
    moved = matrix.cells.spares[0] >= 0
    assert 0 < moved.sum() < 12
    g = matrix.conductance_siemens()[0]
    seen = matrix.pairs[0].sum(0) / (g[0] - g[1]).sum(0)
    assert seen[moved].max() < seen[~moved].min()
