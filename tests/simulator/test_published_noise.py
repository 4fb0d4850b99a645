"""Cells that the simulator samples, against the published noise models, whose equations are written out here.

Conductances in microsiemens, times in seconds. Programming errors, what time does, and read noise: PCM (S. Nandakumar
et al., ICECS 2019), HERMES (M. Le Gallo et al., Nat. Electron. 2023), CMO/HfOx ReRAM (D. Falcone et al., 2025), ReRAM
(W. Wan et al., Nature 2022; V. Milo et al., IRPS 2021), SONOS (V. Agrawal et al., IEDM 2022).
"""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program_cells
from edge_adapt.simulator.chip import ProgrammedModel
from edge_adapt.simulator.read_noise import flicker_share
from edge_adapt.simulator.retention import aging
from edge_adapt.simulator.writing import tolerance_siemens

HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0
SAMPLES = 6000
ONE_DEVICE = {  # HERMES with one device a cell
    "g_min": "0.1035 uS", "g_max": "10.35 uS", "tolerance": "0.34 uS", "pulse_step": "0.42 uS", "drift.t0": "200 s",
    "relaxation.reference": "10.35 uS", "exponent_sigma_coefficients": "[-0.0120, -0.0023]",
    "exponent_sigma_limits": "[0.0124, 0.04]", "exponent_sigma_above": "[0.3039, 0.0104, 0.0116, -0.0165]",
    "flicker.line": "[-0.0078, 0.0038]", "flicker.limits": "[0.0179, 0.04]",
    "flicker.above": "[0.1591, 0.0088, 0.0768, -0.1352, 0.0664]",
}  # fmt: skip


# --- the published equations: a sample of cells at the time t after the write --------------------------------------


def pcm(g, t, rng):
    x = g / 25.0
    written = np.maximum(g + (0.26348 + 1.9650 * x - 1.1731 * x**2) * rng.standard_normal(SAMPLES), 0.0)
    mean = np.clip(-0.0155 * np.log(x) + 0.0244, 0.049, 0.1)
    sigma = np.clip(-0.0125 * np.log(x) - 0.0059, 0.008, 0.045)
    return written * ((t + 20.0) / 20.0) ** -np.abs(mean + sigma * rng.standard_normal(SAMPLES))


def pcm_read(g, now, t):
    q = min(0.0088 / max((g / 25.0) ** 0.65, 1e-3), 0.2)
    return now * q * np.sqrt(np.log((t + 20.0 + 250e-9) / 500e-9))


def hermes(g, t, rng):
    x = g / 20.7
    sigma = 0.16603222 + 4.71806468 * x - 8.48101252 * x**2 + 4.68961419 * x**3
    written = np.maximum(g + sigma * rng.standard_normal(SAMPLES), 0.0)
    line = min(max(-0.0387 * np.log(x) - 0.0182, 0.072), 0.13)
    mean = line if x < 0.0945 else -0.0436 * x**2 - 0.0126 * x + 0.0736
    line = min(max(-0.0117 * np.log(x) - 0.0057, 0.0091), 0.04)
    spread = line if x < 0.3055 else -0.0118 * x**2 + 0.0093 * x + 0.0073
    return written * ((t + 300.0) / 300.0) ** -np.abs(mean + spread * rng.standard_normal(SAMPLES))


def hermes_read(g, now, t):
    x = g / 20.7
    line = min(max(-0.0117 * np.log(x) - 0.0069, 0.015), 0.04)
    q = line if x < 0.16 else 0.0069 * x**3 - 0.0280 * x**2 + 0.0211 * x + 0.0123
    return now * q * np.sqrt(np.log((t + 300.0 + 512e-9) / 1024e-9))


def cmo(g, t, rng):
    written = g + (0.01129027418 * g + 0.0112185391) * rng.standard_normal(SAMPLES)
    spread = 0.04201137 * np.log(t) + 0.41183342
    return written - 0.08900206 * np.log(t) + spread * rng.standard_normal(SAMPLES)


def cmo_read(g, now, t):
    return 0.0277316483 * np.log10(g) * np.sqrt(np.log((t + 1e-6) / 2e-6))


def wan(g, t, rng):
    c = {
        1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
        DAY: (0.701, 22.086, -50.773, 47.095, -16.458),
        2 * DAY: (0.782, 20.274, -43.507, 37.062, -11.934),
    }[t]
    return g + sum(c[i] * (g / 40.0) ** i for i in range(5)) * rng.standard_normal(SAMPLES)


def milo(g, t, rng):
    return g + (4.782321 - 0.009107 * g) * rng.standard_normal(SAMPLES)


