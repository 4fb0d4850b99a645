"""Nonsense that a caller may give: refused before anything is done, with the name of what was wrong."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.simulator import effective_conductance, nonlinear_read, program, program_cells, sinh_cell

WEIGHT = np.ones((4, 5))


@pytest.fixture(scope="module")
def chip():
    return load_chip("reram")


def made(chip, fidelity="fast"):
    return program(chip, {"w": WEIGHT}, np.random.default_rng(0), fidelity)


def programmed(chip, target, **options):
    return program_cells(target, chip.cell, np.random.default_rng(0), **options)


def nested(model):
    with model.calibrating(), model.calibrating():
        pass


CALLS = {
    "ragged rows": (lambda c: program(c, {"w": [[1, 2], [3]]}, np.random.default_rng(0)), "'w' must be an array"),
    "NaN weights": (lambda c: program(c, {"w": WEIGHT * np.nan}, np.random.default_rng(0)), "'w' holds NaN"),
    "huge weights": (lambda c: program(c, {"w": 1e39 * WEIGHT}, np.random.default_rng(0)), "'w' holds NaN or infinite"),
    "words": (lambda c: program(c, {"w": [["a"]]}, np.random.default_rng(0)), "'w' holds <U1"),
    "three axes": (lambda c: program(c, {"w": np.ones((2, 2, 2))}, np.random.default_rng(0)), "matrices"),
    "no text for a name": (lambda c: program(c, {3: WEIGHT}, np.random.default_rng(0)), "text for a name; got 3"),
    "a seed for rng": (lambda c: program(c, {"w": WEIGHT}, 0), "rng must be a numpy Generator"),
    "a name for a chip": (lambda c: program("reram", {}, np.random.default_rng(0)), r"chip must be what load_chip"),
    "a fidelity": (lambda c: made(c, "exact"), "fidelity 'exact'"),
    "a time in words": (lambda c: made(c).set_time("1 day"), "clock cannot be set to '1 day'"),
    "no time": (lambda c: made(c).set_time(None), "clock cannot be set to None"),
    "a time that is no number": (lambda c: made(c).set_time(np.nan), "clock cannot be set to nan"),
    "inputs in words": (lambda c: made(c).matvec("w", ["a"] * 5), "input of 'w' holds <U1"),
    "complex inputs": (lambda c: made(c).matvec("w", np.ones(5) * 1j), "input of 'w' holds complex128"),
    "inputs that are NaN": (lambda c: made(c).matvec("w", np.full(5, np.nan)), "inputs of 'w' hold NaN"),
    "inputs of another length": (lambda c: made(c).matvec("w", np.ones(4)), "length 5"),
    "an unknown matrix": (lambda c: made(c).matvec("v", np.ones(5)), "unknown matrix 'v'"),
    "unknown in ideal": (lambda c: made(c, "ideal").effective_weight("v"), "unknown matrix 'v'"),
    "another shape": (lambda c: made(c).rewrite("w", WEIGHT.T), "'w' is 4 x 5"),
    "from behind": (lambda c: made(c).transposed_product("w", np.ones((2, 9))), r"'w' takes vectors \(vectors, 4\)"),
    "fewer than no reads": (lambda c: made(c).count_transposed("w", -1), "vectors must be 0 or more; got -1"),
    "reads in words": (lambda c: made(c).count_transposed("w", "x"), "vectors must be 0 or more; got 'x'"),
    "a list for a name": (lambda c: made(c).matvec(["w"], np.ones(5)), r"unknown matrix \['w'\]"),
    "a list of matrices": (lambda c: program(c, [WEIGHT], np.random.default_rng(0)), "weights must map names"),
    "NaN from behind": (lambda c: made(c).transposed_product("w", np.full((2, 4), np.nan)), "from behind holds NaN"),
    "words from behind": (lambda c: made(c).transposed_product("w", [["a"] * 4]), "from behind holds <U1"),
    "another shape for cells": (lambda c: made(c).matrix("w").write(WEIGHT.T), r"is 4 x 5; got shape \(5, 4\)"),
    "calibrating twice": (lambda c: nested(made(c)), "calibrating"),
    "nothing for own": (lambda c: made(c).fork(np.random.default_rng(0), own=None), "own must be names"),
    "a text for own": (lambda c: made(c).fork(np.random.default_rng(0), own="w"), "own must be names"),
    "unknown own": (lambda c: made(c).fork(np.random.default_rng(0), own=("v",)), "own: unknown matrix 'v'"),
    "a seed for a fork": (lambda c: made(c).fork(3), "rng must be a numpy Generator"),
    "targets below 0": (lambda c: program_cells(-np.ones(3), c.cell, np.random.default_rng(0)), "target_siemens"),
    "words for targets": (lambda c: programmed(c, ["a", "b"]), "target_siemens holds <U1"),
    "complex targets": (lambda c: programmed(c, np.ones(3) * 1e-5j), "target_siemens holds complex128"),
    "targets no cell holds": (lambda c: programmed(c, [1e-5, 1e-3]), "goes up to 0.001 S; cells of 'reram'"),
    "words for a state": (lambda c: programmed(c, [1e-5], initial_siemens=["a"]), "initial_siemens holds <U1"),
    "a state of another shape": (lambda c: programmed(c, [1e-5], initial_siemens=[1e-5, 1e-5]), "initial_siemens has"),
    "a seed for pulses": (lambda c: program_cells([1e-5], c.cell, 0), "rng must be a numpy Generator"),
    "a chip for a cell": (lambda c: program_cells([1e-5], c, np.random.default_rng(0)), "cell must be .* got Chip"),
    "a short map": (lambda c: programmed(c, np.full((64, 64), 1e-5), stuck=np.zeros(1, np.uint8)), r"stuck .*\(1,\)"),
    "a long map": (lambda c: programmed(c, [1e-5], stuck=np.zeros(9, np.uint8)), r"stuck has shape \(9,\)"),
    "a short index": (lambda c: programmed(c, [1e-5, 1e-5], index=np.zeros(1, np.uint32)), "index has shape"),
    "an index below 0": (lambda c: programmed(c, [1e-5], index=[-1]), "index must hold whole numbers"),
    "an index with a comma": (lambda c: programmed(c, [1e-5], index=[0.5]), "index must hold whole numbers"),
    "negative cells": (lambda c: effective_conductance(-np.ones((2, 2)), 1, 1), "conductances must be"),
    "ohms in words": (lambda c: effective_conductance(np.ones((2, 2)), "1 ohm", 1), "word_line_ohms"),
    "words for cells": (lambda c: nonlinear_read("x", np.ones(2), sinh_cell(0.1), 1, 1), "conductance_siemens holds"),
    "words for volts": (lambda c: nonlinear_read(np.ones((1, 1)), "x", sinh_cell(0.1), 1, 1), "voltages_volts holds"),
    "a cell that is none": (lambda c: nonlinear_read(np.ones((1, 1)), np.ones(1), 0.1, 1, 1), "current must be a func"),
    "steps in words": (
        lambda c: nonlinear_read(np.ones((1, 1)), [1], sinh_cell(0.1), 1, 1, iterations="x"), "iterations must be",
    ),
    "volts in words": (lambda c: sinh_cell("x"), "scale_volts"),
    "a scale of volts": (lambda c: sinh_cell(-1), "scale_volts"),
    "a list of overrides": (lambda c: load_chip("reram", ["adc.bits=6"]), "overrides must map keys"),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", CALLS)
def test_nonsense_in_a_call_is_refused_by_name(chip, what):
    call, message = CALLS[what]
    with pytest.raises(UsageError, match=message):
        call(chip)


VALUES = {
    "reram": {
        "conductance.g_min": ("-1 uS", "50 uS"), "conductance.g_max": ("0 uS", "nan uS"),
        "conductance.levels": ("1", "2.5", "1000"), "programming.tolerance": ("0 uS", "50 uS"),
        "programming.pulses_max": ("0",), "response.pulse_step": ("-1 uS",), "read.voltage": ("0 V",),
        "read.noise": ("-1 %", "200 %"), "faults.stuck_low": ("1.5",), "faults.cluster_cells": ("0.5",),
        "endurance.writes": ("0",), "endurance.spread": ("-1",), "adc.bits": ("0", "0.5", "64", "six"),
        "dac.bits": ("0",), "dac.gain_sigma": ("-1 %",), "array.rows": ("0", "1e6"), "array.columns": ("1",),
        "array.slices": ("0", "33"), "array.input_bits": ("0", "17", "32"), "array.spare_columns": ("128", "-1"),
        "array.mapping": ("ofset",), "array.wires": ("yes",), "technology.temperature": ("-10 K", "25 C"),
        "adc.per_array": ("0",), "wires.resistance": ("-1 ohm",), "drift.t0": ("10 s",),
        "read.iv_quadratic": ("[1] uA/V^2",), "write.cells_in_parallel": ("0",), "nonsense.key": ("1",),
    },
    "sonos": {"read.noise_saturation": ("[12, 0] nS", "[-12, 3] nS")},
    "reram-wires": {"wires.resistance": ("null",)},
}  # fmt: skip
NONSENSE = [(name, key, value) for name, keys in VALUES.items() for key, values in keys.items() for value in values]


@pytest.mark.parametrize(("name", "key", "value"), NONSENSE)
def test_nonsense_in_a_number_is_refused_by_its_key(name, key, value):
    with pytest.raises(UsageError) as refused:
        made(load_chip(name, {key: value}))
    assert key.rpartition(".")[2] in str(refused.value)


@pytest.mark.parametrize("fidelity", ["ideal", "fast", "bitserial"])
def test_no_vectors_are_read_at_no_cost(chip, fidelity):
    model = made(chip, fidelity)
    assert model.matvec("w", np.zeros((0, 5))).shape == (0, 4)
    with model.calibrating():
        assert model.matvec("w", np.zeros((0, 5))).shape == (0, 4)
    assert not any(model.counts.as_dict().values())
    # Nothing was calibrated by nothing: the next inputs are.
    x = 1000 * np.arange(5.0)
    assert np.allclose(model.matvec("w", x), WEIGHT @ x, rtol=0.3)


def test_a_fork_made_while_calibrating_reads_as_any_other(chip):
    model = made(chip)
    with model.calibrating():
        model.matvec("w", np.arange(5.0))
        fork = model.fork(np.random.default_rng(1))
        fork.matvec("w", np.arange(5.0))
    reads = [fork.matvec("w", np.arange(5.0)) for _ in range(2)]
    assert fork.counts.reads == 3 and not np.array_equal(*reads)
    assert model.counts.reads == 0
