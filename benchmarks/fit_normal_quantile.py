"""How the coefficients of `simulator/randoms.py` were found: rational fits of the normal quantile, printed with their
errors.

Minimises the relative error of q P(r) / Q(r), r = c^2 - q^2, against the exact quantile at probability q + 1/2 for
|q| <= c: linear least squares with the denominator as weight and, for the wider centre, Lawson's reweighting towards
the least maximum. Run: python benchmarks/fit_normal_quantile.py (needs scipy).
"""

import numpy as np
from scipy.stats import norm

DEGREE, NODES, ROUNDS = 5, 4000, 60


def fit(centre: float, least_maximum: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients of P and Q, highest power first (Q ends in 1), and the largest relative error at the nodes."""
    square = (0.5 - 0.5 * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)) * centre**2
    if least_maximum:
        square = np.union1d(square, (centre - np.geomspace(1e-9, 0.99 * centre, NODES)) ** 2)
    q = np.sqrt(square)
    wanted = norm.ppf(0.5 + q) / q
    powers = np.vander(1.0 - square / centre**2, DEGREE + 1, increasing=True)
    weight, shape = np.ones(len(q)), np.ones(len(q))
    for _ in range(ROUNDS):
        system = np.hstack([powers, -wanted[:, None] * powers[:, 1:]]) * (weight * shape / wanted)[:, None]
        found = np.linalg.lstsq(system, weight * shape, rcond=None)[0]
        numerator, denominator = found[: DEGREE + 1], np.append(1.0, found[DEGREE + 1 :])
        weight = 1.0 / (powers @ denominator)
        error = np.abs((powers @ numerator) / (powers @ denominator) / wanted - 1.0)
        if least_maximum:
            shape = shape * (1e-12 + error / error.max()) ** 0.2
            shape /= shape.max()
    scale = centre ** (2.0 * np.arange(DEGREE + 1))
    return (numerator / scale)[::-1], (denominator / scale)[::-1], float(error.max())


if __name__ == "__main__":
    for what, centre, least_maximum in (("cells", 0.495, False), ("reads", 0.4995, True)):
        p, q, error = fit(centre, least_maximum)
        print(f"{what}: |q| <= {centre}, largest relative error {error:.2e}")
        print("P =", tuple(p.tolist()))
        print("Q =", tuple(q.tolist()))
