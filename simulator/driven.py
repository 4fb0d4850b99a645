"""How long reads drove the word lines of the matrices of one chip: for effects that count it (`Acting.counts`).

The measure is a read at full voltage, as for the energy of cells (`converters.drive_load`). Every read counts, also
one of the backward pass, which is taken for the average of the forward ones. What reads use of the cells follows in
steps: at a write, when the clock is set, and when an effect says that cells may have moved (`Acting.moved`). A chip and
its forks count by themselves, so that nobody's results depend on what others read.
"""

import numpy as np

from .arrays import CrossbarMatrix


class Driven:
    """The counts of one chip, by name of the matrix; arrays (in,) float64, never changed in place."""

    def __init__(self) -> None:
        self._now: dict[str, np.ndarray] = {}
        self._seen: dict[str, np.ndarray] = {}
        self._vectors: dict[str, int] = {}

    def copy(self) -> "Driven":
        """The same counts, to go on by themselves."""
        twin = Driven()
        twin._now, twin._seen, twin._vectors = dict(self._now), dict(self._seen), dict(self._vectors)
        return twin

    def forget(self, name: str) -> None:
        """Count a matrix from nothing again."""
        for counts in (self._now, self._seen, self._vectors):
            counts.pop(name, None)

    def bring(self, name: str, matrix: CrossbarMatrix) -> None:
        """Bring a matrix, which a fork may have brought to its own, to what this chip's reads see."""
        if matrix.counts:
            matrix.set_driven(self._seen.setdefault(name, np.zeros(matrix.layout.inputs)))

    def look(self, name: str, matrix: CrossbarMatrix) -> None:
        """Let reads and writes see all that was counted."""
        if matrix.counts and name in self._now:
            self._seen[name] = self._now[name]
            self.bring(name, matrix)

    def add(self, name: str, matrix: CrossbarMatrix, cycles: np.ndarray, vectors: int) -> None:
        """Count reads of so many vectors, which drove each word line for `cycles` (in,)."""
        seen = self._seen[name]
        self._now[name] = self._now.get(name, seen) + cycles
        self._vectors[name] = self._vectors.get(name, 0) + vectors
        if any(acting.moved(seen, self._now[name]) for acting in matrix.acting):
            self._seen[name] = self._now[name]

    def add_average(self, name: str, matrix: CrossbarMatrix, vectors: int) -> None:
        """Count reads of so many vectors that are not known, for the average of those that are."""
        if matrix.counts and name in self._now:
            self.add(name, matrix, self._now[name] * (vectors / self._vectors[name]), vectors)
