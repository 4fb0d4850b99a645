"""Every shipped file: complete, cited, in range, and equal to arithmetic done here from the sources."""

import dataclasses
import math
import re
import typing

import pytest
import yaml
from edge_adapt.devices import (
    Chip,
    RelaxationPoint,
    describe,
    find_any,
    list_presets,
    load_cell,
    load_chip,
    load_periphery,
    preset_paths,
    references_used,
    unknown_numbers,
    validate,
)
from edge_adapt.devices.schema import DEFAULT, KINDS, NULL_STATUSES, PARTS, STATUSES, specs

PATHS = [path for kind in KINDS for path in preset_paths(kind)]
CHIPS = list_presets("chip")
# Written out here on purpose, apart from pint: what one unit is in SI.
SI = {
    "uS": 1e-6, "nS": 1e-9, "V": 1.0, "ns": 1e-9, "us": 1e-6, "s": 1.0, "day": 86400.0, "pJ": 1e-12, "fJ": 1e-15,
    "pS": 1e-12, "ms": 1e-3, "K": 1.0, "%/K": 0.01, "A/V^2": 1.0, "A/V^3": 1.0,
    "J/J": 1.0, "uA": 1e-6, "mA": 1e-3, "MB": 1e6, "kB": 1e3, "uW": 1e-6, "mW": 1e-3, "nW/byte": 1e-9,
    "um^2": 1e-12, "nm": 1e-9, "kohm": 1e3, "ohm": 1.0, "fF": 1e-15, "pJ/byte": 1e-12, "GHz": 1e9, "%": 0.01, "": 1.0,
}  # fmt: skip
COUNTED_BY = {"sample_hold": "dac", "read": "dac", "shift_add": "adc"}  # whose bits pick from a section's tables


def ids(path):
    return f"{path.parent.name}/{path.stem}"


def by_hand(value):
    """The SI number of a text such as "40 uS", without the loader."""
    if value == "unlimited":
        return math.inf
    number, _, unit = str(value).partition(" ")
    return float(number) * SI[unit]


