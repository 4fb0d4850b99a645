"""Program-and-verify of many cells, pulse by pulse: the numba kernel behind `writing.program_cells`.

The cells are cut into blocks. In a block, one pulse after another is given to all cells that still need one, by simple
loops over one stretch of memory, which vectorise; what each cell draws and does depends on its own numbers only, so
that neither blocks nor threads change a result. Cells that are done stay in place, without effect, until a third of
the block is; then the others close up.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from .randoms import GOLDEN, normals_of, start

HEALTHY, STUCK_LOW, STUCK_HIGH, WORN_OUT = 0, 1, 2, 3
PATH, CELL = 0, 1
# Columns of the tally of `program_blocks`.
CELL_JOULES, ACCESS_JOULES, LINE_JOULES, VERIFY_JOULES, VERIFIES, REVERSALS, SETS, RESETS = range(8)
TALLY = 8
BLOCK = 512  # cells
# Where the lanes of a block keep their numbers: nine that move when cells close up, and the draw.
_G, _GOAL, _REACH, _FACTOR, _MOVES, _WAY, _STEPS, _UPS, _LIVE, _Z = (field * BLOCK for field in range(10))
_KEPT, _FIELDS = 9, 10


class Pulses(NamedTuple):
    """The numbers of program-and-verify, in SI units; see `writing` for the model.

    A pulse moves a cell by up_step + up_slope (G - low), or down, times a factor of the cell, the growth and the spread
    of its pulses, plus `noise` z; G stays inside floor .. ceiling. set_joules, reset_joules: below zero for V I t.
    access_ohms: of the device in series; across: PATH or CELL, see `programming.voltage_across`.
    """

    tolerance: float
    tolerance_relative: float
    pulses_max: int
    up_step: float
    up_slope: float
    down_step: float
    down_slope: float
    growth: float
    cycle_sigma: float
    noise: float
    spread_sigma: float
    low: float
    floor: float
    ceiling: float
    set_volts: float
    set_step_volts: float
    set_seconds: float
    set_joules: float
    reset_volts: float
    reset_step_volts: float
    reset_seconds: float
    reset_joules: float
    read_volts: float
    read_seconds: float
    line_farads: float
    access_ohms: float
    across: int


@njit(parallel=True, cache=True, error_model="numpy", fastmath=True)
def program_blocks(
    index, conductance, target, stuck, pulses, sets, failed, busy_seconds, tally, spread_seed, pulse_seed, p
):
    """Program-and-verify of every cell of `conductance` (cells,) float64, in place.

    All arrays (cells,): `target` float64; `index` uint32, a cell's number in its matrix (of size 0: its place);
    `stuck` uint8 (of size 0: none is); and the results `pulses` and, among them, `sets` (uint8 or uint16), `failed`
    bool, `busy_seconds` float32: how long a cell was at it. `tally` (blocks, TALLY) float64. A cell's factor comes from
    stream (spread_seed, index), the noise of its pulses from (pulse_seed, index).
    """
    for block in prange(len(tally)):
        first = block * BLOCK
        last = min(first + BLOCK, len(conductance))
        _program_block(
            first, index[first:last], conductance[first:last], target[first:last], stuck[first:last],
            pulses[first:last], sets[first:last], failed[first:last], busy_seconds[first:last], tally[block],
            spread_seed, pulse_seed, p,
        )  # fmt: skip


@njit(error_model="numpy", fastmath=True)
def _program_block(
    first, index, conductance, target, stuck, pulses, sets, failed, busy_seconds, tally, spread_seed, pulse_seed, p
):
    place = np.empty(BLOCK, np.int32)
    state = np.empty(BLOCK, np.uint64)
    chosen = np.empty(BLOCK + 1, np.int32)
    centred = np.empty(BLOCK)
    lane = np.empty(_FIELDS * BLOCK)
    # Joules of pulses, squared volts of pulses, siemens seen by verifies, reversals, joules in access devices.
    sums = np.zeros(5)
    n = 0
    for j in range(len(conductance)):
        sums[2] += conductance[j]
        reach = p.tolerance + p.tolerance_relative * target[j]
        pulses[j], sets[j], busy_seconds[j] = 0, 0, p.read_seconds
        failed[j] = abs(conductance[j] - target[j]) > reach
        if failed[j]:
            place[n] = j
            lane[_G + n], lane[_GOAL + n], lane[_REACH + n] = conductance[j], target[j], reach
            lane[_MOVES + n] = 1.0 if stuck.size == 0 or stuck[j] == HEALTHY else 0.0
            lane[_WAY + n] = lane[_STEPS + n] = lane[_UPS + n] = 0.0
            lane[_LIVE + n] = lane[_FACTOR + n] = 1.0
            n += 1
    if p.spread_sigma > 0.0:
        for t in range(n):
            number = first + place[t] if index.size == 0 else index[place[t]]
            state[t] = start(spread_seed, np.uint64(number))
        normals_of(state, np.uint64(0), n, lane, _Z, centred, chosen)
        for t in range(n):
            lane[_FACTOR + t] = math.exp(p.spread_sigma * lane[_Z + t])
    for t in range(n):
        number = first + place[t] if index.size == 0 else index[place[t]]
        state[t] = start(pulse_seed, np.uint64(number))
    verifies, needed, given = len(conductance), n, 0
    all_sets, all_resets = 0.0, 0.0
    while needed > 0 and given < p.pulses_max:
        normals_of(state, GOLDEN * np.uint64(given), n, lane, _Z, centred, chosen)
        _pulse(lane, n, given, sums, p)
        verifies += needed
        given += 1
        done = 0
        everyone = given == p.pulses_max
        for t in range(n):
            chosen[done] = t
            done += (lane[_LIVE + t] > 0.0) & ((lane[_Z + t] <= 0.0) | everyone)
        for i in range(done):
            t, j = chosen[i], place[chosen[i]]
            ups = lane[_UPS + t]
            conductance[j], pulses[j], failed[j] = lane[_G + t], given, lane[_Z + t] > 0.0
            sets[j] = ups
            all_sets += ups
            all_resets += given - ups
            busy_seconds[j] = ups * p.set_seconds + (given - ups) * p.reset_seconds + (given + 1) * p.read_seconds
            lane[_LIVE + t] = 0.0
        needed -= done
        if 3 * needed <= 2 * n:
            n = _close_up(lane, n, place, state, chosen)
    tally[CELL_JOULES] = sums[0] + max(0.0, p.set_joules) * all_sets + max(0.0, p.reset_joules) * all_resets
    tally[LINE_JOULES] = p.line_farads * sums[1]
    tally[VERIFY_JOULES] = p.read_volts * p.read_volts * p.read_seconds * sums[2]
    tally[VERIFIES] = verifies
    tally[REVERSALS] = sums[3]
    tally[SETS] = all_sets
    tally[RESETS] = all_resets
    tally[ACCESS_JOULES] = sums[4]


@njit(error_model="numpy", fastmath=True)
def _pulse(lane, n, given, sums, p):
    """One pulse to each of n lanes; leaves |G - goal| - reach in _Z: above zero, a cell is not there yet."""
    joules, squares, seen, reversals, bent = 0.0, 0.0, 0.0, 0.0, 0.0
    # Of a pulse without a fixed energy: volts² × half its time × siemens before and after.
    set_half = 0.5 * p.set_seconds if p.set_joules < 0.0 else 0.0
    reset_half = 0.5 * p.reset_seconds if p.reset_joules < 0.0 else 0.0
    for t in range(n):
        before, live, z = lane[_G + t], lane[_LIVE + t], lane[_Z + t]
        up = before < lane[_GOAL + t]
        way = 1.0 if up else -1.0
        turned = way != lane[_WAY + t]
        reversals += live if turned and given > 0 else 0.0
        steps = 0.0 if turned else lane[_STEPS + t] + 1.0
        mean = (p.up_step if up else p.down_step) + (p.up_slope if up else p.down_slope) * (before - p.low)
        size = lane[_FACTOR + t] * mean * (1.0 + p.growth * steps) * max(0.0, 1.0 + p.cycle_sigma * z)
        after = min(max(before + lane[_MOVES + t] * (way * size + p.noise * z), p.floor), p.ceiling)
        volts = (p.set_volts if up else p.reset_volts) + steps * (p.set_step_volts if up else p.reset_step_volts)
        square = live * volts * volts
        heat = square * (set_half if up else reset_half)
        joules += heat * (before + after)
        bent += heat * (before * before + after * after)
        squares += square
        seen += live * after
        lane[_UPS + t] += 1.0 if up else 0.0
        lane[_G + t], lane[_WAY + t], lane[_STEPS + t] = after, way, steps
        lane[_Z + t] = abs(after - lane[_GOAL + t]) - lane[_REACH + t]
    # R I² of the access devices; where conductances are of both in series, it is a part of the whole.
    lost = p.access_ohms * bent
    sums[0] += joules - lost if p.across == PATH else joules
    sums[1] += squares
    sums[2] += seen
    sums[3] += reversals
    sums[4] += lost


@njit(error_model="numpy", fastmath=True)
def _close_up(lane, n, place, state, chosen):
    """Move the lanes that live to the front; returns how many they are."""
    kept = 0
    for t in range(n):
        chosen[kept] = t
        kept += lane[_LIVE + t] > 0.0
    for field in range(_KEPT):
        for i in range(kept):
            lane[field * BLOCK + i] = lane[field * BLOCK + chosen[i]]
    for i in range(kept):
        place[i], state[i] = place[chosen[i]], state[chosen[i]]
    return kept
