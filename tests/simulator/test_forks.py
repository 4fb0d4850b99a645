"""What a chip and its forks do to each other: nothing, but for writes of the chip to cells that they share."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program

DAY = 86400.0


def weights(seed=3, shape=(40, 60)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chip_of(name="pcm"):
    return program(load_chip(name), {"w": weights(), "own": weights(4)}, np.random.default_rng(1))


@pytest.mark.parametrize("name", ["pcm", "pcm-compensated", "reram-wires"])
def test_freezing_a_chip_leaves_its_forks_at_their_time(name):
    """Held against the same chips where nobody froze anything."""
    alone, model = chip_of(name), chip_of(name)
    forks = [m.fork(np.random.default_rng(2), own=("own",)) for m in (alone, model)]
    for fork in forks:
        fork.set_time(30 * DAY)
    before = model.effective_weight("w")
    model.freeze_reading()
    assert np.array_equal(model.effective_weight("w"), before)
    for seconds in (30 * DAY, 60 * DAY):
        for fork in forks:
            fork.set_time(seconds)
        for n in ("w", "own"):
            assert np.array_equal(forks[1].effective_weight(n), forks[0].effective_weight(n))
    assert not np.allclose(forks[1].effective_weight("w"), before)
    assert np.array_equal(model.effective_weight("w"), before) and model.clock_seconds == 0.0


def test_freezing_a_fork_leaves_the_chip_writable():
    model, alone = chip_of(), chip_of()
    fork = model.fork(np.random.default_rng(2))
    fork.set_time(DAY)
    fork.freeze_reading()
    kept = fork.effective_weight("w")
    for m in (model, alone):
        m.matvec("w", np.ones(60))
        m.rewrite("w", -weights())
    assert np.array_equal(model.effective_weight("w"), alone.effective_weight("w"))
    assert np.array_equal(fork.effective_weight("w"), kept)


def test_a_fork_does_not_write_to_what_it_shares():
    model = chip_of()
    fork = model.fork(np.random.default_rng(2), own=("own",))
    held = model.effective_weight("w")
    for sharing in (fork, fork.fork(np.random.default_rng(3), own=("own",))):
        with pytest.raises(UsageError, match=r"fork with own=\('w',\)"):
            sharing.rewrite("w", -weights())
        sharing.rewrite("own", -weights(4))
    with pytest.raises(UsageError, match="'own' belongs to the chip"):
        fork.fork(np.random.default_rng(3)).rewrite("own", weights())
    assert np.array_equal(model.effective_weight("w"), held)
    assert model.counts.cells_written == 0 and fork.counts.cells_written > 0
    fork.add("more", weights())
    fork.rewrite("more", -weights())
    owner = fork.fork(np.random.default_rng(3), own=("w",))
    owner.rewrite("w", -weights())
    assert np.array_equal(model.effective_weight("w"), held)
    model.rewrite("w", weights(8))
    assert np.array_equal(fork.effective_weight("w"), model.effective_weight("w"))