def test_the_promised_presets_are_there():
    cells = ["fefet", "pcm", "pcm-hermes", "reram", "reram-agsi", "reram-cmo", "reram-harsh", "reram-milo",
             "reram-taox", "sonos", "sram", "stt-mram"]  # fmt: skip
    assert list_presets("cell") == cells
    assert set(cells) < set(CHIPS)
    assert "isaac-32nm" in list_presets("periphery")
    assert len(list_presets("periphery")) >= 2
    assert {load_chip(name).periphery.name for name in CHIPS} == set(list_presets("periphery"))


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_file_is_named_after_its_device_and_cites_what_it_uses(path):
    result = validate(path)
    assert result["name"] == path.stem
    assert result["unused_references"] == []
    described = describe(find_any(path))
    assert described["title"]
    assert described["description"]
    assert all(len(item["citation"]) > 20 for item in described["references"])
    for item in described["references"]:
        assert item["doi"] is None or re.fullmatch(r"10\.\d{4,}/\S+", item["doi"])


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_every_number_has_a_source_a_status_and_where_needed_a_note(path):
    described = describe(find_any(path))
    keys = {item["key"] for item in described["references"]}
    for row in described["values"]:
        if row["value"] is None:
            assert row["status"] in NULL_STATUSES
            assert row["source"] is None
            assert row["note"]
        elif row["status"] == DEFAULT:
            assert row["note"].startswith("not in the file")
        else:
            assert row["status"] in STATUSES
            assert row["source"] in keys
            assert row["note"] or row["status"] in ("read", "secondary")


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_numbers_are_the_files_numbers_in_si(path):
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    described = {row["key"]: row for row in describe(find_any(path))["values"]}
    checked = 0
    for section, body in document.items():
        if not isinstance(body, dict) or section == "references":
            continue
        for key, entry in body.items():
            full = f"array.{key}" if document["kind"] == "chip" else f"{document['kind']}.{section}.{key}"
            if isinstance(entry, list) or entry["value"] is None or key == "scale":
                continue
            value = entry["value"]
            if isinstance(value, dict):
                value = value[document[COUNTED_BY.get(section, section)]["bits"]["value"]]
            if str(value).startswith("["):
                numbers, _, unit = value.partition("] ")
                wanted = [SI[unit] * float(number) for number in numbers.strip("[]").split(",")]
                assert described[full]["value"] == pytest.approx(wanted, rel=1e-12), full
            elif str(value)[0].isalpha():  # words, the same in the file and in the chip
                assert described[full]["value"] == value
            else:
                assert described[full]["value"] == pytest.approx(by_hand(value), rel=1e-12), full
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize("name", CHIPS)
def test_physics_of_a_chip_is_in_range(name):
    chip = load_chip(name)
    cell, array, periphery = chip.cell, chip.array, chip.periphery
    assert 0 <= cell.g_min_siemens < cell.g_max_siemens < 1e-2
    step = (cell.g_max_siemens - cell.g_min_siemens) / (cell.levels - 1)
    tolerance = cell.program_tolerance_siemens + (cell.program_tolerance_relative or 0.0) * cell.g_max_siemens
    assert 0 < tolerance <= step / 2 * 1.001
    assert all(value is None or value > 0 for value in (cell.set_energy_joules, cell.reset_energy_joules))
    for side in ("set", "reset"):
        volts = getattr(cell, f"{side}_voltage_volts")
        fixed = getattr(cell, f"{side}_energy_joules")
        pulse = fixed if fixed is not None else volts**2 * cell.g_max_siemens * getattr(cell, f"{side}_pulse_seconds")
        assert 1e-16 < pulse < 1e-8, "energy of one pulse"
    energies = [f.name for f in dataclasses.fields(periphery) if "energy" in f.name]
    assert all(getattr(periphery, name) is None or 1e-17 < getattr(periphery, name) < 1e-10 for name in energies)
    assert array.slices * math.log2(cell.levels) >= 3
    assert cell.volatile is (name == "sram")
    assert (cell.endurance_writes_min or 1) <= cell.endurance_writes <= cell.endurance_writes_max
    assert periphery.adcs_per_array <= array.columns
    assert periphery.write_cells_in_parallel == array.columns


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_reports_its_sources_and_its_gaps(name):
    chip = load_chip(name)
    used = references_used(chip)
    assert {item["key"] for item in used} == {item.key for item in chip.references}
    assert all(item["used_for"] for item in used)
    assert {p.source for p in chip.provenance.values() if p.source} == {item["key"] for item in used}
    expected = {f"{part}.{n}" for part, kind in PARTS.items() for n, s in specs(kind) if s.kind != "relaxation"}
    assert expected <= set(chip.provenance)
    unknown = [key for key, origin in chip.provenance.items() if origin.status == "unknown"]
    gaps = unknown_numbers(chip)
    assert sum(len(key.split(",")) for key, _ in gaps) == len(unknown)
    assert all(note for _, note in gaps)


def test_nullable_fields_are_typed_so():
    for part in PARTS.values():
        hints = typing.get_type_hints(part)
        for name, spec in specs(part):
            may_be_none = type(None) in typing.get_args(hints[name])
            assert may_be_none is (spec.nullable and spec.kind != "relaxation"), name


def sigma(point: RelaxationPoint, conductance: float, reference: float) -> float:
    return sum(c * (conductance / reference) ** i for i, c in enumerate(point.sigma_coefficients_siemens))


