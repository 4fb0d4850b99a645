"""`--set` on a chip: short keys, units, tables by bits, and clear refusals."""

import pytest
from edge_adapt.devices import load_chip
from edge_adapt.errors import EdgeAdaptError, UsageError


@pytest.mark.parametrize(
    "key", ["cell.conductance.g_max", "cell.g_max", "g_max", "chip.cell.g_max", "conductance.g_max"]
)
def test_a_key_may_leave_sections_out(key):
    chip = load_chip("reram", {key: "50 uS"})
    assert chip.cell.g_max_siemens == 50e-6
    origin = chip.provenance["cell.g_max_siemens"]
    assert (origin.text, origin.source, origin.status) == ("50 uS", None, "override")
    assert load_chip("reram").cell.g_max_siemens == 40e-6, "the shipped chip is untouched"


def test_converter_bits_bring_their_own_energy_and_area():
    for bits, picojoules, area in (("4", 0.79, 361.04), ("6", 1.20, 626.91), ("10", 2.379, 3002.01)):
        periphery = load_chip("reram", {"chip.adc.bits": bits}).periphery
        assert periphery.adc_bits == int(bits)
        assert periphery.adc_energy_joules == pytest.approx(picojoules * 1e-12)
        assert periphery.adc_area_square_meters == pytest.approx(area * 1e-12)


def test_bits_outside_the_table_need_their_energy_too():
    with pytest.raises(UsageError, match=r"setting adc.bits=12: adc.energy is not known at adc.bits = 12; known: 4, "):
        load_chip("reram", {"adc.bits": "12"})
    with pytest.raises(UsageError, match=r"dac.energy \(0.41667 pJ\) is known only for the dac.bits of the file"):
        load_chip("reram", {"dac.bits": "2"})
    given = {"dac.bits": "2", "dac.energy": "0.8 pJ", "dac.area": "null"}
    assert load_chip("reram", given).periphery.dac_area_square_meters is None


def test_parts_can_be_swapped():
    chip = load_chip("reram", {"cell": "pcm", "chip.periphery": "neurram-130nm", "array.rows": "64", "scale": "tile"})
    assert (chip.cell.name, chip.periphery.name, chip.array.rows, chip.array.scale) == (
        "pcm",
        "neurram-130nm",
        64,
        "tile",
    )
    with pytest.raises(UsageError, match="setting cell=pcmm: unknown cell 'pcmm'; did you mean 'pcm'"):
        load_chip("reram", {"cell": "pcmm"})


def test_an_effect_can_be_switched_off():
    chip = load_chip("pcm", {"relaxation.points": "null", "read.noise": "null", "stuck_low": "0 %"})
    assert chip.cell.relaxation == ()
    assert chip.cell.read_noise_relative is None
    assert chip.cell.stuck_low_fraction == 0.0
    lists = {"drift.exponent_coefficients": "[0, 0.05]", "drift.exponent_limits": "[0.05, 0.05]"}
    assert load_chip("pcm", lists).cell.drift_exponent_coefficients == (0.0, 0.05)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("adc.bit", "6", "unknown key 'adc.bit'; did you mean 'adc.bits'"),
        ("cell.gmax", "5 uS", "unknown key 'cell.gmax'; did you mean 'cell.g_max'"),
        ("xyzzyx", "1", "unknown key 'xyzzyx'; 'edge-adapt devices show NAME' lists the keys"),
        ("bits", "6", "could be any of: periphery.dac.bits, periphery.adc.bits; write one of them"),
        ("g_max", "50", "the number 50 has no unit; write for example '50 uS'"),
        ("g_max", "50 V", "unit 'V' has the wrong dimension; write a unit such as 'uS'"),
        ("g_max", "0.5 uS", "conductance.g_min (1 uS) must be below conductance.g_max (0.5 uS)"),
        ("g_min", "50 uS", "conductance.g_min (50 uS) must be below conductance.g_max (40 uS)"),
        ("array.rows", "0", "must be at least 1"),
        ("array.rows", "8.5", "must be a whole number"),
        ("scale", "tiles", "unknown value 'tiles'; did you mean 'tile'"),
        ("g_max", "null", "conductance.g_max cannot be null"),
        ("relaxation.points", "[1, 2] uS", "a table cannot be set here, only switched off with 'null'"),
        ("drift.exponent_limits", "[1, 2, 3]", "has 3 numbers, 2 are needed"),
        ("", "1", "unknown key ''"),
        ("..", "1", "unknown key '..'"),
    ],
)
def test_refusals_name_the_override(key, value, expected):
    with pytest.raises(UsageError) as caught:
        load_chip("reram", {key: value})
    assert str(caught.value).startswith(f"setting {key}={value}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("settings", [{"conductance.levels": "200"}, {"programming.tolerance": "1.5 uS"},
                                      {"programming.tolerance_relative": "2 %"}])  # fmt: skip
def test_levels_that_verify_cannot_tell_apart_are_refused(settings):
    said = r"conductance\.levels: .*programming\.tolerance accepts .*at most \d+ can"
    with pytest.raises(EdgeAdaptError, match=said):
        load_chip("reram", settings)
    load_chip("reram", {"conductance.levels": "200", "programming.tolerance": "0.09 uS"})


def test_pulses_are_at_most_what_a_log_holds():
    with pytest.raises(EdgeAdaptError, match="pulses_max"):
        load_chip("reram", {"programming.pulses_max": "70000"})
