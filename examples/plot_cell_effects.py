"""Draws what the cells of a simulated chip do: one picture for each effect, every point simulated.

    python examples/plot_cell_effects.py [EFFECT ...] [--out FOLDER]

Effects: levels, pulses, steps, curves, relaxation, drift, read-disturb, read-noise, wear; without a name all of them.
Pictures go to FOLDER (for temporary files by default) as EFFECT.png; those of docs/simulator.md are in docs/figures.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from edge_adapt import load_chip
from edge_adapt.simulator import ProgrammedModel, program, program_cells
from edge_adapt.simulator.mapping import Layout, integers, weight_scale
from edge_adapt.simulator.pulse_kernel import WORN_OUT
from edge_adapt.simulator.read_noise import read_noise
from edge_adapt.simulator.retention import relaxation_shift, relaxation_sigma
from edge_adapt.simulator.writing import tolerance_siemens
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

DAY, YEAR = 86400.0, 365.25 * 86400.0
MICRO = 1e6  # siemens in microsiemens
TIMES = ((1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (DAY, "1 day"), (YEAR, "1 year"))


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels beside each other."""
    figure = Figure(figsize=(3.7 * count + 0.6, 3.2), layout="constrained")
    axes = list(figure.subplots(1, count, squeeze=False)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, alpha=0.25)
    return figure, axes


def time_axis(panel: Axes, first: float = 1.0) -> None:
    """Seconds on a logarithmic axis, with the names of times."""
    marks = [(seconds, name) for seconds, name in TIMES if seconds >= first]
    panel.set(xscale="log", xlabel="time since the write")
    panel.set_xticks([seconds for seconds, _ in marks], [name for _, name in marks], rotation=30)
    panel.minorticks_off()


