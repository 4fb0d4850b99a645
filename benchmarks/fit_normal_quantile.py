"""How the coefficients of `simulator/randoms.py` were found: a rational fit of the normal quantile, printed with its
error.

Minimises the relative error of q * P(r) / Q(r), r = 0.495^2 - q^2, against the exact quantile at probability q + 1/2
for |q| <= 0.495, by repeated linear least squares with the denominator as weight. Run: python
benchmarks/fit_normal_quantile.py (needs scipy).
"""

import numpy as np
from scipy.stats import norm

CENTRE, DEGREE, NODES, ROUNDS = 0.495, 5, 4000, 60


def fit() -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients of P and Q, highest power first (Q ends in 1), and the largest relative error at the nodes."""
    square = (0.5 - 0.5 * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)) * CENTRE**2
    q = np.sqrt(square)
    wanted = norm.ppf(0.5 + q) / q
    powers = np.vander(CENTRE**2 - square, DEGREE + 1, increasing=True)
    weight = np.ones(NODES)
    for _ in range(ROUNDS):
        system = np.hstack([powers, -wanted[:, None] * powers[:, 1:]]) * (weight / wanted)[:, None]
        found = np.linalg.lstsq(system, weight, rcond=None)[0]
        numerator, denominator = found[: DEGREE + 1], np.append(1.0, found[DEGREE + 1 :])
        weight = 1.0 / (powers @ denominator)
    error = np.abs((powers @ numerator) / (powers @ denominator) / wanted - 1.0).max()
    return numerator[::-1], denominator[::-1], float(error)


if __name__ == "__main__":
    p, q, error = fit()
    print("P =", tuple(p.tolist()))
    print("Q =", tuple(q.tolist()))
    print(f"largest relative error for |q| <= {CENTRE}: {error:.2e}")
