"""How a number stands in a device file, and where it comes from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal

STATUSES = ("read", "secondary", "derived", "unverified")
NULL_STATUSES = ("unknown", "inapplicable")
DEFAULT = "default"  # the status of a value that a file leaves out; of a number that is then null, "inapplicable"

SpecKind = Literal["number", "integer", "choice", "list", "relaxation"]


@dataclass(frozen=True)
class Spec:
    """How one field is written in a file and what it may hold.

    `key` is the place in the file (`section.name`), `unit` the SI unit ("" = plain number), `low`/`high` the allowed
    range (`open_low`: `low` itself is not allowed), `by` the key of the bit count that picks from a table of values
    (`any_bits`: a single value holds for every bit count, otherwise only for the one in the file). A file may leave a
    key out that has `absent`, which says what that means; its value is then `default`.
    """

    key: str
    unit: str
    meaning: str
    kind: SpecKind = "number"
    nullable: bool = False
    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    unlimited: bool = False
    choices: tuple[str, ...] = ()
    length: int | None = None
    by: str | None = None
    any_bits: bool = False
    absent: str = ""
    default: Any = None


def spec(key: str, unit: str, meaning: str, **options: Any) -> Any:
    return field(metadata={"spec": Spec(key, unit, meaning, **options)})


def specs(part: type) -> Iterator[tuple[str, Spec]]:
    """The (attribute name, `Spec`) pairs of a part's dataclass, in the order of the file."""
    for item in fields(part):
        if "spec" in item.metadata:
            yield item.name, item.metadata["spec"]


@dataclass(frozen=True)
class Range:
    """Between what sources differ about a number: SI values with their texts as written. `source`: a key of the
    references.
    """

    low: float
    high: float
    low_text: str
    high_text: str
    source: str
    note: str


@dataclass(frozen=True)
class Provenance:
    """Where one number comes from.

    `text` is the value as written ("40 uS"); `source` a key of the references (None for an unknown number or an
    override); `status` one of `STATUSES`, for null one of `NULL_STATUSES`, or "override" (set by the user). `range`:
    where the file gives one. It stays that of the file when the value is overridden.
    """

    text: str
    source: str | None
    status: str
    note: str
    range: Range | None = None


@dataclass(frozen=True)
class Reference:
    """One source: a paper, a manual, a program's source file, or a stated assumption."""

    key: str
    citation: str
    doi: str | None


@dataclass(frozen=True)
class RelaxationPoint:
    """Conductance around its target a time after the write, see `relaxation_form`: the coefficients of sigma(G), and of
    the mean distance from the target, sum_i c_i (G / reference)^i (empty: 0).
    """

    time_seconds: float
    sigma_coefficients_siemens: tuple[float, ...]
    mean_coefficients_siemens: tuple[float, ...] = ()