def written(name: str, levels: list[int], samples: int, **overrides: str) -> ProgrammedModel:
    """A chip with `samples` cells written to each of the levels: the plus cells of matrix "w", in its columns."""
    chip = load_chip(name, {"stuck_low": "null", "stuck_high": "null", **overrides})
    model = ProgrammedModel(chip, np.random.default_rng(0))
    weight = np.repeat(np.array(levels)[:, None] / (chip.cell.levels - 1), samples, axis=1)
    model.add("w", weight, np.ones((-(-samples // chip.array.rows), len(levels)), np.float32))
    return model


def levels() -> Figure:
    figure, (left, right) = panels(2)
    chip = load_chip("reram")
    weight = np.linspace(-1, 1, 801)
    scale = np.ones((1, 801), np.float32)
    q = integers(weight[:, None].astype(np.float32), scale, Layout.of(chip, (801, 1)))[0]
    step = (chip.cell.g_max_siemens - chip.cell.g_min_siemens) / (chip.cell.levels - 1)
    for sign, name in ((1, "plus cell"), (-1, "minus cell")):
        left.plot(weight, MICRO * (chip.cell.g_min_siemens + np.maximum(sign * q, 0) * step), label=name)
    left.set(title="a weight in a pair of cells", xlabel="weight / scale", ylabel="target (µS)")
    left.legend(frameon=False)
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((128, 128)).astype(np.float32)
    counts = [2, 4, 8, 16, 32, 64]
    alone, cells = [], []
    for count in counts:
        chip = dataclasses.replace(load_chip("reram"), cell=dataclasses.replace(chip.cell, levels=count))
        layout = Layout.of(chip, matrix.shape)
        scale = weight_scale(matrix, layout, "column")
        back = integers(matrix, scale, layout) * scale / (count - 1)
        alone.append(np.sqrt(np.mean((back.T - matrix) ** 2)))
        if count <= 16:
            model = program(chip, {"w": matrix}, np.random.default_rng(2))
            cells.append(np.sqrt(np.mean((model.effective_weight("w") - matrix) ** 2)))
    right.loglog(counts, alone, "o-", label="levels alone, full range")
    right.loglog(counts[: len(cells)], cells, "s-", label="reram cells, range fitted")
    right.set_xticks(counts, [str(count) for count in counts])
    right.minorticks_off()
    right.set(title="error of normal weights", xlabel="levels of a cell", ylabel="rms error / rms weight",
              yticks=(0.03, 0.1, 0.3))  # fmt: skip
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    right.yaxis.set_minor_formatter("")
    right.legend(frameon=False)
    return figure


def pulses() -> Figure:
    figure, (left, right) = panels(2)
    cell = load_chip("reram").cell
    targets = np.array([8e-6, 16e-6, 24e-6, 32e-6, 38e-6])
    states = [np.full(targets.shape, cell.g_min_siemens)]
    for most in range(1, 25):  # equal seeds, equal pulses: a loop that stops earlier shows the state on the way
        limited = dataclasses.replace(cell, pulses_max=most)
        states.append(program_cells(targets, limited, np.random.default_rng(8))[0])
    for number, target in enumerate(targets):
        left.axhspan(*(MICRO * (target + s * cell.program_tolerance_siemens) for s in (-1, 1)), color=f"C{number}",
                     alpha=0.15, lw=0)  # fmt: skip
        left.plot(MICRO * np.array(states)[:, number], ".-", color=f"C{number}", lw=1)
    left.set(title="reram: five cells and their tolerances", xlabel="pulses", ylabel="conductance (µS)")
    target = np.random.default_rng(0).uniform(cell.g_min_siemens, cell.g_max_siemens, (800, 128))
    _, log = program_cells(target, cell, np.random.default_rng(1))
    right.hist(log.pulses.ravel(), np.arange(cell.pulses_max + 2) - 0.5, weights=np.full(target.size, 1 / target.size))
    right.axvline(log.pulses.mean(), color="C3", lw=1)
    right.annotate(f"mean {log.pulses.mean():.2f}\n(published {cell.pulses_mean_published:g})",
                   (log.pulses.mean(), 0.97), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                   va="top", color="C3")  # fmt: skip
    right.set(title=f"{100 * (1 - log.failed.mean()):.1f} % of the cells converge", xlabel="pulses of a cell")
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def steps() -> Figure:
    figure, (left, right) = panels(2)
    cell = load_chip("reram").cell
    cases = {
        "all": {},
        "no growth with the voltage": {"pulse_step_growth": 0.0},
        "no spread from cell to cell": {"cell_to_cell_sigma": 0.0},
        "no spread from pulse to pulse": {"cycle_to_cycle_sigma": 0.0},
    }
    count = np.arange(cell.pulses_max + 1)
    target = np.random.default_rng(0).uniform(cell.g_min_siemens, cell.g_max_siemens, (400, 128))
    ends = np.full((400, 128), cell.g_max_siemens)
    for number, (label, change) in enumerate(cases.items()):
        changed = dataclasses.replace(cell, **change)
        _, log = program_cells(target, changed, np.random.default_rng(1))
        done = [np.mean((log.pulses <= n) & ~log.failed) for n in count]
        right.plot(count, done, color=f"C{number}", label=label)
        one_way = dataclasses.replace(changed, pulses_max=10)
        states = [
            program_cells(ends, dataclasses.replace(one_way, pulses_max=n), np.random.default_rng(2))[0]
            for n in range(1, 11)
        ]
        low, middle, high = MICRO * np.percentile(np.array(states).reshape(10, -1), (10, 50, 90), axis=1)
        left.plot(np.arange(1, 11), middle, "--" if number == 3 else "-", color=f"C{number}")
        if number in (0, 2):
            left.fill_between(np.arange(1, 11), low, high, color=f"C{number}", alpha=0.2, lw=0)
    left.set(title="SET from g_min: median, 10 to 90 %", xlabel="pulses", ylabel="conductance (µS)")
    right.set(title="reram cells that are done", xlabel="pulses", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    right.legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def curves() -> Figure:
    figure, axes = panels(3)
    for panel, name in zip(axes, ("fefet", "reram-taox", "reram-agsi"), strict=True):
        cell = load_chip(name).cell
        window = cell.g_max_siemens - cell.g_min_siemens
        number = cell.range_pulses
        for start, goal, word, colour in ((cell.g_min_siemens, cell.g_max_siemens, "SET", "C0"),
                                          (cell.g_max_siemens, cell.g_min_siemens, "RESET", "C1")):  # fmt: skip
            sure = dataclasses.replace(cell, cycle_to_cycle_range_sigma=0.0, cell_to_cell_sigma=0.0)
            for kind, style in ((sure, {"lw": 2}), (cell, {"lw": 0.6, "alpha": 0.7})):
                cells = 1 if kind is sure else 3
                path = [np.full(cells, start)]
                for most in range(1, number + 1):
                    limited = dataclasses.replace(kind, pulses_max=most, program_tolerance_siemens=1e-18)
                    path.append(program_cells(np.full(cells, goal), limited, np.random.default_rng(3), path[0])[0])
                panel.plot(np.arange(number + 1) / number, (np.array(path) - cell.g_min_siemens) / window,
                           color=colour, **style)  # fmt: skip
            panel.annotate(word, (0.97, 0.88 if word == "SET" else 0.08), color=colour, ha="right",
                           xycoords="axes fraction")  # fmt: skip
        panel.set(title=f"{name}  ({cell.set_nonlinearity:g} / {cell.reset_nonlinearity:g})",
                  xlabel=f"pulses / {number}")  # fmt: skip
    axes[0].set_ylabel("position in the window")
    return figure


def relaxation() -> Figure:
    figure, (left, right) = panels(2)
    model = written("reram", [1, 3, 5, 7, 9, 11, 13, 15], 4000)
    cells, cell = model.matrix("w").cells, model.chip.cell
    fine = np.linspace(cell.g_min_siemens, cell.g_max_siemens, 200)
    chosen = cells.levels[1::2]
    good = np.abs(cells.programmed[0, 0] - chosen) <= cell.program_tolerance_siemens * 1.0001
    for number, (age, name) in enumerate(((1.0, "1 s"), (DAY, "1 day"), (2 * DAY, "2 days"))):
        model.set_time(age)
        error = np.where(good, cells.present()[0, 0] - chosen, np.nan)
        style = "--" if number == 1 else "-"  # one day and two are nearly the same
        left.plot(MICRO * fine, MICRO * relaxation_sigma(cell, fine, age), style, color=f"C{number}", label=name,
                  zorder=3 - 0.5 * (number == 2))  # fmt: skip
        left.plot(MICRO * chosen, MICRO * np.nanstd(error, axis=0), "o", color=f"C{number}", ms=4)
    left.set(title="reram: published spread, and cells", xlabel="target (µS)", ylabel="σ around the target (µS)",
             ylim=(0, None))  # fmt: skip
    left.legend(frameon=False)
    model = written("reram-cmo", [16], 20_000)
    cells, cell = model.matrix("w").cells, model.chip.cell
    ages = np.geomspace(1.0, YEAR, 40)
    target = cells.levels[[16]]
    good = np.abs(cells.programmed[0, 0, :, 0] - target) <= tolerance_siemens(cell, target) * 1.0001
    right.plot(ages, [MICRO * relaxation_shift(cell, target, age)[0] for age in ages], "C0", label="mean")
    right.plot(ages, [MICRO * relaxation_sigma(cell, target, age)[0] for age in ages], "C1", label="σ")
    for age in ages[::6]:
        model.set_time(age)
        error = MICRO * (cells.present()[0, 0, :, 0] - target)[good]
        right.plot(age, error.mean(), "C0o", ms=4)
        right.plot(age, error.std(), "C1o", ms=4)
    time_axis(right)
    right.set(title="reram-cmo: law in log time, and cells", ylabel="distance from the target (µS)")
    right.legend(frameon=False)
    return figure


def drift() -> Figure:
    figure, axes = panels(2)
    for panel, name in zip(axes, ("pcm", "pcm-hermes"), strict=True):
        model = written(name, [4, 8, 12, 15], 3000)
        cells = model.matrix("w").cells
        ages = np.geomspace(1.0, YEAR, 30)
        found = []
        for age in ages:
            model.set_time(age)
            found.append(np.quantile(cells.present()[0, 0], (0.1, 0.5, 0.9), axis=0))
        low, middle, high = MICRO * np.array(found).swapaxes(0, 1)
        for column in range(middle.shape[1]):
            panel.fill_between(ages, low[:, column], high[:, column], color=f"C{column}", alpha=0.2, lw=0)
            panel.plot(ages, middle[:, column], color=f"C{column}")
        time_axis(panel)
        panel.set(title=f"{name}: median, 10 to 90 %", ylim=(0, None))
    axes[0].set_ylabel("conductance (µS)")
    return figure


def read_disturb() -> Figure:
    figure, (left, right) = panels(2)
    reads, each = np.geomspace(1e3, 1e7, 25), "2 pS"
    model = written("reram", [0, 4, 8, 12, 15], 2000, **{"read.disturb": each})
    matrix, cells, column = model.matrix("w"), [], model.matrix("w").layout.inputs
    for count in reads:
        matrix.set_driven(np.full(column, count))
        cells.append(np.median(matrix.conductance_siemens()[0, 0], axis=0))
    left.plot(reads, MICRO * np.array(cells))
    left.set(title=f"reram with {each} a read: median of levels", ylabel="conductance (µS)", ylim=(0, None))
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((64, 128)), rng.standard_normal((200, 128))
    for mapping in ("differential", "offset"):
        model = program(load_chip("reram", {"read.disturb": each, "mapping": mapping}), {"w": weight}, rng)
        matrix, error = model.matrix("w"), []
        before = x @ matrix.effective.T
        for count in reads:
            matrix.set_driven(np.full(128, count))
            error.append(np.linalg.norm(x @ matrix.effective.T - before) / np.linalg.norm(before))
        right.plot(reads, error, label=mapping)
    right.set(title="what that changes in products", ylabel="change of the result")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(frameon=False)
    for panel in (left, right):
        panel.set(xscale="log", xlabel="reads at full voltage since the write")
    return figure


def read_noise_figure() -> Figure:
    figure, (left, right) = panels(2)
    x = np.linspace(0.05, 1.0, 60)
    ages = np.geomspace(1.0, YEAR, 40)
    for name in ("pcm", "pcm-hermes", "reram-cmo", "sonos", "reram"):
        cell = load_chip(name).cell

        def share(at: np.ndarray, age: float, cell=cell) -> np.ndarray:
            siemens = at * cell.g_max_siemens
            noise = read_noise(cell, siemens, age)
            return np.hypot(noise.relative, noise.siemens / siemens)

        (line,) = left.plot(x, share(x, 3600.0), label=name)
        right.plot(ages, [share(np.array([0.5]), age)[0] for age in ages], color=line.get_color())
    left.set(title="an hour after the write", xlabel="target / g_max", ylabel="σ(G) / G of one read", yscale="log")
    right.set(title="at half of g_max", yscale="log")
    time_axis(right)
    for panel in (left, right):
        panel.yaxis.set_major_formatter(PercentFormatter(1, 0))
        panel.yaxis.set_minor_formatter("")
    left.legend(frameon=False, fontsize="small", ncols=2)
    return figure


def wear() -> Figure:
    figure, (left, right) = panels(2)
    chip = load_chip("reram-harsh", {"endurance.writes": "30", "endurance.writes_min": "null", "stuck_low": "0",
                                     "stuck_high": "0", "array.mapping": "differential"})  # fmt: skip
    sizes = np.random.default_rng(0).uniform(0.3, 1.0, (64, 120)).astype(np.float32)
    model = program(chip, {"w": sizes}, np.random.default_rng(1))
    turns, dead, error = range(1, 91), [], []
    for turn in turns:
        wanted = sizes if turn % 2 == 0 else -sizes
        model.rewrite("w", wanted)
        dead.append(np.mean(model.matrix("w").stuck == WORN_OUT))
        error.append(np.sqrt(np.mean((model.effective_weight("w") - wanted) ** 2) / np.mean(wanted**2)))
    left.plot(turns, dead)
    left.axvline(30, color="grey", lw=1, ls=":")
    left.annotate("typical\nendurance", (30, 0.12), (4, 0), textcoords="offset points", color="grey", va="top")
    left.set(title="cells that died", xlabel="rewrites of every weight")
    right.plot(turns, error, color="C3")
    right.set(title="error of the weights", xlabel="rewrites of every weight")
    for panel in (left, right):
        panel.yaxis.set_major_formatter(PercentFormatter(1, 0))
        panel.set_ylim(0, None)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "levels": levels,
    "pulses": pulses,
    "steps": steps,
    "curves": curves,
    "relaxation": relaxation,
    "drift": drift,
    "read-disturb": read_disturb,
    "read-noise": read_noise_figure,
    "wear": wear,
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
