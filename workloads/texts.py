"""When two texts count as the same: the check against leaks between tasks."""

from collections.abc import Iterable


def normalise(text: str) -> str:
    """The form in which texts are compared: case folded, runs of white space made one blank."""
    return " ".join(text.casefold().split())


def overlap(texts_a: Iterable[str], texts_b: Iterable[str]) -> set[str]:
    """The normalised texts that occur in both."""
    return {normalise(text) for text in texts_a} & {normalise(text) for text in texts_b}
