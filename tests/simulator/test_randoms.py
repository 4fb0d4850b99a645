"""The random numbers: standard normal, the same in both implementations, the same for every number of threads."""

import numpy as np
from edge_adapt.simulator import randoms, reference
from numba import njit
from scipy import stats

TAILS = np.empty(randoms.BLOCK + 1, np.int32)


@njit
def _normals(seed, count):
    out = np.empty(count)
    for i in range(count):
        out[i] = randoms.normal(randoms.start(seed, np.uint64(i)))
    return out


def _filled(seed, count):
    out, words = np.empty(count, np.float32), np.empty(randoms.BLOCK // 2, np.uint64)
    centred = np.empty(randoms.BLOCK, np.float32)
    for first in range(0, count, randoms.BLOCK):
        randoms.fill_normals(np.uint64(seed), first, out[first : first + randoms.BLOCK], words, centred, TAILS)
    return out


def test_quantile_is_the_normal_quantile():
    p = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 20001), 10.0 ** -np.arange(2, 12)])
    ours = reference.quantile(p - 0.5)
    assert np.abs(ours - stats.norm.ppf(p)).max() < 1e-5
    away = np.abs(stats.norm.ppf(p)) > 0.1
    assert np.abs(ours[away] / stats.norm.ppf(p[away]) - 1).max() < 3e-6


def test_cell_streams_are_standard_normal_and_equal_the_reference():
    z = _normals(np.uint64(11), 100_000)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    index = np.arange(100_000)
    assert np.allclose(z, reference.normals(reference.stream_start(np.uint64(11), index)), rtol=0, atol=1e-12)


def test_read_normals_are_standard_normal_and_uncorrelated():
    z = _filled(5, 400 * randoms.BLOCK).astype(float)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for lag in (1, 2, 3):  # 1: the two halves of a word
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 4 / np.sqrt(len(z))
    assert np.abs(z).max() > 4.0


def test_read_normals_are_those_of_the_reference_wherever_a_read_starts():
    z = _filled(7, 4 * randoms.BLOCK)
    assert np.allclose(z, reference.read_normals(np.uint64(7), np.arange(len(z))), rtol=0, atol=1e-5)
    some = np.empty(301, np.float32)
    randoms.fill_normals(np.uint64(7), 640, some, np.empty(256, np.uint64), np.empty(512, np.float32), TAILS)
    assert np.array_equal(some, z[640:941])


def test_quantile_of_reads_is_the_normal_quantile():
    p = np.concatenate([np.linspace(1e-6, 1 - 1e-6, 20001), 10.0 ** -np.arange(2, 10)])
    exact = stats.norm.ppf(p)
    away = np.abs(exact) > 1e-6
    assert np.abs(reference.read_quantile(p - 0.5)[away] / exact[away] - 1).max() < 1.2e-5


def test_different_seeds_give_different_streams():
    a, b = _normals(np.uint64(1), 10_000), _normals(np.uint64(2), 10_000)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
