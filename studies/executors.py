"""What does the parts of a simulation: this process alone (`Serial`), or with helpers (`crew.Crew`).

What an executor does with which part, and in what order, decides no result; see `parts.Part`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from .chips import Chips
from .config import SimulateConfig
from .parts import Part
from .progress import Progress
from .threads import one_thread, release
from .workbench import Workbench


class Executor(Protocol):
    """A context manager: leaving it ends whatever works for it."""

    @property
    def processes(self) -> int:
        """How many work, this one included."""
        ...

    def begin(self, config: SimulateConfig, parts: int) -> None:
        """Prepare for so many parts of a study, which this process has loaded: what is wrong with it was found."""
        ...

    def run(self, parts: Sequence[Part], bench: Workbench, chips: Chips) -> list[Any]:
        """Results of the parts, in their order. The first failure, wherever it happens, ends the work and is raised."""
        ...

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *_exception: object) -> None: ...


class Serial:
    """One part after the other, here."""

    processes = 1

    def __init__(self, progress: Progress):
        self._progress = progress

    def begin(self, config: SimulateConfig, parts: int) -> None:
        """Everything is loaded."""

    def run(self, parts: Sequence[Part], bench: Workbench, chips: Chips) -> list[Any]:
        results = []
        with one_thread():
            for part in parts:
                results.append(part.perform(bench, chips, self._progress))
                release()
        return results

    def __enter__(self) -> "Serial":
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing else works."""
