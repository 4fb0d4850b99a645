"""Read disturb: the drift of cells with reads against the closed form, its ends, its switches and its messages."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.effects import messages
from edge_adapt.simulator.effects.read_disturb import STEP, disturbed

QUIET = {"relaxation.points": "null", "read.noise": "null", "stuck_low": "null", "stuck_high": "null", "adc.bits": "8"}


def programmed(each, fidelity="fast", **more):
    rng = np.random.default_rng(1)
    chip = load_chip("reram", QUIET | {"read.disturb": each} | more)
    return program(chip, {"w": rng.uniform(-1.0, 1.0, (12, 140))}, rng, fidelity)


@pytest.mark.parametrize(("each", "end"), [("50 pS", "g_max"), ("-50 pS", "g_min")])
def test_cells_go_with_every_read_to_the_end_of_the_window(each, end):
    model = programmed(each)
    matrix, low, high = model.matrix("w"), 1e-6, 40e-6
    fresh = matrix.conductance_siemens()
    step = float(each.split()[0]) * 1e-12
    for reads in (1, 1000, 100_000, 10**9):
        cells = matrix.conductance_siemens()
        matrix.set_driven(np.full(140, float(reads)))
        cells = matrix.conductance_siemens()
        free = fresh + step * reads
        if step > 0:
            wanted = [max(g, min(f, high)) for g, f in zip(fresh.ravel(), free.ravel(), strict=True)]
        else:
            wanted = [min(g, max(f, low)) for g, f in zip(fresh.ravel(), free.ravel(), strict=True)]
        assert np.allclose(cells.ravel(), wanted, rtol=1e-6), reads
    inside = (fresh > low) & (fresh < high)
    assert np.allclose(cells[inside], high if step > 0 else low, rtol=1e-6)
    assert np.array_equal(cells[fresh > high], fresh[fresh > high]) or end == "g_min"


def test_no_read_no_drift_and_a_vector_of_any_cells():
    g = np.float32([1e-6, 20e-6, 41e-6])
    assert np.array_equal(disturbed(g, np.zeros(3), 1e-9, 1e-6, 40e-6), g)
    assert disturbed(g, np.full(3, 100.0), 1e-7, 1e-6, 40e-6) == pytest.approx([11e-6, 30e-6, 41e-6])
    assert disturbed(g, np.full(3, 100.0), -1e-7, 1e-6, 40e-6) == pytest.approx([1e-6, 10e-6, 31e-6])


@pytest.mark.parametrize("fidelity", ["fast", "bitserial"])
def test_products_are_those_of_the_cells_as_they_are(fidelity):
    """What reads use lags by less than a step of the window; the clock brings it up to date."""
    model = programmed("20 nS", fidelity)
    x = np.random.default_rng(2).standard_normal((60, 140)).astype(np.float32)
    first = model.matvec("w", x)
    model.set_time(0.0)
    later = model.matvec("w", x)
    g = model.matrix("w").conductance_siemens()[0]
    window = 39e-6
    assert np.allclose(model.matrix("w").pairs[0], (g[0] - g[1]) / window, atol=2 * STEP)
    error = np.linalg.norm(later - first) / np.linalg.norm(first)
    assert 0.01 < error < 1.0


def test_nothing_is_counted_and_nothing_moves_without_it():
    model = programmed("null")
    x = np.random.default_rng(2).standard_normal((60, 140)).astype(np.float32)
    fresh = model.matrix("w").conductance_siemens()
    model.matvec("w", x)
    model.set_time(0.0)
    assert model.matrix("w").cells.driven is None
    assert np.array_equal(model.matrix("w").conductance_siemens(), fresh)


def test_exact_reads_are_not_disturbed():
    model = programmed("20 nS", "ideal")
    x = np.random.default_rng(2).standard_normal((60, 140)).astype(np.float32)
    assert np.array_equal(model.matvec("w", x), model.matvec("w", x))


def test_the_report_says_when_cells_are_read_above_the_voltage_that_is_known():
    said = messages(load_chip("reram"), 0.0)
    assert said == [
        "cell reram is read at 0.5 V, and its read disturb was characterised at up to 0.3 V: what it does here is "
        "unknown, and reads leave cells as they are in this report"
    ]
    assert "may be larger here than the file says" in messages(load_chip("reram", {"read.disturb": "1 pS"}), 0.0)[0]
    assert not messages(load_chip("reram", {"read.voltage": "0.3 V"}), 0.0)
    assert not messages(load_chip("pcm"), 0.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("read.disturb", "1 V", "read.disturb"), ("read.disturb_voltage", "0 V", "read.disturb_voltage"),
     ("read.disturb_voltage", "-1 V", "read.disturb_voltage"), ("read.disturb", "much", "read.disturb")],
)  # fmt: skip
def test_wrong_values_are_refused(key, value, message):
    with pytest.raises(UsageError, match=message):
        load_chip("reram", {key: value})
