"""Exact wires: against independent nodal solves (sparse floats, and 60 decimal digits), and what circuits must obey."""

import decimal
import itertools

import numba
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from edge_adapt.errors import UsageError
from edge_adapt.simulator import effective_conductance, wire_plan, wires
from edge_adapt.simulator.wires import effective_conductances
from hypothesis import given, settings
from hypothesis import strategies as st

OPTIONS = ("driver_ohms", "sense_ohms", "access_ohms", "drivers_at_both_ends", "sense_at_both_ends")


def resistors(shape, word, bit, driver, sense, drivers_at_both_ends, sense_at_both_ends):
    """Wires as (node, node, ohms): ("w" or "b", row, column), ("d", row) for a driver, ("s", column) for a sense
    amplifier. The two drivers of a word line have one voltage: one node. The currents of two amplifiers are added: one
    node.
    """
    rows, columns = shape
    for i in range(rows):
        line = [("w", i, j) for j in range(columns)]
        yield ("d", i), line[0], driver + word
        yield from ((a, b, word) for a, b in itertools.pairwise(line))
        if drivers_at_both_ends:
            yield ("d", i), line[-1], driver + word
    for j in range(columns):
        line = [("b", i, j) for i in range(rows)]
        yield ("s", j), line[-1], sense + bit
        yield from ((a, b, bit) for a, b in itertools.pairwise(line))
        if sense_at_both_ends:
            yield ("s", j), line[0], sense + bit


def circuit(cells, wires, access, number=float):
    """Node numbers (drivers, amplifiers, then the rest; nodes joined by 0 ohms are one) and (node, node, siemens)."""
    rows, columns = cells.shape
    joined = {}

    def find(node):
        while node in joined:
            node = joined[node]
        return node

    wires = list(wires)
    for a, b, ohms in wires:
        if ohms == 0 and find(a) != find(b):
            fixed, other = sorted((find(a), find(b)), key=lambda node: node[0] not in "ds")
            joined[other] = fixed
    numbers = {("d", i): i for i in range(rows)} | {("s", j): rows + j for j in range(columns)}
    of = lambda node: numbers.setdefault(find(node), len(numbers))
    edges = [(of(a), of(b), 1 / number(ohms)) for a, b, ohms in wires if ohms]
    for (i, j), siemens in np.ndenumerate(cells):
        middle = ("w", i, j)
        if access:
            middle = ("c", i, j)
            edges.append((of(("w", i, j)), of(middle), 1 / number(access)))
        edges.append((of(middle), of(("b", i, j)), number(float(siemens))))
    return len(numbers), edges


def nodal(cells, word, bit, driver_ohms=0.0, sense_ohms=0.0, access_ohms=0.0, **both):
    """Kirchhoff's current law at every node: a sparse LU solve with one right-hand side a driver."""
    both = {"drivers_at_both_ends": False, "sense_at_both_ends": False, **both}
    size, edges = circuit(cells, resistors(cells.shape, word, bit, driver_ohms, sense_ohms, **both), access_ohms)
    a, b, g = (np.array(x) for x in zip(*edges, strict=True))
    laplacian = scipy.sparse.coo_array(
        (np.concatenate([g, g, -g, -g]), (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a]))), (size, size)
    ).tocsc()
    rows, columns = cells.shape
    fixed = rows + columns
    currents = -laplacian[rows:fixed, :rows].toarray()
    if size > fixed:
        volts = scipy.sparse.linalg.splu(laplacian[fixed:, fixed:]).solve(-laplacian[fixed:, :rows].toarray())
        currents = currents - laplacian[rows:fixed, fixed:] @ volts
    return currents.T


def nodal_decimal(cells, word, bit, driver_ohms=0.0, sense_ohms=0.0, access_ohms=0.0, **both):
    """The same with dense Gaussian elimination in 60 decimal digits: no ratio of resistances is too large for it."""
    both = {"drivers_at_both_ends": False, "sense_at_both_ends": False, **both}
    with decimal.localcontext() as context:
        context.prec = 60
        exact = decimal.Decimal
        size, edges = circuit(
            cells,
            resistors(cells.shape, exact(word), exact(bit), exact(driver_ohms), exact(sense_ohms), **both),
            exact(access_ohms),
            exact,
        )
        matrix = [[exact(0)] * size for _ in range(size)]
        for a, b, g in edges:
            matrix[a][a] += g
            matrix[b][b] += g
            matrix[a][b] -= g
            matrix[b][a] -= g
        rows, columns = cells.shape
        for k in range(size - 1, rows + columns - 1, -1):
            for i in range(k):
                if matrix[i][k]:
                    factor = matrix[i][k] / matrix[k][k]
                    for j in range(k):
                        matrix[i][j] -= factor * matrix[k][j]
        return np.array([[float(-matrix[i][rows + j]) for j in range(columns)] for i in range(rows)])


