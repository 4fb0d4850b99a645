"""Prints the table of docs/simulator.md."""

from . import table

print(table(), end="")
