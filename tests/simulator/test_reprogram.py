"""A chip that has been programmed with another matrix in one place: as if it had been so from the start."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.mapping import level_siemens


def weights(seed=3, shape=(40, 60)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def thinned(weight):
    """A quarter of it, the largest."""
    return np.where(np.abs(weight) < np.quantile(np.abs(weight), 0.75), 0, weight).astype(np.float32)


def chip_of(first, name="reram", settings=None, **options):
    matrices = {"before": weights(7), "w": first, "after": weights(8)}
    return program(load_chip(name, settings or {}), matrices, np.random.default_rng(1), **options)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("reram", {}), ("pcm", {}), ("reram-wires", {}), ("reram", {"array.spare_columns": "8"}),
     ("reram", {"array.mapping": "offset", "array.slices": "2"}), ("reram", {"array.rotation": "hadamard"})],
)  # fmt: skip
def test_it_is_the_chip_that_was_programmed_so_from_the_start(name, settings):
    """The same cells: the same faults, pulses and errors, of this matrix and of the others."""
    fork = chip_of(weights(), name, settings).fork(np.random.default_rng(2))
    log = fork.reprogram("w", thinned(weights()))
    logs = {}
    other = chip_of(thinned(weights()), name, settings, on_matrix=logs.__setitem__)
    for key in ("before", "w", "after"):
        assert np.array_equal(fork.effective_weight(key), other.effective_weight(key))
        assert np.array_equal(fork.matrix(key).writes, other.matrix(key).writes)
    assert np.array_equal(fork.matrix("w").stuck, other.matrix("w").stuck)
    fork.set_time(1e6)
    other.set_time(1e6)
    assert np.array_equal(fork.effective_weight("w"), other.effective_weight("w"))
    assert np.array_equal(log.pulses, logs["w"].pulses) and log.energy_joules == logs["w"].energy_joules


def test_others_keep_what_they_share():
    base = chip_of(weights())
    held, fork = base.effective_weight("w"), base.fork(np.random.default_rng(2))
    fork.reprogram("w", thinned(weights()))
    assert np.array_equal(base.effective_weight("w"), held)
    assert fork.counts == base.counts and fork.cell_writes("w") == 0
    fork.rewrite("w", weights())  # it belongs to the fork from now on
    assert fork.cell_writes("w") > 0 and np.array_equal(base.effective_weight("w"), held)


def test_cells_of_zeros_stay_erased():
    """Both cells of a pair at their lowest conductance, without a pulse unless one of them is broken."""
    weight = thinned(weights())
    model = chip_of(weights()).fork(np.random.default_rng(2))
    log = model.reprogram("w", weight)
    matrix, zero = model.matrix("w"), weight.T == 0
    healthy = ~matrix.stuck.any((0, 1)) & zero
    assert healthy.sum() > 0.9 * zero.sum()
    assert np.all(matrix.target_siemens()[:, :, zero] == level_siemens(model.chip)[0])
    assert not matrix.writes[:, :, healthy].any() and np.all(matrix.integers[zero] == 0)
    assert log.cells_pulsed <= np.count_nonzero(weight) * matrix.layout.slices + (matrix.stuck != 0).sum()
    assert log.verifies >= matrix.layout.cells  # but every cell is looked at


def test_zeros_spare_energy_of_the_cells_and_nothing_else():
    x = np.random.default_rng(5).standard_normal((20, 60)).astype(np.float32)
    whole, thin = chip_of(weights()), chip_of(weights()).fork(np.random.default_rng(2))
    thin.reprogram("w", thinned(weights()))
    for model in (whole, thin):
        model.matvec("w", x)
    assert thin.counts.cell_read_joules < whole.counts.cell_read_joules
    assert thin.counts.reads == whole.counts.reads == 20
    assert thin.counts.read_conversions == whole.counts.read_conversions
    lowest = level_siemens(thin.chip)[0] * thin.matrix("w").layout.cells
    assert 0 < lowest < thin.matrix("w").row_siemens.sum() < whole.matrix("w").row_siemens.sum()


def test_exact_reads_follow():
    fork = chip_of(weights(), fidelity="ideal").fork(np.random.default_rng(2))
    fork.reprogram("w", thinned(weights()))
    x = np.eye(60, dtype=np.float32)
    np.testing.assert_allclose(fork.matvec("w", x), thinned(weights()).T, rtol=1e-6)


def test_what_cannot_be_is_refused():
    model = chip_of(weights())
    with pytest.raises(UsageError, match="unknown matrix 'v'"):
        model.reprogram("v", weights())
    with pytest.raises(UsageError, match="'w' is 40 x 60; got shape"):
        model.reprogram("w", weights(shape=(60, 40)))
    with pytest.raises(UsageError, match="'w'"):
        model.reprogram("w", np.full((40, 60), np.nan, np.float32))
