"""A user's own task: a CSV file (with header) or a JSONL file, each example with a text and a label.

It is read by the code that reads it on the device, so that both see the same examples.
"""

from pathlib import Path

from ...runtime.examples import SUFFIXES, Reading, load_examples

__all__ = ["SUFFIXES", "read"]


def read(path: Path, reading: Reading | None = None) -> tuple[list[tuple[str, str]], list[str]]:
    """(text, label) of every example, and what was left out, in words.

    Raises:
        UsageError: file name, encoding, columns or an example is wrong; the message names the line.
    """
    examples, messages = load_examples(path, reading)
    return [(example.text, example.label) for example in examples], messages
