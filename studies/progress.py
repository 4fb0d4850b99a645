"""How long a run will still take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..progress import Progress, Work

__all__ = ["Estimate", "Progress", "Work"]

_TRUST_SECONDS = 5.0  # of measured work weigh as much as what was expected
_OVERDUE = 0.1  # of the time since the last news: what is left at least
_MUCH_LONGER = 1.5  # times what was expected of the longest kind without news: nothing is claimed about the rest


@dataclass
class _Kind:
    units: float
    expected: float | None
    done: float = 0.0
    seconds: float = 0.0


class Estimate:
    """How long a run takes, from what was expected of each kind of work and what was measured in this run.

    What one unit of a kind takes is its expectation at first, and more and more what its units have taken so far; a
    kind that has not begun yet is corrected by what the others have shown. Where several processes share the work, the
    time from one report to the next counts for the kind of the second: together they add up to the time that has
    passed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._began = self._news = clock()
        self._kinds: dict[str, _Kind] = {}
        self._share = 0.0

    def start(self, work: Work | float) -> None:
        """The work that lies ahead. A plain number: that many units of one kind, of which nothing is known."""
        kinds = work if isinstance(work, Mapping) else {"": (float(work), None)}
        self._kinds = {name: _Kind(float(units), expected) for name, (units, expected) in kinds.items()}
        self._news = self._clock()

    def advance(self, units: float = 1, kind: str = "") -> None:
        """So many units are done."""
        now = self._clock()
        found = self._kinds.setdefault(kind, _Kind(0.0, None))
        found.done += units
        found.seconds += now - self._news
        self._news = now

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, whatever was done in them."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until the end; None while nothing is known."""
        ahead = self._ahead()
        if not ahead:
            return None if ahead is None else 0.0
        since, longest = self._clock() - self._news, max(ahead)
        # Where even the longest kind would be done by now, the others will be as late as it is.
        late = max(1.0, since / longest) if longest else 1.0
        waiting = any(kind.done < kind.units for kind in self._kinds.values())
        return max(sum(ahead) * late - since, _OVERDUE * since if waiting else 0.0)

    @property
    def overdue(self) -> bool:
        """Whether there has been no news for so much longer than expected that what is left is anybody's guess."""
        ahead = self._ahead() or []
        return bool(ahead) and self._clock() - self._news > max(_MUCH_LONGER * max(ahead), _TRUST_SECONDS)

    @property
    def share(self) -> float | None:
        """Share of the whole time that has passed, 0..1; never less than what it was. None while nothing is known."""
        left = self.left
        if left is None:
            return None
        elapsed = self.elapsed
        self._share = max(self._share, elapsed / (elapsed + left) if elapsed + left > 0 else 0.0)
        return self._share

    def _ahead(self) -> list[float] | None:
        """Seconds of work of each kind that was ahead at the last news; None while nothing is known."""
        kinds = self._kinds.values()
        if not kinds:
            return None
        known = any(kind.expected is not None for kind in kinds)
        measured = sum(kind.seconds for kind in kinds if kind.done)
        planned = sum(kind.done * (kind.expected or 1.0) for kind in kinds)
        if known:
            factor = (_TRUST_SECONDS + measured) / (_TRUST_SECONDS + planned)
        elif planned:
            factor = measured / planned
        else:
            return None
        found = []
        for kind in kinds:
            each = factor * (kind.expected or 1.0)
            trust = _TRUST_SECONDS if kind.expected is not None else 0.0
            if kind.done:
                weight = trust / each if each else 0.0  # units that the expectation counts for
                each = (trust + kind.seconds) / (weight + kind.done) if weight + kind.done else each
            found.append(each * max(0.0, kind.units - kind.done))
        return found