def cells_of(rng, shape, low=-7.0, high=-3.5, open_fraction=0.0):
    cells = 10.0 ** rng.uniform(low, high, shape)
    cells[rng.random(shape) < open_fraction] = 0.0
    return cells


def ohms(low, high):
    return st.one_of(st.just(0.0), st.floats(low, high).map(lambda exponent: 10.0**exponent))


def circuits(most, low, high):
    """word, bit, and the options of `effective_conductance`, with a seed, a shape and a part of open cells."""
    return st.fixed_dictionaries({
        "seed": st.integers(0, 2**32), "shape": st.tuples(st.integers(1, most), st.integers(1, most)),
        "open_fraction": st.sampled_from([0.0, 0.3, 1.0]), "word": ohms(low, high), "bit": ohms(low, high),
        "driver_ohms": ohms(low, high), "sense_ohms": ohms(low, high), "access_ohms": ohms(low, high),
        "drivers_at_both_ends": st.booleans(), "sense_at_both_ends": st.booleans(),
    })  # fmt: skip


@given(circuits(11, -2, 3))
@settings(max_examples=150, deadline=None)
def test_equals_the_sparse_nodal_solve(case):
    cells = cells_of(np.random.default_rng(case["seed"]), case["shape"], open_fraction=case["open_fraction"])
    options = {name: case[name] for name in OPTIONS}
    result = effective_conductance(cells, case["word"], case["bit"], **options)
    expected = nodal(cells, case["word"], case["bit"], **options)
    assert np.allclose(result, expected, rtol=1e-9, atol=1e-12 * cells.max())


@given(circuits(4, -9, 9))
@settings(max_examples=60, deadline=None)
def test_every_entry_keeps_its_accuracy_when_wires_and_cells_are_many_orders_apart(case):
    cells = cells_of(np.random.default_rng(case["seed"]), case["shape"], -12.0, 3.0, case["open_fraction"])
    options = {name: case[name] for name in OPTIONS}
    result = effective_conductance(cells, case["word"], case["bit"], **options)
    assert np.allclose(result, nodal_decimal(cells, case["word"], case["bit"], **options), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (70, 33), (37, 100), (64, 64)])
def test_equals_the_sparse_nodal_solve_for_larger_shapes(shape, rng):
    cells = cells_of(rng, shape, open_fraction=0.1)
    both = {"drivers_at_both_ends": shape[0] == 70, "sense_at_both_ends": shape[0] == 37}
    result = effective_conductance(cells, 1.5, 3.0, 40.0, 20.0, **both)
    assert np.allclose(result, nodal(cells, 1.5, 3.0, 40.0, 20.0, **both), rtol=1e-9, atol=0.0)


def test_without_wires_it_is_exactly_the_conductances(rng):
    cells = cells_of(rng, (9, 5), open_fraction=0.2)
    result = effective_conductance(cells, 0.0, 0.0)
    assert np.array_equal(result, cells) and result is not cells


def test_one_cell_is_a_series_circuit():
    assert effective_conductance([[1e-3]], 10, 20, 30, 40, access_ohms=50) == pytest.approx(1 / 1150, rel=1e-15)
    both = effective_conductance([[1e-3]], 10, 20, 30, 40, drivers_at_both_ends=True, sense_at_both_ends=True)
    assert both == pytest.approx(1 / (1000 + 20 + 30), rel=1e-15)


def test_reads_superpose_and_relative_drop_does_not_depend_on_the_voltage(rng):
    """The map holds for every voltage vector at once: the nodal solve of two vectors and of a scaled one."""
    cells = cells_of(rng, (20, 14))
    result = effective_conductance(cells, 2.0, 1.0)
    driven = nodal(cells, 2.0, 1.0)
    for voltages in (rng.normal(size=20), np.eye(20)[3], 1e-6 * rng.normal(size=20)):
        assert np.allclose(voltages @ result, voltages @ driven, rtol=1e-9, atol=1e-12 * np.abs(voltages).sum() * 1e-4)
    # The scale of impedance: everything a thousand times more conductive.
    assert np.allclose(effective_conductance(1e3 * cells, 2e-3, 1e-3), 1e3 * result, rtol=1e-12)


