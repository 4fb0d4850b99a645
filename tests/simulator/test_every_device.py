"""What holds for every shipped chip, and has to hold for a new one: reads are sums over its cells, and what is counted
adds up.

    EDGE_ADAPT_CHIPS="my-chip.yaml another.yaml" pytest tests/simulator/test_every_device.py

looks at these as well.
"""

import dataclasses
import os
from importlib.resources import files

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.devices import list_presets
from edge_adapt.errors import UsageError
from edge_adapt.simulator import program
from edge_adapt.simulator.effects import EFFECTS
from edge_adapt.simulator.iv_curve import cell_current

CHIPS = [*list_presets("chip"), *os.environ.get("EDGE_ADAPT_CHIPS", "").split()]
ALONE = ("read noise, part of the conductance", "read noise, 1/f", "read noise, saturating", "wire resistance",
         "Hadamard rotation", "row drivers that differ", "ADCs that differ", "drift compensation")  # fmt: skip
SMALL = {"array.rows": "5", "array.spare_columns": "0"}


def still(name):
    """The chip with small arrays, exact converters, and without what is no current of a cell."""
    off = {key: value for effect in EFFECTS if effect.name in ALONE for key, value in effect.off.items()}
    laws = ("flicker.power", "flicker.line", "flicker.limits", "flicker.above", "flicker.siemens")
    # An output takes two columns for each slice, however many slices there are.
    columns = max(20, 2 * load_chip(name).array.slices)
    chip = load_chip(name, SMALL | {"array.columns": str(columns)} | off | dict.fromkeys(laws, "null"))
    return dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=None))


def cell_by_cell(model, x):
    """What the read is by definition: digits of codes, currents of cells, worths of slices; no product of matrices."""
    chip, matrix = model.chip, model.matrix("w")
    layout, current = matrix.layout, cell_current(chip.cell)
    volts, g = chip.cell.read_voltage_volts, matrix.conductance_siemens().astype(float)
    window = chip.cell.g_max_siemens - chip.cell.g_min_siemens
    top, bits = 2 ** (chip.array.input_bits - 1) - 1, chip.periphery.dac_bits
    full_scale = model._ranges["w"].dac
    cycles = max(1, -(-(chip.array.input_bits - 1) // bits))
    last = top if cycles == 1 else 2**bits - 1
    codes = np.clip(np.rint(x / full_scale * top), -top, top)
    y = np.zeros((len(x), layout.sensed))
    for tile in range(layout.row_tiles):
        rows = slice(tile * layout.rows, (tile + 1) * layout.rows)
        for s in range(layout.slices):
            worth = layout.levels**s * (layout.levels - 1) / layout.magnitude_max
            scale = np.ones(layout.sensed)
            scale[: layout.outputs] = matrix.scale[tile]
            for d in range(cycles):
                digit = np.abs(codes) if cycles == 1 else np.abs(codes) // 2 ** (bits * d) % 2**bits
                drive = np.sign(codes) * digit / last * volts
                share = 1.0 if cycles == 1 else 2 ** (bits * d) * last / top
                for b in range(len(x)):
                    amperes = [current(np.broadcast_to(drive[b, rows, None], cells.shape), cells)[0].sum(0)
                               for cells in g[s, :, rows]]  # fmt: skip
                    seen = amperes[0] - amperes[1] if layout.polarities == 2 else amperes[0]
                    if layout.references:
                        of = layout.outputs + np.arange(layout.outputs) // layout.outputs_per_array
                        seen[: layout.outputs] -= seen[of]
                    y[b] += share * worth * scale * full_scale * seen / volts / window
    return y[:, : layout.outputs]


@pytest.mark.parametrize("fidelity", ["fast", "bitserial"])
@pytest.mark.parametrize("name", CHIPS)
def test_a_read_is_the_sum_over_its_cells(name, fidelity):
    chip = still(name)
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((6, 12)), rng.standard_normal((3, 12)).astype(np.float32)
    model = program(chip, {"w": weight}, rng, fidelity)
    for seconds in (0.0, 1e5):
        model.set_time(seconds)
        y = model.matvec("w", x)
        wanted = cell_by_cell(model, x)
        assert np.abs(y - wanted).max() < 5e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("name", CHIPS)
def test_reads_are_repeatable_finite_and_counted_one_by_one(name):
    weight = np.random.default_rng(0).standard_normal((9, 30)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((8, 30)).astype(np.float32)
    runs = []
    for _ in range(2):
        model = program(load_chip(name), {"w": weight}, np.random.default_rng(2))
        with model.calibrating():
            model.matvec("w", x)
        before = model.counts.scaled(1.0)
        whole = model.matvec("w", x)
        counted = model.counts.minus(before)
        runs.append((whole, counted.as_dict()))
        singles = model.counts.scaled(1.0)
        for vector in x:
            model.matvec("w", vector)
        again = model.counts.minus(singles).as_dict()
        for key, value in counted.as_dict().items():
            assert again[key] == pytest.approx(value, rel=1e-9), key
    assert np.isfinite(runs[0][0]).all()
    assert np.array_equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert counted.cell_read_joules > 0


@pytest.mark.parametrize("fidelity", ["ideal", "fast", "bitserial"])
@pytest.mark.parametrize("name", CHIPS)
def test_what_cannot_be_written_or_read_is_refused(name, fidelity):
    model = program(load_chip(name), {"w": np.eye(4)}, np.random.default_rng(0), fidelity)
    with pytest.raises(UsageError, match="NaN"):
        model.rewrite("w", np.full((4, 4), np.nan))
    with pytest.raises(UsageError, match="NaN"):
        model.matvec("w", np.full(4, np.inf))


@pytest.mark.parametrize("mapping", ["differential", "offset"])
def test_chips_of_many_slices_take_the_battery(tmp_path, mapping):
    """11 slices of two levels in 22 columns, which a chip of one's own may have."""
    text = (files("edge_adapt") / "devices" / "chips" / "sram.yaml").read_text()
    one = "{value: %s, source: assumption, status: derived, note: assumption}"
    array = text[text.index("array:") :].splitlines()
    kept = [line for line in array if not line.strip().startswith(("slices:", "columns:", "mapping:"))]
    changed = {"slices": 11, "columns": 22, "mapping": mapping}
    kept[1:1] = [f"  {key}: {one % value}" for key, value in changed.items()]
    path = tmp_path / "deep.yaml"
    path.write_text(text[: text.index("array:")].replace("name: sram", "name: deep") + "\n".join(kept) + "\n")
    assert load_chip(str(path)).array.slices == 11
    for fidelity in ("fast", "bitserial"):
        test_a_read_is_the_sum_over_its_cells(str(path), fidelity)
    test_reads_are_repeatable_finite_and_counted_one_by_one(str(path))
