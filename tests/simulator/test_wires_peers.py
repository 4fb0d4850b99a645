"""Exact wires against other people's solvers, where these are installed: badcrossbar (PyPI) and ngspice."""

import itertools
import shutil
import subprocess

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import effective_conductance, nonlinear_read, sinh_cell
from edge_adapt.simulator.iv_curve import cell_current

SHAPES = [(1, 1), (1, 6), (7, 1), (5, 8), (20, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("word", "bit"), [(2.0, 5.0), (300.0, 1.0), (0.0, 4.0), (4.0, 0.0)])
def test_equals_badcrossbar(shape, word, bit, rng):
    badcrossbar = pytest.importorskip("badcrossbar", reason="pip install badcrossbar (builds pycairo)")
    cells, volts = rng.uniform(1e-5, 1e-3, shape), rng.uniform(-1, 1, (shape[0], 3))
    solution = badcrossbar.compute(volts, 1.0 / cells, r_i_word_line=word, r_i_bit_line=bit)
    ours = volts.T @ effective_conductance(cells, word, bit)
    assert np.allclose(ours, np.asarray(solution.currents.output), rtol=1e-9, atol=1e-12 * np.abs(ours).max())


def spice(tmp_path, cells, volts, word, bit, driver, sense, cell):
    """Operating point of the circuit by ngspice: currents of the sense amplifiers. `cell` writes one cell's line."""
    rows, columns = cells.shape
    lines = ["crossbar", ".options reltol=1e-9 abstol=1e-18 vntol=1e-15 gmin=1e-24", ".options numdgt=15"]
    for i in range(rows):
        lines += [f"Vd{i} d{i} 0 {float(volts[i])!r}", f"Rd{i} d{i} w{i}_0 {driver + word}"]
        lines += [f"Rw{i}_{j} w{i}_{j} w{i}_{k} {word}" for j, k in itertools.pairwise(range(columns))]
    for j in range(columns):
        lines += [f"Vs{j} s{j} 0 0", f"Rs{j} b{rows - 1}_{j} s{j} {sense + bit}"]
        lines += [f"Rb{i}_{j} b{i}_{j} b{k}_{j} {bit}" for i, k in itertools.pairwise(range(rows))]
    lines += [cell(f"{i}_{j}", float(g)) for (i, j), g in np.ndenumerate(cells)]
    currents = " ".join(f"i(vs{j})" for j in range(columns))
    lines += [".control", "set numdgt=15", "op", f"print {currents}", ".endc", ".end"]
    netlist = tmp_path / "crossbar.cir"
    netlist.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["ngspice", "-b", str(netlist)], capture_output=True, text=True, check=False, cwd=tmp_path)
    values = dict(line.split(" = ") for line in done.stdout.splitlines() if line.startswith("i(vs"))
    return np.array([float(values[f"i(vs{j})"]) for j in range(columns)])


needs_ngspice = pytest.mark.skipif(not shutil.which("ngspice"), reason="needs ngspice on PATH (Debian: ngspice)")


@needs_ngspice
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_ngspice(shape, rng, tmp_path):
    cells, volts = rng.uniform(1e-5, 1e-3, shape), rng.uniform(-1, 1, shape[0])
    resistor = lambda name, siemens: f"Rc{name} w{name} b{name} {1 / siemens!r}"
    theirs = spice(tmp_path, cells, volts, 2.0, 5.0, 40.0, 20.0, resistor)
    ours = volts @ effective_conductance(cells, 2.0, 5.0, 40.0, 20.0)
    assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-12 * np.abs(ours).max())


@needs_ngspice
def test_nonlinear_cells_equal_ngspice(rng, tmp_path):
    cells, volts = rng.uniform(1e-5, 1e-3, (8, 6)), rng.uniform(-0.3, 0.3, 8)
    source = lambda name, siemens: f"Bc{name} w{name} b{name} I={{{siemens!r}*0.1*sinh(V(w{name},b{name})/0.1)}}"
    theirs = spice(tmp_path, cells, volts, 2.0, 5.0, 40.0, 20.0, source)
    ours = nonlinear_read(cells, volts, sinh_cell(0.1), 2.0, 5.0, 40.0, 20.0).currents_amperes
    assert np.allclose(ours, theirs, rtol=1e-8, atol=1e-10 * np.abs(ours).max())


@needs_ngspice
def test_cells_with_a_published_curve_equal_ngspice(rng, tmp_path):
    """The curve of Milo et al. as a current source of the slope at 0 V, which a verify read at 0.2 V saw as `seen`."""
    slopes, volts = rng.uniform(60e-6, 220e-6, (8, 6)), rng.uniform(-0.3, 0.3, 8)
    x = np.log10(slopes)
    second = np.polyval([0.0001388, 0.001541, 0.005711, 0.007063], x)
    third = np.polyval([8.8710e-05, 6.7919e-04, 1.2968e-03], x)
    seen = slopes + 0.2 * second + 0.04 * third

    def source(name, siemens):
        i, j = map(int, name.split("_"))
        v = f"V(w{name},b{name})"
        law = f"{slopes[i, j]:.17g}*{v}+({second[i, j]:.17g})*{v}*{v}+({third[i, j]:.17g})*{v}*{v}*{v}"
        return f"Bc{name} w{name} b{name} I={{{law}}}"

    theirs = spice(tmp_path, seen, volts, 20.0, 50.0, 40.0, 20.0, source)
    ours = nonlinear_read(seen, volts, cell_current(load_chip("reram-milo").cell), 20.0, 50.0, 40.0, 20.0)
    assert np.allclose(ours.currents_amperes, theirs, rtol=1e-6, atol=1e-8 * np.abs(theirs).max())
