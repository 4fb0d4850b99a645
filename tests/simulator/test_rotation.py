"""Rotation of weights and inputs: the transform against scipy's matrices, what must not change, and what it gains."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
from edge_adapt import load_chip
from edge_adapt.simulator import CostTable, program, reference
from edge_adapt.simulator.rotation import additions, block_of, rotated, transform, unrotated

KINDS = ("hadamard", "random_hadamard")


QUIET = {"read.noise": "null", "relaxation.points": "null", "stuck_low": "0", "stuck_high": "0",
         "cell_to_cell_sigma": "0", "cycle_to_cycle_sigma": "0",
         "tolerance": "0.05 uS", "pulse_step": "0.05 uS", "pulses_max": "200"}  # fmt: skip


def chip_with(kind="hadamard"):
    """Without noise, faults and relaxation: what remains is rounding, to 16 levels a cell, 8 bits in and 8 bits out."""
    return load_chip("reram", QUIET | {"array.rotation": kind})


@pytest.mark.parametrize(("length", "block"), [(1, 1), (7, 1), (12, 4), (64, 64), (384, 128), (1536, 512)])
@pytest.mark.parametrize("implementation", [transform, reference.transform])
def test_the_transform_is_the_walsh_hadamard_matrix_of_each_block(implementation, length, block, rng):
    assert block_of(length) == block
    rows = rng.standard_normal((3, length)).astype(np.float32)
    matrix = scipy.linalg.block_diag(*[scipy.linalg.hadamard(block)] * (length // block)) / np.sqrt(block)
    found = rows.copy()
    implementation(found, block)
    assert np.allclose(found, rows.astype(float) @ matrix, atol=2e-6)
    implementation(found, block)
    assert np.allclose(found, rows, atol=2e-6), "it is its own inverse"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [96, 384])
def test_without_rounding_nothing_changes(kind, length, rng):
    chip, weight, x = chip_with(kind), rng.standard_normal((20, length)), rng.standard_normal((30, length))
    exact = x @ weight.T
    turned = rotated(chip, x).astype(float) @ rotated(chip, weight).astype(float).T
    assert np.abs(turned - exact).max() <= 1e-6 * np.linalg.norm(x, axis=1).max() * np.linalg.norm(weight, axis=1).max()
    assert np.allclose(unrotated(chip, rotated(chip, x)), x, atol=2e-6)
    assert np.abs(rotated(chip, x) - x).max() > 0.5
    plain = chip_with("none")
    assert rotated(plain, x) is x and unrotated(plain, x) is x


@pytest.mark.parametrize("kind", KINDS)
def test_all_directions_of_a_chip_belong_to_one_matrix(kind, rng):
    """Reads, what the cells hold and transposed products agree with each other, and with the weights up to rounding."""
    weight, x = rng.standard_normal((24, 96)).astype(np.float32), rng.standard_normal((40, 96)).astype(np.float32)
    model = program(chip_with(kind), {"w": weight}, rng)
    held = model.effective_weight("w")
    assert 1e-3 < np.abs(held - weight).mean() / np.abs(weight).mean() < 0.12
    with model.calibrating():
        assert np.allclose(model.matvec("w", x), x @ held.T, atol=1e-4)
    read = model.matvec("w", x)
    assert np.linalg.norm(read - x @ held.T) < 0.05 * np.linalg.norm(read)
    y = rng.standard_normal((7, 24)).astype(np.float32)
    assert np.allclose(model.transposed_product("w", y), y @ held, atol=1e-4)
    model.rewrite("w", -weight)
    assert np.allclose(model.effective_weight("w"), -held, atol=0.35 * np.abs(weight).max())
    ideal = program(chip_with(kind), {"w": weight}, rng, fidelity="ideal")
    assert np.allclose(ideal.matvec("w", x), x @ weight.T, atol=1e-4)
    assert np.array_equal(ideal.effective_weight("w"), weight)


def errors(kind, weight, x):
    """Relative errors that rounding leaves in the weights, and in the products with inputs x."""
    model = program(chip_with(kind), {"w": weight}, np.random.default_rng(0))
    exact = x @ weight.T
    wrong = lambda found, right: np.linalg.norm(found - right) / np.linalg.norm(right)
    return wrong(model.effective_weight("w"), weight), wrong(model.matvec("w", x), exact)


@pytest.mark.parametrize("kind", KINDS)
def test_outliers_in_weights_and_inputs_cost_less(kind, rng):
    """Six of 384 inputs are 20 times as large, and so are 2 % of the weights: as Transformers have them."""
    weight, x = rng.standard_normal((64, 384)), rng.standard_normal((100, 384))
    weight[rng.random(weight.shape) < 0.02] *= 20.0
    x[:, rng.choice(384, 6, replace=False)] *= 20.0
    weight, x = weight.astype(np.float32), x.astype(np.float32)
    plain, turned = errors("none", weight, x), errors(kind, weight, x)
    assert turned[0] < 0.3 * plain[0] and turned[1] < 0.45 * plain[1]


def test_weights_without_outliers_lose_nothing(rng):
    weight, x = rng.standard_normal((64, 384)).astype(np.float32), rng.standard_normal((100, 384)).astype(np.float32)
    plain, turned = errors("none", weight, x), errors("hadamard", weight, x)
    assert turned == pytest.approx(plain, rel=0.05)


def test_additions_are_counted_and_paid_for(rng):
    chip = load_chip("reram", {"array.rotation": "hadamard"})
    model = program(chip, {"w": rng.standard_normal((10, 96))}, rng)
    assert additions(chip, 96) == 96 * 5
    assert model.write_log.digital_adds == 10 * 96 * 5
    model.matvec("w", rng.standard_normal((7, 96)))
    assert model.counts.digital_adds == 7 * 96 * 5
    model.count_transposed("w", 3)
    assert model.counts.digital_adds == 10 * 96 * 5
    model.rewrite("w", rng.standard_normal((10, 96)))
    assert model.counts.digital_adds == 20 * 96 * 5
    table, p = CostTable.of(chip), chip.periphery
    without = dataclasses.replace(model.counts, digital_adds=0.0)
    paid, unpaid = table.cost(model.counts), table.cost(without)
    assert paid.total_joules - unpaid.total_joules == pytest.approx(9600 * p.digital_add_energy_joules, rel=1e-6)
    assert paid.seconds["digital"] == pytest.approx(9600 / p.digital_macs_per_second)
    plain = program(load_chip("reram"), {"w": rng.standard_normal((10, 96))}, rng)
    plain.matvec("w", rng.standard_normal((7, 96)))
    assert plain.counts.digital_adds == plain.write_log.digital_adds == 0