def sonos(g, t, rng):
    """Currents in nA at 0.1 V; the source has its programming error at t = 0, the simulator at 1 s."""
    a, b, drift = {
        1.0: (19.88665, 176.3115, ()),
        DAY: (25.59102, 186.85544, (6.83650e-01, 6.51250e-03, -4.03163e-04, 3.37944e-06, -1.87435e-08, 5.88902e-11,
              -1.07685e-13, 1.17751e-16, -7.60016e-20, 2.67255e-23, -3.94954e-27)),
        5 * DAY: (34.57909, 207.34309, (1.15294e00, 1.03149e-02, -6.05199e-05, 1.76086e-08, -6.46690e-09, 3.39044e-11,
                  -7.53872e-14, 8.98185e-17, -6.00346e-20, 2.12615e-23, -3.11099e-27)),
    }[t]  # fmt: skip
    current = 100.0 * g
    mean = current + sum(c * current**i for i, c in enumerate(drift))
    return (mean + a * (1 - np.exp(-mean / b)) * rng.standard_normal(SAMPLES)) / 100.0


def sonos_read(g, now, t):
    return 0.1258037 * (1 - np.exp(-100.0 * g / 215.36557))


MODELS = {
    "pcm": (pcm, (0.0, HOUR, DAY, YEAR)),
    "pcm-hermes": (hermes, (0.0, HOUR, DAY, YEAR)),
    "reram-cmo": (cmo, (1.0, HOUR, DAY, YEAR)),
    "reram": (wan, (1.0, DAY, 2 * DAY)),
    "reram-milo": (milo, (1.0,)),
    "sonos": (sonos, (1.0, DAY, 5 * DAY)),
}
READ = {"pcm": pcm_read, "pcm-hermes": hermes_read, "reram-cmo": cmo_read, "sonos": sonos_read}


def chip_of(name, overrides=None, **changes):
    """A chip without stuck cells, and with the given changes of its cell."""
    chip = load_chip(name, overrides)
    cell = dataclasses.replace(chip.cell, stuck_low_fraction=None, stuck_high_fraction=None, **changes)
    return dataclasses.replace(chip, cell=cell)


