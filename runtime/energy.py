"""Energy as the machine measures it: the RAPL counters of Linux (David et al., ISLPED 2010). Never an estimate."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from . import zeus_meter

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 10.0
"""Often enough to see every wrap-around: a counter of 262 kJ takes minutes even at a kilowatt."""


@dataclass(frozen=True)
class Energy:
    """A measurement: joules by counter ("package-0", "psys", ...), or why there is none.

    The counters see the whole processor, whatever else ran on it meanwhile.
    """

    joules: dict[str, float]
    problem: str = ""
    source: str = "RAPL"

    @property
    def total_joules(self) -> float | None:
        """Of all packages together, None when nothing was measured. "psys", the whole platform, contains them."""
        packages = [joules for name, joules in self.joules.items() if name.startswith("package")]
        return sum(packages or self.joules.values()) if self.joules else None

    def line(self) -> str:
        """One line for people."""
        if self.total_joules is None:
            return f"energy: not measured ({self.problem})"
        counters = ", ".join(f"{name} {joules:.2f} J" for name, joules in self.joules.items())
        measured = (
            f"{self.total_joules:.2f} J measured ({self.source} {counters}; everything that ran on the processor)"
        )
        return f"energy: {measured}"


class _Counter:
    """One RAPL counter of microjoules that starts again at 0 after `max_energy_range_uj`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self.name = (folder / "name").read_text().strip()
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())
        self.microjoules = 0

    def update(self) -> None:
        """Add what has been used since the last look, a wrap-around in between included."""
        now = int(self._file.read_text())
        used = now - self._last
        self.microjoules += used if used >= 0 else used + self._range
        self._last = now


class EnergyMeter:
    """Measures while a `with` block runs. `result` says afterwards how much, or why it cannot be told.

    A thread looks at the counters now and then, so that several wrap-arounds in one block are all counted. Where there
    are no counters that can be read, zeus is asked, if it is installed.
    """

    def __init__(self, root: Path = POWERCAP, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self._root, self._sample_seconds = root, sample_seconds
        self._counters: list[_Counter] = []
        self._problem = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._end: Callable[[], dict[str, float]] | None = None
        self._by_zeus: dict[str, float] | None = None

    def __enter__(self) -> "EnergyMeter":
        self._begin()
        if self._problem:
            begun = zeus_meter.begin()
            if isinstance(begun, str):
                self._problem += f"; {begun}"
            else:
                self._end = begun
        return self

    def _begin(self) -> None:
        folders = sorted(path for path in self._root.glob("*-rapl:*") if path.name.count(":") == 1)
        if not folders:
            self._problem = f"this machine has no RAPL counters in {self._root}"
            return
        try:
            self._counters = [_Counter(folder) for folder in folders]
        except PermissionError as error:
            self._problem = (
                f"no permission to read {error.filename}; `sudo chmod a+r {self._root}/*/energy_uj` gives it"
            )
        except (OSError, ValueError) as error:
            self._problem = f"the RAPL counters cannot be read: {error}"
        else:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._look()
        if self._end is not None:
            self._by_zeus = self._end()

    @property
    def result(self) -> Energy:
        """What was measured; complete once the block is left."""
        if self._by_zeus:
            return Energy(self._by_zeus, source="zeus")
        if self._problem:
            return Energy({}, self._problem)
        return Energy({counter.name: counter.microjoules / 1e6 for counter in self._counters})

    def _watch(self) -> None:
        while not self._stop.wait(self._sample_seconds):
            self._look()

    def _look(self) -> None:
        try:
            for counter in self._counters:
                counter.update()
        except (OSError, ValueError) as error:
            self._problem = f"the RAPL counters could not be read to the end: {error}"
