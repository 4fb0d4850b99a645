"""The documentation of the schema: `python -m edge_adapt.reports.schema_docs` prints `docs/report-schema.md`."""

from .fields import FIELDS, KINDS, LABELS, SCHEMA

_INTRODUCTION = f"""# The schema of `report.json`

`edge-adapt simulate` writes `report.json`, and `--json` prints the same object. Schema: `{SCHEMA}`.
Made by `python -m edge_adapt.reports.schema_docs > docs/report-schema.md`; a test keeps the two in step.

- All values are SI, with the unit in the key (`_joules`, `_seconds`, `_siemens`, `_square_meters`); accuracies are
  fractions from 0 to 1. The file is strict JSON: no NaN, no infinity.
- Every field is present; fields marked *or null* are `null` where the value is unknown or does not apply. A field that
  is not listed here is an error.
- `[]` stands for every entry of a list.
- Label: *given* (an option or a fact of the input), *counted* (exact), *simulated*, *estimated* (computed without
  simulating every event), or *record*: the `label` of the same record says which of {", ".join(LABELS)} holds.
- `adaptation_energy_by_component_joules` and `inference_energy_by_component_joules` add up to their totals. The
  components are `cells_read`, `cells_write`, `lines`, `dac`, `adc`, `sample_hold`, `shift_add`, `buffer`, `router`,
  `digital`, `sram` and `leakage`. `edge-adapt explain` prints the multiplication behind a total (docs/energy.md).

| Field | Kind | Unit | Label | Meaning |
|---|---|---|---|---|
"""


def markdown() -> str:
    """The text of `docs/report-schema.md`."""
    lines = []
    for field in FIELDS:
        kind = KINDS[field.kind] + (" or null" if field.nullable else "")
        meaning = field.meaning + (f"; one of {', '.join(f'`{c}`' for c in field.choices)}" if field.choices else "")
        cells = (f"`{field.path}`", kind, field.unit or "–", field.label, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return _INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
