"""Stuck cells: the shares of both kinds are those of the cell file, in clusters as well."""

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator.faults import draw_faults
from edge_adapt.simulator.pulse_kernel import STUCK_HIGH, STUCK_LOW


@pytest.mark.parametrize("mean", ["null", "4"])
@pytest.mark.parametrize(("low", "high"), [(0.4, 0.4), (0.05, 0.6), (0.6, 0.05), (0.0, 1.0), (0.02, 0.01)])
def test_the_share_of_each_kind_is_the_stated_one(low, high, mean):
    given = {"faults.stuck_low": f"{100 * low} %", "faults.stuck_high": f"{100 * high} %", "faults.cluster_cells": mean}
    stuck = draw_faults(load_chip("reram", given), (1, 2, 512, 256), np.random.default_rng(0))
    # Cells of a run go together: the mean of n cells spreads as that of n / (2 mean - 1) independent ones.
    independent = stuck.size / (1.0 if mean == "null" else 2.0 * float(mean) - 1.0)
    for share, kind in ((low, STUCK_LOW), (high, STUCK_HIGH)):
        assert abs((stuck == kind).mean() - share) < 5.0 * np.sqrt(share * (1.0 - share) / independent) + 1e-9
