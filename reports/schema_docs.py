"""The documentation of the schemas: `python -m edge_adapt.reports.schema_docs report` prints `docs/report-schema.md`,
`... compare` prints `docs/compare-schema.md`, `... count` prints `docs/count-schema.md`, `... repair` prints
`docs/repair-schema.md`.
"""

import sys
from collections.abc import Iterable

from .records import (
    COMPARE_FIELDS,
    COMPARE_SCHEMA,
    COUNT_FIELDS,
    COUNT_SCHEMA,
    FIELDS,
    LABELS,
    REPAIR_FIELDS,
    REPAIR_SCHEMA,
    SCHEMA,
    Field,
)

_REPORT = f"""# The schema of `report.json`

`edge-adapt simulate` writes `report.json`, and `--json` prints the same object. Schema: `{SCHEMA}`.
Made by `python -m edge_adapt.reports.schema_docs report > docs/report-schema.md`; a test keeps the two in step.

- All values are SI, with the unit in the key (`_joules`, `_seconds`, `_siemens`, `_square_meters`); accuracies are
  fractions from 0 to 1. The file is strict JSON: no NaN, no infinity.
- Every field is present; fields marked *or null* are `null` where the value is unknown or does not apply. A field that
  is not listed here is an error.
- `[]` stands for every entry of a list.
- Label: *given* (an option or a fact of the input), *counted* (exact), *simulated*, *estimated* (computed without
  simulating every event), or *record*: the `label` of the same record says which of {", ".join(LABELS)} holds.
- `adaptation_energy_by_component_joules` and `inference_energy_by_component_joules` add up to their totals. The
  components are `cells_read`, `cells_write`, `write_access`, `write_pump`, `lines`, `dac`, `adc`, `sample_hold`,
  `shift_add`, `buffer`, `router`, `digital`, `sram`, `dram`, and four kinds of standing power: `leakage` (of arrays),
  `pump_leakage`, `digital_leakage` and `sram_leakage`. `edge-adapt explain` prints the multiplication behind a total
  (docs/energy.md).
"""

_COMPARE = f"""# The schema of `compare.json`

`edge-adapt compare` writes `compare.json`, and `--json` prints the same object. Schema: `{COMPARE_SCHEMA}`.
Made by `python -m edge_adapt.reports.schema_docs compare > docs/compare-schema.md`; a test keeps the two in step.

- Units, kinds and labels are those of [report-schema.md](report-schema.md); so are the fields of `model`, `pool`,
  `results[]`, `tasks[]` and `references[]` that are not listed here.
- Every field is present. The file is strict JSON: no NaN, no infinity.
- `cells/DEVICE-TASK-HASH.json` beside it holds each finished simulation: `report` is its whole `report.json`. It is
  used again as long as everything that decides its result is the same, which its `key` lists: the options; the contents
  of the chip (with its cell, its periphery and `--set`), the model, the pool, the task and the methods' settings; the
  code and the version of edge-adapt; the versions of the packages that compute; how the processor multiplies. Where the
  files lie, and when they were written, does not count.
"""

_COUNT = f"""# The schema of a count

`edge-adapt count` writes `report.json` with `--out`, and `--json` prints the same object. Schema: `{COUNT_SCHEMA}`.
Made by `python -m edge_adapt.reports.schema_docs count > docs/count-schema.md`; a test keeps the two in step.

- Units, kinds and labels are those of [report-schema.md](report-schema.md); so are the fields of `device`,
  `programming.backbone`, `programming.pool` and `references[]`, which are not listed here.
- Every field is present. The file is strict JSON: no NaN, no infinity.
- [energy.md](energy.md) says how everything is counted, and what is estimated.
"""

_REPAIR = f"""# The schema of `repair.json`

`edge-adapt repair` writes `repair.json`, and `--json` prints the same object. Schema: `{REPAIR_SCHEMA}`.
Made by `python -m edge_adapt.reports.schema_docs repair > docs/repair-schema.md`; a test keeps the two in step.

- Units, kinds and labels are those of [report-schema.md](report-schema.md). [repair.md](repair.md) says what is done.
- Every field is present. The file is strict JSON: no NaN, no infinity.
"""

_HEADING = """
| Field | Kind | Unit | Label | Meaning |
|---|---|---|---|---|
"""


def report_schema() -> str:
    """The text of `docs/report-schema.md`."""
    return _REPORT + _HEADING + _rows(FIELDS)


def compare_schema() -> str:
    """The text of `docs/compare-schema.md`."""
    return _COMPARE + _HEADING + _rows(COMPARE_FIELDS)


def count_schema() -> str:
    """The text of `docs/count-schema.md`."""
    return _COUNT + _HEADING + _rows(COUNT_FIELDS)


def repair_schema() -> str:
    """The text of `docs/repair-schema.md`."""
    return _REPAIR + _HEADING + _rows(REPAIR_FIELDS)


def _rows(fields: Iterable[Field]) -> str:
    lines = []
    for field in fields:
        kind = field.kind.words + (" or null" if field.nullable else "")
        meaning = field.meaning + (f"; one of {', '.join(f'`{c}`' for c in field.choices)}" if field.choices else "")
        cells = (f"`{field.path}`", kind, field.unit or "–", field.label, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(lines)


_PAGES = {"report": report_schema, "compare": compare_schema, "count": count_schema, "repair": repair_schema}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in _PAGES:
        sys.exit(f"give one of {', '.join(_PAGES)}")
    print(_PAGES[sys.argv[1]](), end="")
