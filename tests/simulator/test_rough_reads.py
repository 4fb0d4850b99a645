"""Reads by torch in bfloat16: a fixed error that averaging does not remove, as large as docs/simulator.md says. On any
processor, as the rounding is emulated where there is none.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.arithmetic import Arithmetic, measure
from edge_adapt.simulator.autograd import ROUGH_FROM, TorchProducts

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text()
READS, NOISE = 8192, 0.01


def nearest_bfloat16(values):
    """Seven bits behind the point of a float32, ties to even; by arithmetic."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float32).astype(float))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


@pytest.fixture(scope="module", params=sorted({Arithmetic.FLOAT32, Arithmetic.EMULATED, measure()}, key=str), ids=str)
def reads(request):
    """Mean of many reads of a vector through torch, and what it should be with and without rounding, over the standard
    deviation of one read; whether products are rounded.
    """
    rng = np.random.default_rng(0)
    chip = load_chip("reram", {"read.noise": f"{100 * NOISE} %"})
    chip = dataclasses.replace(chip, periphery=dataclasses.replace(chip.periphery, adc_bits=None))
    weight, x = rng.standard_normal((256, 128)), rng.standard_normal(128).astype(np.float32)
    model = program(chip, {"w": weight}, np.random.default_rng(1))
    model.products = TorchProducts(request.param)
    mean = np.mean([model.matvec("w", np.tile(x, (1024, 1))).mean(0) for _ in range(READS // 1024)], axis=0)
    cells, matrix, full = (
        model.matrix("w").conductance_siemens()[0].astype(float),
        model.matrix("w"),
        model._ranges["w"].dac,
    )
    window = chip.cell.g_max_siemens - chip.cell.g_min_siemens
    codes, gain = np.clip(np.rint(x / full * 127), -127, 127) / 127, matrix.scale[0] * full
    pairs = (cells[0] - cells[1]) / window
    sigma = NOISE * np.sqrt(codes**2 @ (cells**2).sum(0)) / window
    exact, rough = codes @ pairs, nearest_bfloat16(codes) @ nearest_bfloat16(pairs)
    return mean / gain / sigma, exact / sigma, rough / sigma, request.param.rounds


def test_the_fixed_error_is_as_large_as_the_page_says(reads):
    _, exact, rough, _ = reads
    rms, most = (float(n) for n in re.search(r"([\d.]+) σ rms of one read and ([\d.]+) σ at most", PAGE).groups())
    error = rough - exact
    assert NOISE == ROUGH_FROM
    assert np.sqrt((error**2).mean()) == pytest.approx(rms, rel=0.1) and rms < np.abs(error).max() < most


def test_the_mean_of_many_reads_is_the_rounded_product_where_products_are_rounded(reads):
    mean, exact, rough, rounds = reads
    off = mean - (rough if rounds else exact)
    assert np.sqrt((off**2).mean()) == pytest.approx(1 / np.sqrt(READS), rel=0.2)
