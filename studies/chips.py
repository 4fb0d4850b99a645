"""The programmed chips of a study: each process keeps one at a time, and programs the next when a part asks for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..reports.records.programming import ChipFacts
from ..simulator import ProgrammedModel
from .workbench import Workbench


class Chips:
    """The chip of a number, freshly programmed or the one that was asked for last. Same number, same cells."""

    def __init__(self, bench: Workbench):
        self._bench = bench
        self._held: tuple[int, ProgrammedModel] | None = None

    def get(self, number: int, on_matrix: Callable[[str, Any], None] | None = None) -> ProgrammedModel:
        """The chip at the time of its programming. The one before is let go of."""
        if self._held is None or self._held[0] != number:
            self._held = None  # its memory first
            self._held = number, self._bench.program(number, on_matrix)
        return self._held[1]


@dataclass(frozen=True)
class WeightError:
    """How far the weights that cells hold are from those wanted, all matrices together.

    mean: mean |held - wanted| over mean |wanted|. rms: the same with root mean squares, which weighs large errors more.
    """

    mean: float
    rms: float

    @staticmethod
    def of(bench: Workbench, chip: ProgrammedModel) -> "WeightError":
        """At the present time of the chip."""
        sums = np.zeros((2, 2))
        for name, wanted in bench.frozen_tensors.items():
            for row, values in enumerate((chip.effective_weight(name) - wanted, wanted)):
                flat = np.abs(values).ravel()
                sums[row] += flat.sum(dtype=np.float64), np.square(flat, dtype=np.float32).sum(dtype=np.float64)
        (wrong, wrong_squares), (right, right_squares) = sums
        return WeightError(float(wrong / right), float(np.sqrt(wrong_squares / right_squares)))


def facts(bench: Workbench, number: int, chip: ProgrammedModel) -> ChipFacts:
    """What the report says of every chip."""
    log, error = chip.write_log, WeightError.of(bench, chip)
    return ChipFacts(
        chip_seed=number,
        seeds=bench.config.chip_numbers[number],
        weight_error_relative=error.mean,
        weight_error_rms_relative=error.rms,
        failed_cells=int(log.failed.sum()),
        energy_joules=log.energy_joules,
    )
