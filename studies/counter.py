"""Counts reads and writes of matrices by their shapes: what `count` is made of."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..devices import Chip
from ..methods.plan import Matrix
from ..simulator import CostTable, EventCounts
from ..simulator.compensation import PROBES, sums
from ..simulator.counting import input_cycles, read_events
from ..simulator.mapping import Layout
from .samples import Sample, program_sample


class Counter:
    """Counts reads and writes of matrices by shape on one chip; equal shapes are counted once."""

    def __init__(self, chip: Chip, sample: Sample):
        self.chip, self.sample = chip, sample
        self.table, self.cycles = CostTable.of(chip), input_cycles(chip)
        self._samples = {(sample.changed_share, 1.0): sample}

    def arrays(self, matrices: Mapping[str, Matrix]) -> int:
        """Arrays that hold the matrices."""
        return sum(n * layout.arrays for layout, n in self._layouts(matrices.values()))

    def cells(self, matrices: Mapping[str, Matrix]) -> int:
        """Cells of the matrices."""
        return sum(n * layout.cells for layout, n in self._layouts(matrices.values()))

    def _sample(self, share: float = 1.0, density: float = 1.0) -> Sample:
        """A sample of which the study's share of a share of the weights changes, and of which a share is not zero."""
        key = share * self.sample.changed_share, density
        if key not in self._samples:
            self._samples[key] = program_sample(self.chip, key[0], density=density)
        return self._samples[key]

    def reads(
        self, matrices: Iterable[Matrix], vectors: int, transposed: bool = False, density: float = 1.0
    ) -> EventCounts:
        """`vectors` products with each matrix; the energy of the cells from the sample."""
        counts, each = EventCounts(), self._sample(density=density).read_joules_per_cell
        for layout, n in self._layouts(matrices):
            counts.add(read_events(self.chip, layout, self.cycles, transposed), n * vectors)
            counts.cell_read_joules += n * vectors * layout.cells * each
        return counts

    def looks(self, matrices: Iterable[Matrix], density: float = 1.0) -> EventCounts:
        """Finding the factors of drift compensation once; the energy of the cells from the sample, as just written."""
        counts, each = EventCounts(), self._sample(density=density).probe_joules_per_cell
        for layout, n in self._layouts(matrices):
            counts.add(read_events(self.chip, layout, self.cycles), n * PROBES).add(sums(layout), n)
            counts.cell_read_joules += n * PROBES * layout.cells * each
        return counts

    def programming(self, matrices: Iterable[Matrix], density: float = 1.0) -> EventCounts:
        """First writes of erased cells, from the sample."""
        return self._writes(matrices, self._sample(density=density).programming.events)

    def steps(self, parts: Iterable[tuple[Matrix, float]], times: int, density: float = 1.0) -> EventCounts:
        """Rewrites of matrices in which the sample's share of the weights, of the share that may change, moves to a
        neighbouring value. Where few may change, a sample is rewritten as thinly: single cells share no turns.
        """
        by_share: dict[float, list[Matrix]] = {}
        for matrix, share in parts:
            by_share.setdefault(share, []).append(matrix)
        counts = EventCounts()
        for share, matrices in by_share.items():
            counts.add(self._writes(matrices, self._sample(share, density).step.events), times)
        return counts

    def _writes(self, matrices: Iterable[Matrix], events: Any) -> EventCounts:
        counts = EventCounts()
        for layout, n in self._layouts(matrices):
            counts.add(events(layout), n)
        return counts

    def _layouts(self, matrices: Iterable[Matrix]) -> list[tuple[Layout, int]]:
        numbers: dict[Matrix, int] = {}
        for matrix in matrices:
            numbers[matrix] = numbers.get(matrix, 0) + 1
        return [(Layout.of(self.chip, matrix), n) for matrix, n in numbers.items()]
