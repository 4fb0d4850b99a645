"""Random numbers that do not depend on the number of threads.

Every cell (or every output of a read) owns a stream: a SplitMix64 counter (Steele, Lea & Flood, OOPSLA 2014) started
from a hash of the seed and its index. A kernel may therefore visit the cells in any order, on any number of threads,
and draw the same numbers.

Standard normals are the normal quantile of a uniform number. In the centre, for |p - 1/2| <= 0.495 (99 % of the draws;
for reads 0.4995), it is a rational function of degree 5/5 in (p - 1/2)^2, fitted for this package by
`benchmarks/fit_normal_quantile.py` (relative error 3e-7; for reads 1e-5), which vectorises: no logarithm, no branch.
The rest uses the tail branches of algorithm AS 241, PPND7 (Wichura, Applied Statistics 37, 1988).
"""

import math

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX1 = np.uint64(0xBF58476D1CE4E5B9)
MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11, _S32 = (np.uint64(n) for n in (30, 27, 31, 11, 32))
_ONE = np.uint64(1)
# The centre of each of 2^53 equal cells of (0, 1): never 0, never 1.
UNIT = 2.0**-53
BLOCK = 512

CENTRE = 0.495
# Highest power first, in r = CENTRE^2 - q^2: all coefficients positive, so that float32 loses nothing by cancellation.
P = (1555247.1889679048, 4216906.537187121, 1178257.151934935, 72389.04089918644, 1208.7233134193284, 5.203693988247216)
Q = (1797709.4055947498, 1987686.5144585501, 372744.46899889153, 18005.927126337305, 257.35831176707563, 1.0)
# AS 241 PPND7: sqrt(-ln p) <= 5; then the far tail.
C = (1.7023821103e-1, 1.3067284816e0, 2.7568153900e0, 1.4234372777e0)
D = (1.2021132975e-1, 7.3700164250e-1, 1.0)
E = (1.7337203997e-2, 4.2868294337e-1, 3.0812263860e0, 6.6579051150e0)
F = (1.2258202635e-2, 2.4197894225e-1, 1.0)

# The same for the noise of reads, with a wider centre.
READ_CENTRE = 0.4995
READ_P = (
    1203318934.5183263, 1670007951.2234116, 184962622.6486339, 3228494.545613734, 10576.600941520246, 6.587582392376227,
)  # fmt: skip
READ_Q = (1110619065.2339036, 628566859.8912873, 46586166.296116374, 635768.9024090545, 1774.2337297940794, 1.0)
_P32 = tuple(np.float32(v) for v in READ_P)
_Q32 = tuple(np.float32(v) for v in READ_Q)
_SQUARE32 = np.float32(READ_CENTRE * READ_CENTRE)
_HALF32, _SCALE32 = np.float32(0.5), np.float32(2.0**-32)
_FARTHEST = np.int32(READ_CENTRE * 2.0**32 - 0.5)  # the farthest from the middle that the centre takes
GROUP = 64  # numbers that are looked through for tails together


def draw_seed(rng: np.random.Generator) -> np.uint64:
    """A 64-bit seed for one family of streams, taken from an explicit generator."""
    return np.uint64(rng.integers(0, 2**63, dtype=np.uint64))


def derived_seed(seed: np.uint64, number: int) -> np.uint64:
    """Word `number` of SplitMix64 from `seed`: a seed that depends on another, and is none of its stream's."""
    z = (int(seed) + int(GOLDEN) * number) % 2**64
    z = (z ^ (z >> 30)) * int(MIX1) % 2**64
    z = (z ^ (z >> 27)) * int(MIX2) % 2**64
    return np.uint64(z ^ (z >> 31))


@njit(inline="always")
def mix(z):
    """The output function of SplitMix64: a bijection of 64-bit words that scrambles every bit."""
    z = (z ^ (z >> _S30)) * MIX1
    z = (z ^ (z >> _S27)) * MIX2
    return z ^ (z >> _S31)


@njit(inline="always")
def start(seed, index):
    """The first state of stream `index` (uint64) of the family `seed` (uint64); add GOLDEN for the next state."""
    return mix(seed + GOLDEN * (index + _ONE))


@njit(inline="always")
def uniform(state):
    """A number of the open interval (0, 1) with 53 random bits from the state's word."""
    return (float(mix(state) >> _S11) + 0.5) * UNIT


