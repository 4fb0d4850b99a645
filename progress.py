"""What a long run tells about itself while it goes on."""

from collections.abc import Mapping

Work = Mapping[str, tuple[float, float | None]]
"""Kind of work -> (units of it, seconds that one is expected to take; None: nobody knows)."""


class Progress:
    """Silent; commands give one that shows. `start` names the work, `advance` what of it has been done."""

    def start(self, work: Work | float) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...
    def say(self, text: str) -> None:
        """A line that stays."""
