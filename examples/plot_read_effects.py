"""Draws what happens when a simulated chip is read: one picture for each effect, every point simulated.

    python examples/plot_read_effects.py [EFFECT ...] [--out FOLDER]

Effects: slices, rotation, faults, compensation, temperature, drivers, iv, converters, mapping, bit-serial; without a
name all of them. Pictures go to FOLDER (for temporary files
by default) as EFFECT.png; those of docs/simulator.md are in docs/figures. Wires: plot_ir_drop.py.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from edge_adapt import load_chip
from edge_adapt.devices import Chip
from edge_adapt.simulator import ProgrammedModel, program
from edge_adapt.simulator.iv_curve import cell_current
from edge_adapt.simulator.mismatch import draw_curves
from edge_adapt.simulator.pulse_kernel import HEALTHY, STUCK_HIGH
from edge_adapt.simulator.temperature import wire_ohms
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

SIZE, VECTORS = 256, 200
SILENT = {"read.noise": "null", "relaxation.points": "null", "stuck_low": "null", "stuck_high": "null"}


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels beside each other."""
    figure = Figure(figsize=(3.7 * count + 0.6, 3.2), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, alpha=0.25)
    return figure, axes


def read_error(overrides: Mapping[str, str], fidelity: str = "fast", chip: str = "reram") -> float:
    """Root mean square error of outputs against those of the weights that the cells hold, over their own size."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    x = rng.standard_normal((VECTORS, SIZE)).astype(np.float32)
    model = program(load_chip(chip, overrides), {"w": weight}, np.random.default_rng(1), fidelity)
    with model.calibrating():
        model.matvec("w", x)
    exact = x @ model.effective_weight("w").T
    return float(np.linalg.norm(model.matvec("w", x) - exact) / np.linalg.norm(exact))


def percent(panel: Axes) -> None:
    """Errors in per cent on the vertical axis."""
    panel.yaxis.set_major_formatter(PercentFormatter(1, 0))


def weight_error(chip: Chip, weight: np.ndarray) -> float:
    """Root mean square error of the weights that cells hold, over the size of the weights."""
    model = program(chip, {"w": weight}, np.random.default_rng(1))
    return float(np.linalg.norm(model.effective_weight("w") - weight) / np.linalg.norm(weight))


def slices() -> Figure:
    figure, (left, right) = panels(2)
    weight = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    counts = range(1, 7)
    for number, levels in enumerate((2, 4, 16)):
        for style, label, change in (("o-", f"{levels} levels", {}), ("--", None, SILENT)):
            cells = {"conductance.levels": str(levels)} | change
            shown = [n for n in counts if levels**n < 2**20]
            errors = [weight_error(load_chip("reram", cells | {"array.slices": str(n)}), weight) for n in shown]
            left.semilogy(shown, errors, style, color=f"C{number}", label=label, ms=4)
    left.set(title="error of normal weights (dashed: not relaxed)", xlabel="slices", yticks=(0.03, 0.1, 0.3))
    left.yaxis.set_minor_formatter("")
    percent(left)
    left.legend(frameon=False, fontsize="small")
    x = np.random.default_rng(2).standard_normal((20, 96)).astype(np.float32)
    parts = {"ADC": [], "DAC": [], "cells": []}
    for n in counts:
        chip = load_chip("reram", {"conductance.levels": "4", "array.slices": str(n)})
        model = program(chip, {"w": weight}, np.random.default_rng(1))
        model.matvec("w", x)
        events, p = model.counts, chip.periphery
        parts["ADC"].append(events.read_conversions * p.adc_energy_joules / 20e-9)
        parts["DAC"].append(events.word_line_drives * p.dac_energy_joules / 20e-9)
        parts["cells"].append(events.cell_read_joules / 20e-9)
    for (label, values), style in zip(parts.items(), ("o-", "s-", "^-"), strict=True):
        right.plot(counts, values, style, label=label, ms=4)
    right.set(title="one product of 96 × 96 weights", xlabel="slices of 4 levels", ylabel="energy (nJ)", ylim=(0, None))
    right.legend(frameon=False, fontsize="small")
    return figure


def rotation() -> Figure:
    figure, (left, right) = panels(2)
    weight = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    spread = weight.copy()
    spread[:, ::32] *= 20.0
    chip = load_chip("reram", {"array.rotation": "hadamard"})
    rotated = ProgrammedModel(chip, np.random.default_rng(0)).as_written(spread)
    bins = np.linspace(-60, 60, 121)
    for values, label in ((spread, "4 of 128 inputs 20 times as large"), (rotated, "the same, rotated")):
        left.hist(values.ravel(), bins, histtype="step", log=True, label=label, lw=1.2)
    left.set(title="weights", xlabel="weight", ylabel="how many", ylim=(0.7, 3e4))
    left.legend(frameon=False, fontsize="small")
    factors = (1, 2, 5, 10, 20, 50)
    for kind, label, style in (("none", "as they are", "o-"), ("hadamard", "rotated", "s-")):
        errors = []
        for factor in factors:
            spread = weight.copy()
            spread[:, ::32] *= factor
            errors.append(weight_error(load_chip("reram", SILENT | {"array.rotation": kind}), spread))
        right.semilogx(factors, errors, style, label=label)
    right.set(title="error of the weights in fresh cells", xlabel="factor of 4 of 128 inputs", ylim=(0, None))
    right.set_xticks(factors, [str(factor) for factor in factors])
    right.minorticks_off()
    percent(right)
    right.legend(frameon=False)
    return figure


def compensation() -> Figure:
    figure, (left, right) = panels(2)
    times = np.geomspace(1.0, 3e7, 9)
    weight = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    x = np.random.default_rng(1).standard_normal((200, 128)).astype(np.float32)
    exact = x @ weight.T
    kinds = {
        "none": ("no compensation", "o-"),
        "matrix": ("one factor a matrix", "s-"),
        "column": ("one an output", "^:"),
    }
    for kind, (label, style) in kinds.items():
        chip = load_chip("pcm", {"array.drift_compensation": kind})
        model = program(chip, {"w": weight}, np.random.default_rng(2))
        with model.calibrating():
            model.matvec("w", x)
        sizes, errors = [], []
        for seconds in times:
            model.set_time(float(seconds))
            y = model.matvec("w", x)
            sizes.append(float((y * exact).sum() / (exact * exact).sum()))
            errors.append(float(np.linalg.norm(y - exact) / np.linalg.norm(exact)))
        left.semilogx(times, sizes, style, label=label, ms=4)
        right.semilogx(times, errors, style, label=label, ms=4)
    for panel in (left, right):
        panel.set_xlabel("time since the write")
        panel.set_xticks((1.0, 60.0, 3600.0, 86400.0, 3.156e7), ["1 s", "1 min", "1 h", "1 day", "1 year"], rotation=30)
        panel.minorticks_off()
        percent(panel)
    left.set(title="pcm: size of the outputs", ylim=(0, 1.1))
    right.set(title="error of a read", ylim=(0, None))
    left.legend(frameon=False, fontsize="small")
    return figure


def temperature() -> Figure:
    figure, (left, right) = panels(2)
    kelvins = (250, 275, 300, 325, 350, 375, 400)
    weight = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    x = np.random.default_rng(1).uniform(0.0, 1.0, (50, 128)).astype(np.float32)
    ohms, lost = [], {"1": [], "3": []}
    for kelvin in kelvins:
        change = SILENT | {"technology.temperature": f"{kelvin} K"}
        chip = load_chip("reram-wires", change)
        ohms.append(wire_ohms(chip.periphery))
        for factor, found in lost.items():
            wider = {"wires.resistance": f"{2.12 * float(factor)} ohm"}
            model = program(load_chip("reram-wires", change | wider), {"w": weight}, np.random.default_rng(2))
            ideal = program(load_chip("reram-wires", change | {"array.wires": "none"}), {"w": weight},
                            np.random.default_rng(2))  # fmt: skip
            y, whole = (x @ m.effective_weight("w").T for m in (model, ideal))
            found.append(float(np.linalg.norm(y - whole) / np.linalg.norm(whole)))
    left.plot(kelvins, ohms, "o-")
    left.set(title="a segment of wire", xlabel="temperature (K)", ylabel="resistance (Ω)")
    for (factor, found), label in zip(lost.items(), ("32 nm", "three times the resistance"), strict=True):
        right.plot(kelvins, found, "o-", color=f"C{factor}", label=label)
    right.set(title="error of outputs, 128 rows", xlabel="temperature (K)", ylim=(0, None))
    percent(right)
    right.legend(frameon=False)
    return figure


def drivers() -> Figure:
    figure, (left, right) = panels(2)
    fine = SILENT | {"adc.bits": "10"}
    bits = range(3, 11)
    left.semilogy(bits, [read_error(fine | {"array.input_bits": str(b)}) for b in bits], "o-")
    left.set(title="error of a read", xlabel="bits of an input", yticks=(0.01, 0.03, 0.1, 0.3))
    left.yaxis.set_minor_formatter("")
    percent(left)
    sigmas = (0.0, 0.005, 0.01, 0.02, 0.05)
    for label, key in (("gain", "dac.gain_sigma"), ("offset", "dac.offset_sigma")):
        errors = [read_error(fine | {key: str(sigma)}) for sigma in sigmas]
        right.plot(sigmas, errors, "o-", label=f"{label}, part of {'full drive' if label == 'gain' else 'a step'}")
    right.set(title="row drivers that differ, 1 bit each", xlabel="σ of the drivers", ylim=(0, None))
    right.xaxis.set_major_formatter(PercentFormatter(1, 0))
    percent(right)
    right.legend(frameon=False, fontsize="small")
    return figure


def iv() -> Figure:
    figure, (left, right) = panels(2)
    cell = load_chip("reram-milo", {"read.voltage": "0.5 V"}).cell
    volts = np.linspace(-0.5, 0.5, 101)
    for number, micro in enumerate((50, 75, 110, 160)):
        siemens = np.full(volts.shape, micro * 1e-6)
        left.plot(volts, cell_current(cell)(volts, siemens)[0] * 1e6, color=f"C{number}", label=f"{micro} µS")
        left.plot(volts, micro * volts, ":", color=f"C{number}", lw=1)
    left.set(title="cells of reram-milo (dotted: resistors)", xlabel="voltage (V)", ylabel="current (µA)")
    left.legend(frameon=False, fontsize="small", title="verified at 0.5 V", title_fontsize="small")
    reads = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    wide = {"dac.bits": "7", "dac.energy": "1 pJ", "dac.area": "1 um^2", "sample_hold.energy": "1 fJ",
            "read.cycle": "100 ns"}  # fmt: skip
    straight = dict.fromkeys(("read.iv_quadratic", "read.iv_cubic", "read.iv_window", "read.iv_voltage_max"), "null")
    for label, change in (("inputs bit by bit", {}), ("inputs as voltages", wide), ("resistors", straight)):
        errors = [read_error(SILENT | change | {"read.voltage": f"{v} V"}, chip="reram-milo") for v in reads]
        right.plot(reads, errors, "o-", label=label)
    right.set(title="error of a read, nothing else on", xlabel="read voltage (V)", yticks=(0, 0.05, 0.1, 0.15, 0.2))
    percent(right)
    right.legend(frameon=False)
    return figure


def faults() -> Figure:
    figure, axes = panels(3)
    cases = {"each cell by itself": {"cluster_cells": "null"}, "runs of 8 in the mean": {"cluster_cells": "8"}}
    rates = {"stuck_low": "3 %", "stuck_high": "1 %", "array.spare_columns": "0"}
    for panel, (title, change) in zip(axes, cases.items(), strict=False):
        model = ProgrammedModel(load_chip("reram-harsh", rates | change), np.random.default_rng(3))
        model.add("w", np.zeros((100, 100)))
        stuck = model.matrix("w").stuck[0, 0, :, :100]
        panel.imshow(stuck, cmap=ListedColormap(["#f4f4f4", "C0", "C3"]), interpolation="nearest", vmin=0, vmax=2)
        panel.set(title=title, xlabel="bit line")
        panel.grid(False)
    axes[0].set_ylabel("word line")
    axes[0].annotate("stuck low", (0.5, 1.13), color="C0", ha="right", xycoords="axes fraction", fontsize="small")
    axes[0].annotate("  stuck high", (0.5, 1.13), color="C3", ha="left", xycoords="axes fraction", fontsize="small")
    spares = (0, 4, 8, 16, 24)
    for (title, change), colour in zip(cases.items(), ("C0", "C1"), strict=True):
        found = []
        for count in spares:
            chip = load_chip("reram-harsh", rates | change | {"array.spare_columns": str(count)})
            model = ProgrammedModel(chip, np.random.default_rng(5))
            model.add("w", np.zeros((400, 512)))
            found.append(np.mean(model.matrix("w").stuck != HEALTHY))
        axes[2].plot(spares, found, "o-", color=colour, label=title)
    axes[2].set(title="stuck cells among those used", xlabel="spare columns of 128", ylim=(0, None))
    axes[2].yaxis.set_major_formatter(PercentFormatter(1, 1))
    axes[2].legend(frameon=False)
    assert STUCK_HIGH == 2  # the colours of the maps
    return figure


def converters() -> Figure:
    figure, (left, right) = panels(2)
    rng = np.random.default_rng(4)
    codes = np.arange(-127, 128)
    for number, kind in enumerate(("sar", "ramp", "flash")):
        left.plot(codes, 0.5 * draw_curves(kind, 255, 1, rng)[0] + 3 * (1 - number), lw=0.8, color=f"C{number}")
        left.annotate(kind, (-127, 3 * (1 - number) + 1.3), color=f"C{number}")
    left.set(title="one converter of each kind, σ half a step", xlabel="code", ylabel="error of a code (steps)")
    left.set(ylim=(-5, 5.3))
    left.set_yticks([3 * (1 - n) + d for n in range(3) for d in (-1, 0, 1)], ["−1", "0", "+1"] * 3, fontsize="small")
    bits = range(4, 11)
    uneven = {"adc.offset_sigma": "0.5", "adc.gain_sigma": "1 %", "adc.inl_sigma": "0.5"}
    for label, change, style in (("all alike", {}, "o-"), ("offset, gain and curvature", uneven, "s-")):
        errors = [read_error(SILENT | change | {"adc.bits": str(b)}) for b in bits]
        right.semilogy(bits, errors, style, label=label)
    right.set(title="error of a read, nothing else on", xlabel="bits of the ADC", yticks=(0.01, 0.03, 0.1, 0.3))
    percent(right)
    right.yaxis.set_minor_formatter("")
    right.legend(frameon=False)
    return figure


def mapping() -> Figure:
    figure, (left, right) = panels(2)
    bits = range(4, 11)
    kinds = {"pairs": ("differential", "C0"), "offset column": ("offset", "C1")}
    for label, (kind, colour) in kinds.items():
        for noise, style, note in (("null", "-", ""), ("5 %", "--", ", 5 % read noise")):
            change = SILENT | {"array.mapping": kind, "read.noise": noise}
            errors = [read_error(change | {"adc.bits": str(b)}) for b in bits]
            left.semilogy(bits, errors, style, color=colour, marker="o", ms=4, label=f"{label}{note}")
    left.set(title="error of a read", xlabel="bits of the ADC", yticks=(0.01, 0.03, 0.1, 0.3, 1.0))
    percent(left)
    left.yaxis.set_minor_formatter("")
    left.legend(frameon=False, fontsize="small")
    weight = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    names, cells, joules = [], [], []
    for label, (kind, _) in kinds.items():
        model = program(load_chip("reram", {"array.mapping": kind}), {"w": weight}, np.random.default_rng(1))
        model.matvec("w", np.random.default_rng(2).standard_normal((50, SIZE)))
        names.append(label)
        cells.append(model.matrix("w").layout.cells / weight.size)
        joules.append(model.counts.cell_read_joules / 50 * 1e9)
    place = np.arange(2)
    for shift, values, label, colour in ((-0.18, cells, "cells of a weight", "grey"),
                                         (0.18, joules, "nJ in the cells, a product", "C2")):  # fmt: skip
        bars = right.bar(place + shift, values, 0.34, label=label, color=colour)
        right.bar_label(bars, fmt="%.2f", fontsize="small")
    right.set(title=f"what {SIZE} × {SIZE} weights take")
    right.set_xticks(place, names)
    right.set_ylim(0, 2.8)
    right.legend(frameon=False, fontsize="small", loc="upper center")
    return figure


def bit_serial() -> Figure:
    figure, (left, right) = panels(2)
    bits = range(4, 11)
    for panel, change, title in (
        (left, SILENT, "ADC alone"),
        (right, SILENT | {"read.noise": "5 %"}, "with 5 % read noise"),
    ):
        for number, (fidelity, label) in enumerate((("fast", "inputs as levels"), ("bitserial", "bit by bit"))):
            errors = [read_error(change | {"adc.bits": str(b)}, fidelity) for b in bits]
            panel.semilogy(bits, errors, "o-", color=f"C{number}", label=label)
        panel.set(title=title, xlabel="bits of the ADC", yticks=(0.01, 0.03, 0.1, 0.3), ylim=(0.005, 0.5))
        percent(panel)
        panel.yaxis.set_minor_formatter("")
    left.set_ylabel("error of a read")
    left.legend(frameon=False)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "slices": slices,
    "rotation": rotation,
    "faults": faults,
    "compensation": compensation,
    "temperature": temperature,
    "drivers": drivers,
    "iv": iv,
    "converters": converters,
    "mapping": mapping,
    "bit-serial": bit_serial,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effects", metavar="EFFECT", nargs="*", choices=[*FIGURES, []], help=", ".join(FIGURES))
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.effects or FIGURES:
        path = args.out / f"{name}.png"
        FIGURES[name]().savefig(path, dpi=100)
        print(f"drawn: {path}")


if __name__ == "__main__":
    main()
