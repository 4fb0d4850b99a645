"""What a device file may say: one frozen dataclass per part, one `Spec` per number, a file for each part.

Each field carries its own specification (key in the YAML file, SI unit, range, meaning), so that the loader, the
command line, the override keys and the table in `devices/README.md` all come from this one place.
All values are SI floats; `None` means that the sources do not give the number.
"""

from .array import Array
from .cell import TECHNOLOGIES, Cell
from .chip import KINDS, PARTS, Chip
from .periphery import Periphery
from .values import DEFAULT, NULL_STATUSES, STATUSES, Provenance, Range, Reference, RelaxationPoint, Spec, specs

__all__ = [
    "DEFAULT",
    "KINDS",
    "NULL_STATUSES",
    "PARTS",
    "STATUSES",
    "TECHNOLOGIES",
    "Array",
    "Cell",
    "Chip",
    "Periphery",
    "Provenance",
    "Range",
    "Reference",
    "RelaxationPoint",
    "Spec",
    "specs",
]