@njit
def normal_tail(q):
    """The normal quantile at probability q + 1/2 for |q| > 0.425 (AS 241, both tail branches)."""
    r = 0.5 - q if q > 0.0 else 0.5 + q
    r = math.sqrt(-math.log(r))
    if r <= 5.0:
        r -= 1.6
        z = (((C[0] * r + C[1]) * r + C[2]) * r + C[3]) / ((D[0] * r + D[1]) * r + D[2])
    else:
        r -= 5.0
        z = (((E[0] * r + E[1]) * r + E[2]) * r + E[3]) / ((F[0] * r + F[1]) * r + F[2])
    return z if q > 0.0 else -z


@njit(inline="always")
def quantile_centre(q):
    """The normal quantile at probability q + 1/2 for |q| <= 0.495."""
    r = CENTRE * CENTRE - q * q
    n = ((((P[0] * r + P[1]) * r + P[2]) * r + P[3]) * r + P[4]) * r + P[5]
    d = ((((Q[0] * r + Q[1]) * r + Q[2]) * r + Q[3]) * r + Q[4]) * r + Q[5]
    return q * n / d


@njit(inline="always")
def normal(state):
    """A standard normal number from the state's word."""
    q = uniform(state) - 0.5
    return quantile_centre(q) if abs(q) <= CENTRE else normal_tail(q)


@njit(error_model="numpy", fastmath=True)
def normals_of(state, offset, n, out, first, centred, chosen):
    """out[first + t] = the normal number of the state state[t] + offset, for t < n: what `normal` gives one by one, by
    loops that vectorise. centred (n,) float64 and chosen (n + 1,) int32 are scratch.
    """
    for t in range(n):
        centred[t] = (float(mix(state[t] + offset) >> _S11) + 0.5) * UNIT - 0.5
    for t in range(n):
        out[first + t] = quantile_centre(centred[t])
    far = 0
    for t in range(n):
        chosen[far] = t
        far += abs(centred[t]) > CENTRE
    for i in range(far):
        out[first + chosen[i]] = normal_tail(centred[chosen[i]])


@njit(error_model="numpy", fastmath=True)
def fill_normals(seed, first, out, words, centred, tails):
    """Fill `out` (n <= 512, float32) with standard normals: number i is number `first` + i of `seed`; `first` is even.

    A 64-bit word makes two numbers, of its low and of its high half. `words` (uint64, 256), `centred` (float32, 512)
    and `tails` (int32, 513) are scratch. The loops vectorise, which makes a draw cost less than a nanosecond.
    """
    n = len(out)
    base = seed + GOLDEN * (np.uint64(first) >> _ONE)
    for i in range((n + 1) // 2):
        words[i] = mix(base + GOLDEN * np.uint64(i))
    halves = words.view(np.int32)
    for i in range(n):
        centred[i] = (np.float32(halves[i]) + _HALF32) * _SCALE32
    for i in range(n):
        q = centred[i]
        r = _SQUARE32 - q * q
        num = ((((_P32[0] * r + _P32[1]) * r + _P32[2]) * r + _P32[3]) * r + _P32[4]) * r + _P32[5]
        den = ((((_Q32[0] * r + _Q32[1]) * r + _Q32[2]) * r + _Q32[3]) * r + _Q32[4]) * r + _Q32[5]
        out[i] = q * num / den
    found, whole = 0, n - n % GROUP
    for group in range(0, whole, GROUP):
        far = np.int32(0)  # negative as soon as one is; the fixed number of turns lets this loop vectorise
        for i in range(GROUP):
            far |= np.int32(_FARTHEST - _from_middle(halves[group + i]))
        if far < 0:
            found = _note_tails(halves, group, group + GROUP, tails, found)
    found = _note_tails(halves, whole, n, tails, found)
    for k in range(found):
        # The word again, in double: float32 would round the farthest tail to probability 1.
        out[tails[k]] = np.float32(normal_tail((float(halves[tails[k]]) + 0.5) * 2.0**-32))


@njit(inline="always")
def _from_middle(half):
    """How many steps of 2^-32 a number is from the middle, less a half: i for i >= 0, else -1 - i."""
    return np.int32(half ^ (half >> np.int32(31)))


@njit(error_model="numpy", fastmath=True)
def _note_tails(halves, first, last, tails, found):
    for i in range(first, last):
        tails[found] = i
        found += _from_middle(halves[i]) > _FARTHEST
    return found