def test_reram_against_the_published_figures():
    cell = load_cell("reram")
    # 61 pJ: a pulse of 1.75 V, 1 us at 20 uS
    assert 1.75**2 * 20e-6 * cell.set_pulse_seconds == pytest.approx(61e-12, rel=0.01)
    assert cell.pulses_mean_published * cell.set_pulse_seconds == pytest.approx(8520e-9)
    assert [point.time_seconds for point in cell.relaxation] == [1.0, 86400.0, 172800.0]
    assert cell.relaxation_reference_siemens == 40e-6, "rescaled to 25 uS the noise would be 1.6 times too large"
    expected = [(2.26, 2.02, 1.10), (3.72, 3.91, 2.65), (3.66, 3.93, 2.68)]
    for point, row in zip(cell.relaxation, expected, strict=True):
        assert [sigma(point, x * 40e-6, 40e-6) * 1e6 for x in (0.25, 0.5, 1.0)] == pytest.approx(row, abs=0.006)


def test_pcm_against_the_published_law():
    cell = load_cell("pcm")
    x = (0.1, 0.25, 0.5, 1.0)
    (point,) = cell.relaxation
    assert point.time_seconds == cell.drift_t0_seconds == 20.0
    assert [sigma(point, v * 25e-6, 25e-6) * 1e6 for v in x] == pytest.approx((0.448, 0.681, 0.953, 1.055), abs=6e-4)
    slope, offset = cell.drift_exponent_coefficients
    low, high = cell.drift_exponent_limits
    nu = [min(max(slope * math.log(v) + offset, low), high) for v in x]
    assert nu == pytest.approx((0.060, 0.049, 0.049, 0.049), abs=6e-4)
    assert cell.reset_energy_joules == pytest.approx(300e-6 * 1.6 * 40e-9)


def test_other_cells_against_the_sources():
    milo = load_cell("reram-milo")
    (point,) = milo.relaxation
    line = [sigma(point, g, milo.relaxation_reference_siemens) * 1e6 for g in (50e-6, 225e-6)]
    assert line == pytest.approx((4.782321 - 0.009107 * 50, 4.782321 - 0.009107 * 225))
    taox = load_cell("reram-taox")
    middle = (taox.g_min_siemens + taox.g_max_siemens) / 2
    assert taox.set_voltage_volts**2 * middle * taox.set_pulse_seconds == pytest.approx(0.70e-12, rel=0.01)
    assert 1 / taox.g_max_siemens == pytest.approx(100e3)
    assert (taox.set_nonlinearity, taox.reset_nonlinearity, taox.range_pulses) == (0.04, -0.63, 128)
    assert taox.cycle_to_cycle_range_sigma == 0.037
    agsi = load_cell("reram-agsi")
    middle = (agsi.g_min_siemens + agsi.g_max_siemens) / 2
    assert (1 / agsi.g_max_siemens, agsi.g_max_siemens / agsi.g_min_siemens) == pytest.approx((26e6, 12.5), rel=1e-4)
    assert agsi.set_voltage_volts**2 * middle * agsi.set_pulse_seconds == pytest.approx(63.8e-12, rel=0.01)
    assert agsi.reset_voltage_volts**2 * middle * agsi.reset_pulse_seconds == pytest.approx(48.9e-12, rel=0.01)
    harsh, healthy = load_cell("reram-harsh"), load_cell("reram")
    assert (harsh.stuck_low_fraction, harsh.stuck_high_fraction) == pytest.approx((0.0904, 0.0175))
    same = {"name", "title", "description", "stuck_low_fraction", "stuck_high_fraction", "fault_cluster_cells",
            "endurance_writes", "endurance_spread"}  # fmt: skip
    assert {f.name for f in dataclasses.fields(harsh) if getattr(harsh, f.name) != getattr(healthy, f.name)} == same
    fefet = load_cell("fefet")
    assert 1 / fefet.g_max_siemens == pytest.approx(559.28e3, rel=2e-3)
    assert fefet.g_max_siemens / fefet.g_min_siemens == pytest.approx(45, rel=3e-3)
    stt = load_cell("stt-mram")
    assert (1 / stt.g_max_siemens, 1 / stt.g_min_siemens) == pytest.approx((3e3, 6e3), rel=1e-6)
    sram = load_cell("sram")
    assert sram.read_voltage_volts**2 * sram.g_max_siemens * sram.read_seconds == pytest.approx(1.12e-15)
    assert sram.endurance_writes == math.inf


