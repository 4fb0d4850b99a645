"""The terminal that commands print tables to: whatever stands in a file, it stays text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..display import shown

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """A `rich` console on standard output. Escape sequences and the like in what it is given are shown by their
    numbers, and markup that is none is shown as it stands.

    What comes from a file is escaped (`rich.markup.escape`) or a `Text` all the same: other markup would be obeyed.
    """
    from rich.console import Console
    from rich.errors import MarkupError
    from rich.segment import Segment
    from rich.text import Text

    class Safe(Console):
        def render(self, *args: Any, **options: Any) -> Iterable[Segment]:
            for text, style, control in super().render(*args, **options):
                yield Segment(text if control else _lines(text), style, control)

        def render_str(self, text: str, **options: Any) -> Text:
            try:
                return super().render_str(text, **options)
            except MarkupError:
                return Text(text)

    return Safe(highlight=False)


def _lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(shown, text.split("\n")))
