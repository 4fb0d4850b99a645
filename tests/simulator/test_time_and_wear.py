"""What time and rewriting do to cells: relaxation tables, drift, epochs, incremental writes, wear counters, forks."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import kernels, program, pulse_kernel, reference
from edge_adapt.simulator.mapping import level_siemens, to_levels
from edge_adapt.simulator.retention import aging, held_message, relaxation_sigma

DAY = 86400.0


def weights(rng, out=64, inputs=150):
    return rng.standard_normal((out, inputs)).astype(np.float32)


@pytest.mark.parametrize(
    ("age", "published"), [(1.0, (2.26, 2.02, 1.10)), (DAY, (3.72, 3.91, 2.65)), (2 * DAY, (3.66, 3.93, 2.68))]
)
def test_relaxation_table_of_neurram_cells(reram, age, published):
    """Values at 10, 20 and 40 uS computed by hand from the polynomials of aihwkit (Wan et al., 2022)."""
    sigma = relaxation_sigma(reram.cell, np.array([10e-6, 20e-6, 40e-6]), age)
    assert np.allclose(sigma * 1e6, published, atol=0.006)


def test_between_times_sigma_is_interpolated_in_log_time(reram):
    g = np.array([10e-6])
    middle = relaxation_sigma(reram.cell, g, np.sqrt(DAY))
    assert middle == pytest.approx((relaxation_sigma(reram.cell, g, 1.0) + relaxation_sigma(reram.cell, g, DAY)) / 2)
    assert relaxation_sigma(reram.cell, g, 30 * DAY) == relaxation_sigma(reram.cell, g, 2 * DAY)
    assert "held" in held_message(reram.cell, 30 * DAY) and held_message(reram.cell, DAY) is None


@pytest.mark.parametrize("age", [1.0, DAY])
def test_cells_spread_around_their_target_as_the_table_says(reram, age):
    rng = np.random.default_rng(3)
    model = program(reram, {"w": rng.uniform(-1, 1, (300, 300)).astype(np.float32)}, rng)
    model.set_time(age)
    matrix = model.matrix("w")
    targets, levels = level_siemens(reram), to_levels(matrix.integers, matrix.layout)
    error = matrix.conductance_siemens() - targets[levels]
    written = matrix.cells.programmed - targets[levels]
    sane = (matrix.stuck == pulse_kernel.HEALTHY) & (np.abs(written) <= reram.cell.program_tolerance_siemens * 1.0001)
    for level in (5, 8, 11, 15):
        chosen = error[sane & (levels == level)]
        assert np.std(chosen) == pytest.approx(relaxation_sigma(reram.cell, targets[[level]], age)[0], rel=0.04)
    # Erased cells too: they took no pulse, but are no better than the others. Their lower side is cut off at 0.
    erased = targets[0] + error[sane & (levels == 0)]
    sigma = relaxation_sigma(reram.cell, targets[[0]], age)[0]
    assert np.median(erased) == pytest.approx(targets[0], abs=0.02 * sigma)
    assert np.quantile(erased, 0.8413) - targets[0] == pytest.approx(sigma, rel=0.04)


def test_cells_that_failed_keep_their_distance(reram, change_cell):
    """One pulse is allowed: most cells stay far from their target, and relax around where they are."""
    chip = change_cell(reram, pulses_max=1, stuck_low_fraction=0.0, stuck_high_fraction=0.0)
    model = program(chip, {"w": np.ones((40, 100), np.float32)}, np.random.default_rng(0))
    cells = model.matrix("w").cells
    plus, target = cells.programmed[0, 0].astype(float), level_siemens(chip)[-1]
    far = target - plus > chip.cell.program_tolerance_siemens
    now = cells.present()[0, 0].astype(float)
    sigma = relaxation_sigma(chip.cell, np.array([target]), 1.0)[0]
    assert far.mean() > 0.9
    assert (now - plus)[far].mean() == pytest.approx(0.0, abs=4 * sigma / np.sqrt(far.sum()))
    assert (now - plus)[far].std() == pytest.approx(sigma, rel=0.06)


def test_power_law_drift_has_its_closed_form():
    chip = load_chip("pcm")
    cell = chip.cell
    quiet = aging(cell, level_siemens(chip), 1000.0)
    ratio = (1000.0 + cell.drift_t0_seconds) / cell.drift_t0_seconds
    assert quiet.log_time == pytest.approx(np.log(ratio))
    programmed = np.full(2000, 25e-6, np.float32)
    top = np.full(programmed.shape, cell.levels - 1, np.uint8)
    none, out, slow = np.empty(0, np.uint8), np.empty_like(programmed), np.empty_like(programmed)
    zero = np.zeros(cell.levels)
    tables = np.array([[zero], [zero], [zero], [zero], [quiet.exponent_mean], [quiet.exponent_sigma]])
    arguments = (
        none.astype(np.uint32), programmed, top, none, none, none.astype(np.uint16), np.uint64(1), np.uint64(2),
        tables, np.array([quiet.log_time]), False,
    )  # fmt: skip
    kernels.age_cells(*arguments, out)
    reference.age_cells(*arguments, slow)
    assert np.allclose(out, slow, rtol=1e-6)
    nu = -np.log(out.astype(float) / 25e-6) / np.log(ratio)
    assert nu.mean() == pytest.approx(quiet.exponent_mean[-1], rel=0.02)
    assert nu.std() == pytest.approx(quiet.exponent_sigma[-1], rel=0.1)


def test_a_rewrite_touches_only_cells_whose_level_changed(reram, rng):
    weight = weights(rng)
    model = program(reram, {"w": weight}, rng)
    before = model.matrix("w").conductance_siemens()
    assert model.cell_writes("w") == 0
    changed = weight.copy()
    changed[3, 7] = -0.9 * np.abs(weight[3]).max()
    log = model.rewrite("w", changed)
    after = model.matrix("w").conductance_siemens()
    moved = np.argwhere(before != after)
    assert {tuple(m[2:]) for m in moved} == {(7, 3)}
    assert 1 <= model.cell_writes("w") <= 2
    assert log.verifies == 2 + log.pulses.sum() and log.pulses.size == 2
    again = model.rewrite("w", changed)
    assert again.pulses.size == 0 and again.energy_joules == 0 and again.verifies == 0


@pytest.mark.parametrize("warm", [True, False])
def test_what_reads_use_after_an_incremental_write_is_what_a_full_look_gives(reram, rng, warm):
    weight = weights(rng)
    model = program(reram, {"w": weight}, rng)
    matrix = model.matrix("w")
    _ = matrix.pairs
    model.set_time(DAY)
    if warm:
        _ = matrix.pairs
    changed = np.where(rng.random(weight.shape) < 0.1, -weight, weight)
    model.rewrite("w", changed)
    incremental = {name: getattr(matrix, name).copy() for name in ("pairs", "noise", "row_siemens", "effective")}
    matrix._cache.clear()
    for name, values in incremental.items():
        assert np.allclose(values, getattr(matrix, name), rtol=1e-5, atol=1e-9), name


def test_counters_of_writes_grow_with_what_they_count(reram, rng):
    w = weights(rng, 3, 5)
    model = program(reram, {"w": w}, rng)
    for _ in range(300):
        w = -w
        model.rewrite("w", w)
    counted = model.matrix("w").writes_since_deployment()
    assert counted.max() >= 299  # a byte would have started again
    assert model.counts.cells_written == counted.sum(dtype=np.int64)


def test_a_refresh_brings_drifted_cells_back(reram, rng):
    weight = weights(rng)
    model = program(reram, {"w": weight}, rng)
    error = lambda: np.abs(model.effective_weight("w") - weight).mean()
    fresh = error()
    model.set_time(DAY)
    worn = error()
    model.rewrite("w", weight)
    assert error() == worn, "unchanged targets are not rewritten"
    model.rewrite("w", weight, refresh=True)
    assert fresh * 0.8 < error() < 0.9 * worn
    assert model.cell_writes("w") > 0


def test_forks_share_what_they_do_not_own(reram, rng):
    model = program(reram, {"a": weights(rng), "b": weights(rng)}, rng)
    fork = model.fork(np.random.default_rng(1), own=("a",))
    fork.rewrite("a", -weights(rng))
    assert model.cell_writes("a") == 0 and fork.cell_writes("a") > 0
    assert fork.matrix("b") is model.matrix("b") and fork.matrix("a") is not model.matrix("a")
    assert model.counts.cell_write_joules == 0 and fork.counts.cell_write_joules > 0
    fork.add("c", weights(rng))
    assert "c" in fork and "c" not in model


@pytest.mark.parametrize("name", ["reram", "pcm-compensated", "reram-cmo"])
def test_forks_have_a_clock_each_and_see_shared_matrices_at_their_own_time(name, rng):
    chip, weight = load_chip(name), weights(rng)

    def held(*times):
        model = program(chip, {"w": weight, "own": weight}, np.random.default_rng(1))
        forks = [model, model.fork(np.random.default_rng(2), own=("own",))]
        for which, seconds in times:
            forks[which].set_time(seconds)
        return [fork.effective_weight(n) for _ in range(2) for n in ("w", "own") for fork in forks]

    alone = {seconds: held((0, seconds), (1, seconds)) for seconds in (0.0, 1e4, DAY)}
    found = held((0, 1e4), (1, DAY))
    for n, seconds in enumerate((1e4, DAY) * 4):
        assert np.array_equal(found[n], alone[seconds][n])
    assert np.array_equal(held((1, DAY))[0], alone[0.0][0])


def test_a_shared_matrix_that_the_chip_wrote_later_is_refused_at_an_earlier_time(reram, rng):
    model = program(reram, {"w": weights(rng)}, rng)
    fork = model.fork(np.random.default_rng(1))
    model.set_time(DAY)
    model.rewrite("w", weights(rng))
    with pytest.raises(UsageError, match="'w' was written at 86400 s, through the chip that this one is a fork of"):
        fork.matvec("w", np.ones(150))
    fork.set_time(DAY)
    fork.matvec("w", np.ones(150))


def test_the_clock_does_not_go_back_before_a_write(reram, rng):
    model = program(reram, {"w": weights(rng)}, rng)
    model.set_time(DAY)
    model.rewrite("w", -model.effective_weight("w"))
    with pytest.raises(UsageError, match="last write was at 86400 s"):
        model.set_time(10.0)


def test_stuck_cells_are_there_at_the_stated_rate_and_never_move(reram, rng, change_cell):
    chip = change_cell(reram, stuck_low_fraction=0.03, stuck_high_fraction=0.01)
    model = program(chip, {"w": rng.standard_normal((200, 200)).astype(np.float32)}, rng)
    matrix = model.matrix("w")
    assert np.mean(matrix.stuck == pulse_kernel.STUCK_LOW) == pytest.approx(0.03, rel=0.1)
    assert np.mean(matrix.stuck == pulse_kernel.STUCK_HIGH) == pytest.approx(0.01, rel=0.15)
    model.set_time(DAY)
    g = matrix.conductance_siemens()
    assert np.allclose(g[matrix.stuck == pulse_kernel.STUCK_HIGH], chip.cell.g_max_siemens)
    assert np.allclose(g[matrix.stuck == pulse_kernel.STUCK_LOW], chip.cell.g_min_siemens)


def test_the_write_log_holds_every_cell_and_adds_up(reram, rng):
    model = program(reram, {"a": weights(rng), "b": weights(rng, 10, 20)}, rng)
    log = model.write_log
    assert log.pulses.size == log.failed.size == 2 * (64 * 150 + 10 * 20)
    assert log.energy_joules == pytest.approx(
        log.cell_joules
        + log.access_joules
        + log.line_joules
        + log.pump_joules
        + log.verify_joules
        + log.converter_joules
    )
    assert log.converter_joules == pytest.approx(log.verifies * reram.periphery.adc_energy_joules)


def test_a_rewrite_of_another_shape_is_refused(reram, rng):
    model = program(reram, {"w": weights(rng)}, rng)
    with pytest.raises(UsageError, match="64 x 150"):
        model.rewrite("w", np.zeros((150, 64)))


def test_verify_reads_wait_for_the_shared_converters(reram, rng):
    """Nothing changes on a chip that looks all the same: 150 word lines of 64 pairs in two arrays at once, 128 cells
    verified through one ADC.
    """
    weight = weights(rng)
    model = program(load_chip("reram", {"write.unchanged": "verify"}), {"w": weight}, rng)
    log = model.rewrite("w", weight)
    verify = 128 * reram.periphery.adc_conversion_seconds
    assert log.time_seconds == pytest.approx(128 * verify)


def test_the_effective_weight_is_the_callers_own(reram, rng):
    weight = weights(rng)
    model = program(reram, {"w": weight}, rng)
    held = model.effective_weight("w")
    kept = held.copy()
    model.rewrite("w", -weight)
    assert np.array_equal(held, kept) and not np.array_equal(model.effective_weight("w"), kept)