def test_isaac_periphery_against_the_paper_budget():
    p = load_periphery("isaac-32nm")
    assert 2e-3 / 1.28e9 <= p.adc_energy_joules <= 16e-3 / 9.6e9 * 1.01  # MNSIM's 1.56 pJ, Accelergy's 1.67 pJ
    assert p.read_cycle_seconds == pytest.approx(128 * p.adc_conversion_seconds)
    # areas of one ISAAC multiply-accumulate unit: 8 ADCs 9600 um^2, 8*128 DACs 170 um^2, 8*128 sample-and-holds 40 um^2
    assert 8 * p.adc_area_square_meters == pytest.approx(9600e-12)
    assert 1024 * p.dac_area_square_meters == pytest.approx(170e-12)
    assert 1024 * p.sample_hold_area_square_meters == pytest.approx(40e-12)
    assert p.digital_mac_energy_joules == pytest.approx((0.9e-12 + 3.7e-12) * 0.64)
    assert p.buffer_energy_joules_per_byte == pytest.approx(20.45e-12 / (256 / 8))
    assert p.router_energy_joules_per_byte == pytest.approx(20.74e-12 / (256 / 8))
    assert p.sram_energy_joules_per_byte == pytest.approx(10e-12 / 8)
    wire = 40e-9
    assert p.wire_ohms_per_cell == pytest.approx(4.03e-8 * 4 * wire / (wire**2 * 1.9), rel=2e-3)
    assert p.word_line_farads_per_cell == pytest.approx(0.2e-15 / 1e-6 * 4 * wire)
    assert p.sample_hold_energy_joules == pytest.approx(9.7e-9 * p.read_cycle_seconds)


# Wan et al., Nature 2022, figure 12: (output bits, input bits, bits of each phase) -> peak TOPS of 48 arrays
NEURRAM_TOPS = [
    ((4, 2, (1,)), 1.793083771),
    ((6, 4, (3,)), 0.7438677864),
    ((8, 6, (3, 2)), 0.4177183338),
    ((10, 8, (4, 3)), 0.2638743409),
]


@pytest.mark.parametrize(("point", "tops"), NEURRAM_TOPS)
def test_neurram_periphery_meets_the_measured_throughput(point, tops):
    output_bits, _, phases = point
    seconds, left = 0.0, output_bits
    for bits in phases:
        chip = load_chip("neurram", {"dac.bits": str(bits), "adc.bits": str(left)})
        seconds += chip.periphery.read_cycle_seconds + chip.periphery.adc_conversion_seconds
        left -= bits
    operations = 48 * 256 * 128 * 2  # a weight is two of the 256x256 cells; a multiply-add is two operations
    assert operations / seconds / 1e12 == pytest.approx(tops, rel=0.08)


def test_chip_is_plain_and_picklable():
    import pickle

    chip = load_chip("reram")
    assert isinstance(chip, Chip)
    assert pickle.loads(pickle.dumps(chip)) == chip
    with pytest.raises(dataclasses.FrozenInstanceError):
        chip.cell.g_max_siemens = 1.0


@pytest.mark.parametrize("name", ["reram", "reram-milo", "pcm"])
def test_the_pulse_response_meets_the_published_mean_count(name):
    """The notes of `response.pulse_step` claim it: targets spread evenly over the window, cells erased before."""
    import numpy as np
    from edge_adapt.simulator import program_cells

    cell = load_cell(name)
    assert "pulses in the mean" in describe(find_any(name))["values"][_index("response.pulse_step")]["note"]
    target = np.random.default_rng(1).uniform(cell.g_min_siemens, cell.g_max_siemens, (200, 100))
    _, log = program_cells(target, cell, np.random.default_rng(0))
    assert log.pulses.mean() == pytest.approx(cell.pulses_mean_published, rel=0.03)
    assert log.failed.mean() < 0.02


def _index(key):
    return [spec.key for _, spec in specs(PARTS["cell"])].index(key)
