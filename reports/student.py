"""Two tests that decide between two methods: quantiles of Student's t, and McNemar's exact test. Plain arithmetic."""

import math
from functools import cache


def central_share(t: float, degrees: int) -> float:
    """The share of Student's t between -t and t, for whole degrees of freedom.

    By the finite series of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    if degrees == 1:
        return 2 * angle / math.pi
    for k in range(2 + odd, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


@cache
def t_quantile(degrees: int, share: float = 0.95) -> float:
    """The t that `share` of Student's t lies within, on both sides of 0; by bisection, to 12 digits."""
    if degrees < 1:
        raise ValueError(f"Student's t has at least one degree of freedom; got {degrees}")
    low, high = 0.0, 2.0
    while central_share(high, degrees) < share:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if central_share(middle, degrees) < share else (low, middle)
    return high


def mcnemar(one: int, other: int) -> float:
    """Probability of a split at least as uneven as `one` to `other`, were each side as likely: two-sided, exact.

    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12 (1947).
    """
    total, ways, tail = one + other, 1, 0
    for k in range(min(one, other) + 1):
        tail += ways
        ways = ways * (total - k) // (k + 1)
    return min(1.0, 2 * tail / 2**total)
