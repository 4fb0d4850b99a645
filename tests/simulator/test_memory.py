"""How much memory a programmed model takes, against the float32 weights it stands for."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program

SHAPES = {"a": (384, 300), "b": (96, 384)}


@pytest.fixture
def weights(rng):
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def model(reram, rng, weights):
    made = program(reram, weights, rng)
    for name in weights:
        made.matvec(name, np.ones(SHAPES[name][1]))
    return made


def arrays_in(thing, seen):
    """Every array that an object holds, however deep; each once."""
    if id(thing) in seen:
        return []
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return [thing if thing.base is None else thing.base] if isinstance(thing.base, np.ndarray | None) else [thing]
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else ()
    inside = [*inside, *vars(thing).values()] if hasattr(thing, "__dict__") and not isinstance(thing, type) else inside
    return [array for item in inside for array in arrays_in(item, seen)]


def held_bytes(model):
    """By walking over the model, apart from the scratch of reads, which does not grow with the model."""
    reader, model._reader = model._reader, None
    found = {id(array): array.nbytes for array in arrays_in(model, set())}
    model._reader = reader
    return sum(found.values())


def test_a_programmed_model_takes_at_most_four_times_its_weights(model, weights):
    floats = sum(w.nbytes for w in weights.values())
    assert held_bytes(model) <= 4 * floats
    assert model.nbytes == pytest.approx(held_bytes(model), rel=0.01)


def test_what_reading_needs_takes_at_most_twice_the_weights(model, weights):
    floats = sum(w.nbytes for w in weights.values())
    model.freeze_reading()
    assert held_bytes(model) <= 2 * floats


def test_a_frozen_model_reads_the_same_and_refuses_the_rest(reram, weights):
    whole, frozen = (program(reram, weights, np.random.default_rng(5)) for _ in range(2))
    whole.set_time(3600.0)
    frozen.set_time(3600.0)
    frozen.freeze_reading()
    x = np.random.default_rng(6).standard_normal((9, 300)).astype(np.float32)
    assert np.array_equal(whole.matvec("a", x), frozen.matvec("a", x))
    assert np.array_equal(whole.effective_weight("a"), frozen.effective_weight("a"))
    for forbidden in (
        lambda: frozen.rewrite("a", weights["a"]),
        lambda: frozen.set_time(7200.0),
        lambda: frozen.fork(np.random.default_rng(0), own=("a",)),
        lambda: frozen.matrix("a").conductance_siemens(),
    ):
        with pytest.raises(UsageError, match="freeze_reading"):
            forbidden()
    frozen.add("c", weights["b"])
    assert "c" in frozen.fork(np.random.default_rng(0))


def test_the_summed_log_is_that_of_every_write(reram, rng, weights):
    model = program(reram, {}, rng)
    logs = [model.add(name, weight) for name, weight in weights.items()]
    total = model.write_log
    pulses = np.sort(np.concatenate([log.pulses.ravel() for log in logs]))
    assert np.array_equal(total.pulses, pulses)
    assert total.failed.sum() == sum(log.failed.sum() for log in logs)
    assert total.failed.size == total.pulses.size
    for name in ("energy_joules", "verifies", "pulse_turns", "time_seconds"):
        assert getattr(total, name) == pytest.approx(sum(getattr(log, name) for log in logs))


@pytest.mark.parametrize(("bits", "products"), [(None, 1), (7, 2)])
def test_an_iv_curve_takes_as_much_again_for_each_product_that_reads_need(rng, weights, bits, products):
    """One-bit digits need the quadratic part alone; voltages in between need both."""
    chip = load_chip("reram-milo")
    if bits:
        chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, dac_bits=bits))
    straight = dataclasses.replace(chip, cell=dataclasses.replace(chip.cell, iv_quadratic=None, iv_cubic=None))
    held = []
    for each in (chip, straight):
        model = program(each, {"a": weights["a"]}, rng)
        for _ in range(2):
            model.matvec("a", np.ones(SHAPES["a"][1]))
            weights["a"][3, 5] *= -1
            model.rewrite("a", weights["a"])
        model.freeze_reading()
        held.append(held_bytes(model))
    once = 80_000  # the table of the curve and those of the drives, whatever the matrix
    assert products * weights["a"].nbytes <= held[0] - held[1] <= products * weights["a"].nbytes + once


def test_earlier_times_behind_wires_are_kept_within_bounds(rng, monkeypatch):
    weight, x = rng.standard_normal((40, 60)), rng.standard_normal((3, 60))
    times = [0.0, 10.0, 1e3, 1e5, 1e6]
    model = program(load_chip("reram-wires"), {"w": weight}, np.random.default_rng(3))
    seen, held = {}, []
    for room in (0, 40_000, 1 << 24):
        monkeypatch.setattr("edge_adapt.simulator.arrays.BYTES_KEPT", room)
        for seconds in [*times, *times]:
            model.set_time(seconds)
            model.matvec("w", x)
            effective = model.effective_weight("w")
            assert np.array_equal(effective, seen.setdefault(seconds, effective))
        held.append(held_bytes(model))
    one = weight.size * (4 + 2)  # float32 and bfloat16
    assert held[1] - held[0] == pytest.approx(40_000 // one * one, rel=0.1)
    assert held[2] - held[0] == pytest.approx((len(times) - 1) * one, rel=0.1)
    assert model.nbytes == pytest.approx(held[2], rel=0.1)
