"""Devices as data: cells, peripheries and chips from YAML files, in SI units, every number with its source.

Importing this is cheap; pint is imported when the first file is loaded.
"""

from .describe import (
    Difference,
    describe,
    describe_chip,
    diff,
    find_any,
    references_used,
    unknown_numbers,
    validate,
)
from .presets import list_presets, load_cell, load_chip, load_periphery, preset_paths
from .schema import Array, Cell, Chip, Periphery, Provenance, Reference, RelaxationPoint

__all__ = [
    "Array",
    "Cell",
    "Chip",
    "Difference",
    "Periphery",
    "Provenance",
    "Reference",
    "RelaxationPoint",
    "describe",
    "describe_chip",
    "diff",
    "find_any",
    "list_presets",
    "load_cell",
    "load_chip",
    "load_periphery",
    "preset_paths",
    "references_used",
    "unknown_numbers",
    "validate",
]
