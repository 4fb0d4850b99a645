"""Temperature: wires by their published law, everything else as it was, and a sentence that says so."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import effective_conductance, program
from edge_adapt.simulator.temperature import temperature_message, wire_ohms

WARM = {"technology.temperature": "358 K"}


@pytest.mark.parametrize(("kelvins", "factor"), [(300, 1.0), (358, 1.26158), (400, 1.451), (250, 0.7745)])
def test_wires_follow_the_published_line_and_cooling_lowers_it(kelvins, factor):
    """NeuroSim's coefficient, 0.451 % a kelvin, with the sign of T - 300 K."""
    chip = load_chip("reram-wires", {"technology.temperature": f"{kelvins} K"})
    assert wire_ohms(chip.periphery) == pytest.approx(2.12 * factor)


def test_reads_see_the_warm_wires():
    weight = np.random.default_rng(0).standard_normal((60, 120)).astype(np.float32)
    models = {
        name: program(load_chip("reram-wires", change), {"w": weight}, np.random.default_rng(1))
        for name, change in (("cold", {}), ("warm", WARM), ("same", {"wires.resistance": f"{2.12 * 1.26158} ohm"}))
    }
    cells = models["cold"].matrix("w").conductance_siemens()
    assert all(np.array_equal(cells, model.matrix("w").conductance_siemens()) for model in models.values())
    held = {name: model.effective_weight("w") for name, model in models.items()}
    assert np.allclose(held["warm"], held["same"], atol=1e-6)
    assert np.abs(held["warm"] - held["cold"]).max() > 0.01
    # A single column of one array, solved by hand: plus and minus cells beside each other.
    pair = np.moveaxis(cells[0], 0, 2).reshape(120, 120)
    exact = effective_conductance(pair, 2.12 * 1.26158, 2.12 * 1.26158)
    window = load_chip("reram").cell.g_max_siemens - load_chip("reram").cell.g_min_siemens
    wanted = (exact[:, ::2] - exact[:, 1::2]) / window * models["warm"].matrix("w").gains[0, 0]
    assert np.allclose(held["warm"].T, wanted, atol=2e-3 * np.abs(wanted).max())


def test_what_has_no_law_stays_as_it_was_and_is_named():
    assert temperature_message(load_chip("reram")) is None
    assert temperature_message(load_chip("reram", {"technology.temperature": "300 K"})) is None
    warm = load_chip("reram", WARM)
    message = temperature_message(warm)
    assert "358 K" in message and "1.26 times" in message and "array.wires is none" in message
    assert "no source has a law for cell reram" in message
    unknown = load_chip("reram", WARM | {"wires.temperature_coefficient": "null"})
    assert "has no wires.temperature_coefficient" in temperature_message(unknown)
    x = np.random.default_rng(2).standard_normal((5, 40))
    reads = [
        program(chip, {"w": np.ones((8, 40))}, np.random.default_rng(3)).matvec("w", x)
        for chip in (warm, load_chip("reram"))
    ]
    assert np.array_equal(*reads)


def test_nonsense_is_refused():
    with pytest.raises(UsageError, match=r"'20 K' must be at least 200 K"):
        load_chip("reram", {"technology.temperature": "20 K"})
    with pytest.raises(UsageError, match="unit"):
        load_chip("reram", {"technology.temperature": "85"})


def test_another_kind_of_adc_brings_its_own_energy_and_time():
    with pytest.raises(UsageError, match=r"adc\.energy \(1\.67 pJ\) is that of the converter of the file"):
        load_chip("reram", {"adc.kind": "ramp"})
    with pytest.raises(UsageError, match=r"adc\.conversion_time \(0\.78125 ns\)"):
        load_chip("reram", {"adc.kind": "flash", "adc.energy": "3 pJ"})
    chip = load_chip("reram", {"adc.kind": "ramp", "adc.energy": "3 pJ", "adc.conversion_time": "128 ns"})
    assert (chip.periphery.adc_kind, chip.periphery.adc_energy_joules) == ("ramp", 3e-12)
    assert load_chip("reram").periphery.adc_kind == "sar"