def test_reciprocity_drivers_and_amplifiers_may_swap_places(rng):
    cells = cells_of(rng, (13, 22), open_fraction=0.2)
    forward = effective_conductance(cells, 2.0, 5.0, 30.0, 10.0, drivers_at_both_ends=True)
    swapped = effective_conductance(cells.T[::-1, ::-1], 5.0, 2.0, 10.0, 30.0, sense_at_both_ends=True)
    assert np.allclose(forward, swapped.T[::-1, ::-1], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", ["word_line_ohms", "bit_line_ohms", "driver_ohms", "sense_ohms", "access_ohms"])
def test_more_resistance_anywhere_lets_less_current_through(name, rng):
    """Rayleigh's monotonicity law, from zero resistance up; and no cell without any conductance passes a current."""
    cells = cells_of(rng, (12, 9))
    given_ohms = {"word_line_ohms": 1.0, "bit_line_ohms": 2.0}
    currents = [effective_conductance(cells, **(given_ohms | {name: value})).sum() for value in (0.0, 0.5, 3.0, 1e4)]
    assert currents[0] <= cells.sum() and all(a > b for a, b in itertools.pairwise(currents))
    assert not effective_conductance(np.zeros((5, 6)), 1.0, 1.0).any()


def test_regions_merged_by_all_cores_give_the_bits_that_one_core_gives(rng, monkeypatch):
    cells = cells_of(rng, (150, 90))
    whole = effective_conductance(cells, 1.0, 2.0, sense_at_both_ends=True)
    monkeypatch.setattr(wires, "WHOLE", 1)
    assert np.array_equal(effective_conductance(cells, 1.0, 2.0, sense_at_both_ends=True), whole)


@pytest.mark.parametrize("whole", [wires.WHOLE, 1])
def test_results_do_not_depend_on_the_number_of_threads(whole, rng, monkeypatch):
    monkeypatch.setattr(wires, "WHOLE", whole)
    tiles = cells_of(rng, (5, 70, 80))
    results = []
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        results.append(effective_conductances(tiles, 1.0, 2.0))
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert np.array_equal(*results)


def test_a_batch_is_its_tiles_one_by_one_in_place_and_with_progress(rng):
    tiles = cells_of(rng, (wires.TILES_A_CALL * 2 + 21, 10, 7)).astype(np.float32)
    expected = np.stack([effective_conductance(tile, 3.0, 1.0, access_ohms=9.0) for tile in tiles])
    done = []
    result = effective_conductances(tiles, 3.0, 1.0, access_ohms=9.0, out=tiles, on_tile=done.append)
    assert result is tiles and np.array_equal(tiles, expected.astype(np.float32))
    assert done == sorted(set(done)) and done[-1] == len(tiles) and len(done) > 1
    assert effective_conductances(np.empty((0, 3, 4)), 1.0, 1.0).shape == (0, 3, 4)


def test_the_plan_eliminates_every_port_once_with_the_stated_operations_and_memory():
    size = 256
    order = wire_plan.plan(size // wire_plan.LEAF, size // wire_plan.LEAF, False, False, wires.WHOLE)
    ((_, program),) = order.regions
    shared = program.merges[:, wire_plan.SHARED]
    merged = program.merges[:, wire_plan.SECOND_PORTS : wire_plan.SECOND_AT].any(1)
    # A merge takes its ports from two blocks, dropping a dangling side from one; left are drivers and amplifiers.
    left = len(program.leaves) * wire_plan.LEAF_PORTS - 2 * shared[merged].sum() - shared[~merged].sum()
    assert left == sum(program.ports) == 2 * size
    assert 32 < wire_plan.flops(order) / size**3 < 33 and program.size < 36 * size**2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1e-6, -1e-6]], 1, 1), r"cell \(0, 1\) .* -1e-06 S, 1 of 2 cells"),
        (([[np.nan, 1e-6]], 1, 1), "nan S"),
        (([[np.inf]], 1, 1), "inf S"),
        (([1e-6], 1, 1), "must be a matrix"),
        ((np.empty((3, 0)), 1, 1), "none of them 0"),
        (([[1j]], 1, 1), "real numbers"),
        (([[1e-6]], -1, 1), "word_line_ohms .* got -1"),
        (([[1e-6]], 1, np.nan), "bit_line_ohms"),
        (([[1e-6]], 1, 1e-310), "bit_line_ohms must be 0 or 1e-30 to 1e"),
        (([[1e-6]], 1, 1, np.inf), "driver_ohms"),
        (([[1e-6]], 1, 1, 0, [1, 2]), "sense_ohms"),
        (([[1e-6]], "1", 1), "word_line_ohms"),
    ],
)
def test_nonsense_is_refused_with_its_name(arguments, message):
    with pytest.raises(UsageError, match=message):
        effective_conductance(*arguments)


def test_a_wrong_result_array_is_refused():
    with pytest.raises(UsageError, match="shape"):
        effective_conductances(np.ones((1, 2, 3)), 1, 1, out=np.empty((1, 3, 2)))
    with pytest.raises(UsageError, match="int64"):
        effective_conductances(np.ones((1, 2, 3)), 1, 1, out=np.empty((1, 2, 3), np.int64))