def programmed(chip, levels, samples=SAMPLES):
    """A matrix with an output for each of the levels; its positive cells are written to them."""
    model = ProgrammedModel(chip, np.random.default_rng(2))
    weight = np.repeat(np.array(levels)[:, None] / (chip.cell.levels - 1), samples, axis=1)
    model.add("w", weight, np.ones((-(-samples // chip.array.rows), len(levels)), np.float32))
    return model


@pytest.mark.parametrize(("name", "age"), [(name, age) for name, (_, ages) in MODELS.items() for age in ages])
def test_cells_have_the_published_moments(name, age):
    chip = chip_of(name)
    top = chip.cell.levels - 1
    levels = [round(top * share) for share in (0.35, 0.6, 0.8, 1.0)]
    model = programmed(chip, levels)
    model.set_time(age)
    cells = model.matrix("w").cells
    targets = cells.levels[levels]
    good = np.abs(cells.programmed[0, 0] - targets) <= tolerance_siemens(chip.cell, targets) * (1 + 1e-6)
    now = 1e6 * cells.present()[0, 0].astype(float)
    for column, target in enumerate(1e6 * targets):
        mine, theirs = now[good[:, column], column], MODELS[name][0](target, age, np.random.default_rng(column))
        spread = theirs.std()
        assert mine.mean() == pytest.approx(theirs.mean(), abs=6 * spread / np.sqrt(SAMPLES)), target
        assert mine.std() == pytest.approx(spread, rel=0.06), target


def test_one_device_of_hermes_is_the_same_law_with_other_numbers():
    cell = load_chip("pcm-hermes", ONE_DEVICE).cell
    x = np.array([0.02, 0.09, 0.12, 0.25, 0.31, 0.7, 1.0])
    state = aging(cell, x * cell.g_max_siemens, HOUR)
    low = np.clip(-0.0120 * np.log(x) - 0.0023, 0.0124, 0.04)
    assert state.exponent_sigma == pytest.approx(np.where(x < 0.3039, low, -0.0165 * x**2 + 0.0116 * x + 0.0104))
    low = np.clip(-0.0387 * np.log(x) - 0.0182, 0.072, 0.13)
    assert state.exponent_mean == pytest.approx(np.where(x < 0.0945, low, -0.0436 * x**2 - 0.0126 * x + 0.0736))
    low = np.clip(-0.0078 * np.log(x) + 0.0038, 0.0179, 0.04)
    high = 0.0664 * x**3 - 0.1352 * x**2 + 0.0768 * x + 0.0088
    assert flicker_share(cell, x) == pytest.approx(np.where(x < 0.1591, low, high))


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("age", [1.0, HOUR, DAY])
def test_reads_have_the_published_noise(name, age):
    """One word line is driven, and read again and again through exact converters."""
    chip = chip_of(name)
    chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=0))
    levels = [round((chip.cell.levels - 1) * share) for share in (0.35, 0.6, 0.8, 1.0)]
    model = programmed(chip, levels, samples=3)
    model.set_time(age)
    x = np.zeros((SAMPLES, 3))
    x[:, 1] = 1.0
    read = model.matvec("w", x) * 1e6 * (chip.cell.g_max_siemens - chip.cell.g_min_siemens)
    plus, minus = 1e6 * model.matrix("w").conductance_siemens()[0, :, 1].astype(float)
    targets = 1e6 * model.matrix("w").cells.levels
    for column, level in enumerate(levels):
        noise = READ[name]
        wanted = np.hypot(noise(targets[level], plus[column], age), noise(targets[0], minus[column], age))
        assert read[:, column].mean() == pytest.approx(plus[column] - minus[column], abs=5 * wanted / np.sqrt(SAMPLES))
        assert read[:, column].std() == pytest.approx(wanted, rel=0.04), targets[level]


def test_published_figures_worked_out_by_hand():
    """PCM: sigma/G 20 s after the write. CMO: mean and spread after an hour, a day, a year."""
    ratios = [pcm_read(25.0 * x, 1.0, 0.0) for x in (0.1, 0.25, 0.5, 1.0)]
    assert ratios == pytest.approx((0.164, 0.091, 0.058, 0.037), abs=6e-4)
    for t, mean, spread in ((HOUR, -0.73, 0.76), (DAY, -1.01, 0.89), (YEAR, -1.54, 1.14)):
        assert -0.08900206 * np.log(t) == pytest.approx(mean, abs=0.005)
        assert 0.04201137 * np.log(t) + 0.41183342 == pytest.approx(spread, abs=0.005)


# --- what ports of these models got wrong --------------------------------------------------------------------------


def test_the_spread_of_neurram_cells_is_redrawn_from_the_target_not_added_up():
    chip = chip_of("reram")
    model = programmed(chip, [8])
    cells = model.matrix("w").cells
    good = np.abs(cells.programmed[0, 0, :, 0] - cells.levels[8]) <= chip.cell.program_tolerance_siemens * (1 + 1e-6)
    error = []
    for age in (1.0, DAY, 2 * DAY):
        model.set_time(age)
        error.append((cells.present()[0, 0, :, 0] - cells.levels[8])[good])
    g = 1e6 * cells.levels[8]
    polynomials = [wan(g, t, np.random.default_rng(0)).std() for t in (1.0, DAY, 2 * DAY)]
    assert [1e6 * e.std() for e in error] == pytest.approx(polynomials, rel=0.06)
    assert polynomials[1] < np.hypot(polynomials[0], polynomials[1]) * 0.97
    assert np.corrcoef(error[0], error[1])[0, 1] > 0.95, "a cell keeps its place"


def test_cmo_cells_have_the_error_of_the_range_that_they_are_written_to():
    cell = chip_of("reram-cmo").cell
    target = np.full(20_000, 50e-6)
    written, log = program_cells(target, cell, np.random.default_rng(0))
    error = 1e6 * (written - target)[~log.failed]
    published = {0.02: 0.01129027418 * 50 + 0.0112185391, 0.002: 0.00106879 * 50 + 0.00081107}
    assert cell.program_tolerance_relative == 0.02
    assert error.std() == pytest.approx(published[0.02], rel=0.05)
    finer = dataclasses.replace(cell, program_tolerance_relative=0.002, program_tolerance_siemens=1.405e-9,
                                pulses_max=5000)  # fmt: skip
    written, log = program_cells(target[:4000], finer, np.random.default_rng(0))
    assert 1e6 * (written - target[:4000])[~log.failed].std() == pytest.approx(published[0.002], rel=0.1)


# --- pulses --------------------------------------------------------------------------------------------------------


PULSES = [("reram", 8.52, "unverified"), ("reram-milo", 16, "secondary"), ("pcm", 12, "unverified"),
          ("sonos", 20, "unverified")]  # fmt: skip


@pytest.mark.parametrize(("name", "pulses", "status"), PULSES)
def test_pulse_counts_are_the_published_ones_and_say_how_far_they_are_known(name, pulses, status):
    """The step of a pulse was chosen to meet them: this shows that it does, and predicts nothing."""
    chip = chip_of(name)
    assert chip.cell.pulses_mean_published == pulses
    assert chip.provenance["cell.pulses_mean_published"].status == status
    target = np.random.default_rng(0).uniform(chip.cell.g_min_siemens, chip.cell.g_max_siemens, (200, 128))
    _, log = program_cells(target, chip.cell, np.random.default_rng(1))
    assert log.pulses.mean() == pytest.approx(pulses, rel=0.03)
    assert log.failed.mean() < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_few_cells_of_any_level_fail(name):
    """The published yields are 99 % and more; what is left fails at the upper end, where pulses run out."""
    cell = chip_of(name).cell
    levels = np.linspace(cell.g_min_siemens, cell.g_max_siemens, cell.levels)
    _, log = program_cells(np.repeat(levels[:, None], 2000, axis=1), cell, np.random.default_rng(0))
    assert log.failed.mean() < 0.012
    assert log.failed.mean(1).max() < 0.03
