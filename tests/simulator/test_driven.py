"""For how long reads drove word lines: counted by hand, by each chip and fork for itself, and seen in steps."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.effects import Acting

STEP = 40.0
QUIET = {"read.noise": "null", "relaxation.points": "null"}


class Growing(Acting):
    """A toy: cells that are not stuck gain 0.1 nS in each read."""

    counts = True

    def present(self, siemens, cells, at):
        moved = siemens + np.float32(1e-10) * cells.driven_cycles(at).astype(np.float32)
        return np.where(cells.healthy(at), moved, siemens)

    def moved(self, before, now):
        return (now - before).max() > STEP


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr("edge_adapt.simulator.arrays.acting_on", lambda chip, mismatch: (Growing(),))
    rng = np.random.default_rng(2)
    return program(load_chip("reram", QUIET), {"w": rng.uniform(-1.0, 1.0, (20, 150)), "v": np.eye(3)}, rng)


def digits(x, full_scale):
    """Ones among the seven digits of each input's code: reads at full voltage of a DAC of one bit."""
    codes = np.rint(np.minimum(np.abs(x) / full_scale, 1.0) * 127).astype(int)
    return np.vectorize(lambda code: code.bit_count())(codes)


def test_word_lines_are_counted_digit_by_digit_and_cells_follow(model):
    rng = np.random.default_rng(3)
    fresh = model.matrix("w").conductance_siemens()
    x = rng.standard_normal((30, 150)).astype(np.float32)
    x[:, :10] = 0.0
    model.matvec("w", x)
    model.matvec("w", x[0])
    ones = digits(x, model._ranges["w"].dac).sum(0) + digits(x[0], model._ranges["w"].dac)
    assert ones[:10].tolist() == [0] * 10 and ones.max() > STEP
    model.set_time(0.0)  # looks at everything
    gained = model.matrix("w").conductance_siemens() - fresh
    stuck = model.matrix("w").stuck > 0
    assert np.allclose(np.where(stuck, 0.0, 1e-10 * ones[:, None]), gained, atol=4e-12)
    assert stuck.any() and not gained[stuck].any()
    assert np.array_equal(model.matrix("v").conductance_siemens(), model.fork(rng).matrix("v").conductance_siemens())


def test_reads_see_it_in_steps_and_transposed_reads_count_as_the_average(model):
    x = np.full((1, 150), 1.0, np.float32)
    first = model.matvec("w", x)
    each = digits(x, model._ranges["w"].dac).max()
    pairs = model.matrix("w").pairs.copy()
    for _ in range(int(STEP // each) - 1):
        assert np.array_equal(model.matvec("w", x), first)
    assert np.array_equal(model.matrix("w").pairs, pairs)
    model.count_transposed("w", 2)
    after = model.matrix("w").pairs
    assert not np.array_equal(after, pairs)
    cycles = model.matrix("w").cells.driven
    assert np.allclose(cycles, each * (int(STEP // each) + 2))


def test_a_write_starts_the_cells_that_it_pulses_anew(model):
    rng = np.random.default_rng(4)
    weight = model.effective_weight("w")
    x = rng.standard_normal((200, 150)).astype(np.float32)
    model.matvec("w", x)
    weight[:3] *= -1
    log = model.rewrite("w", weight)
    cycles = model.matrix("w").cells.driven_cycles(None)
    pulsed = model.matrix("w").writes_since_deployment() > 0
    assert 0 < log.cells_pulsed == pulsed.sum() < pulsed.size
    assert not cycles[pulsed].any() and (cycles[~pulsed] > 0).all()


def test_a_chip_and_its_forks_count_for_themselves(model):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((100, 150)).astype(np.float32)
    model.matvec("w", x)
    fork, alone = model.fork(np.random.default_rng(6)), model.fork(np.random.default_rng(6))
    for _ in range(3):
        model.matvec("w", x)
    found = [fork.matvec("w", x), fork.matvec("w", x)]
    model.matvec("w", x)
    found.append(fork.matvec("w", x))
    cells = fork.matrix("w").conductance_siemens()
    assert np.array_equal(found, [alone.matvec("w", x) for _ in range(3)])
    assert np.array_equal(cells, alone.matrix("w").conductance_siemens())
    assert not np.array_equal(cells, model.matrix("w").conductance_siemens())
    assert model.fork(rng, own=("w",)).matrix("w").cells.nbytes > 0


def test_what_is_frozen_stays_as_it_is(model):
    x = np.full((100, 150), 1.0, np.float32)
    model.matvec("w", x)
    model.freeze_reading()
    first = model.matvec("w", x)
    assert np.array_equal(first, model.matvec("w", x))
