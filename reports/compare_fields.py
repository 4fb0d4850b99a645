"""The fields of `compare.json` (schema `edge-adapt/compare/1`) as data, and their documentation.

`python -m edge_adapt.reports.compare_fields` prints `docs/compare-schema.md`. Paths and kinds are those of `fields.py`.
"""

from .fields import FIELDS, KINDS, Field

COMPARE_SCHEMA = "edge-adapt/compare/1"

_HEADER = (
    Field("schema", "text", "name and version of this schema", choices=(COMPARE_SCHEMA,)),
    Field("created", "time", "when the comparison was put together"),
    Field("command", "text", "the command line that gives it again"),
    Field("config", "free", "every option with its value; `methods` name each method and placement that ran"),
    Field("config_hash", "text", "hash of `config`: equal hash, equal comparison"),
    Field("versions", "words", "package name to version"),
    Field("seeds", "integers", "seeds of the runs", at_least=1),
    Field("model", "free", "the backbone, as `model` of report.json; null when every simulation failed", nullable=True),
    Field("pool", "free", "the pool, as `pool` of report.json; null without one", nullable=True),
    Field("tasks", "list", "the tasks with results; beside `task`, the fields of `task` of report.json"),
    Field("tasks[].task", "text", "name or file as given"),
)
_DEVICES = (
    Field("devices", "list", "the chips with results"),
    Field("devices[].device", "text", "name or file as given"),
    *(Field(f"devices[].{name}", "text", f"as `device.{name}` of report.json")
      for name in ("title", "cell", "periphery", "technology")),
    Field("devices[].arrays_used", "integer", "arrays that hold backbone and pool", "1", "counted"),
    Field("devices[].area_square_meters", "amount", "silicon area", "m²", "estimated", nullable=True),
    Field("devices[].unknown", "texts", "numbers that no source gives, each with what was done about it"),
    Field("devices[].programming", "free",
          "the one-time programming: `programming` of report.json without histogram, event counts and ratios",
          label="simulated"),
)  # fmt: skip
_CELLS = (
    Field("cells", "list", "one simulation for each device and task", at_least=1),
    Field("cells[].device", "text", "name or file as given"),
    Field("cells[].task", "text", "name or file as given"),
    Field("cells[].status", "text", "how it ended", choices=("done", "failed")),
    Field("cells[].message", "text", "why it failed; empty when it is done"),
    Field("cells[].seconds", "amount", "wall time of this simulation", "s", "measured"),
    Field("cells[].kept", "text", "true when an earlier call had finished it with the same inputs"),
    Field("cells[].changed", "texts", "what has changed since an earlier call had finished it, where it ran again"),
    Field("cells[].config_hash", "text", "`config_hash` of its report"),
    Field("cells[].created", "time", "when it ended; null when it failed", nullable=True),
)
_RESULTS = (
    Field("results", "list", "one record per device × task × method × placement × seed; beside `device` and `task`, "
          "all fields of `results[]` of report.json"),
    Field("results[].device", "text", "name or file as given"),
    Field("results[].task", "text", "name or file as given"),
)  # fmt: skip
_CONCLUSIONS = (
    Field("findings", "list", "what follows, in sentences computed from the records: which method wins under which "
          "energy budget on each device, the cheapest device, drift, lifetime, programming, failures"),
    Field("findings[].topic", "text", "what it is about"),
    Field("findings[].text", "text", "the sentence"),
    Field("left_out", "list", "methods of `all` that do not fit the model"),
    Field("left_out[].method", "text", "method"),
    Field("left_out[].placement", "text", "placement"),
    Field("left_out[].message", "text", "why"),
    Field("messages", "texts", "what the reader should know, each with the devices it holds for where not for all"),
    Field("references", "list", "papers the numbers come from, as `references` of report.json"),
)  # fmt: skip
#: fields of report.json that stand in the comparison unchanged: prefix here -> prefix there
SAME_AS = {"results[].": "results[].", "tasks[].": "task.", "references[].": "references[]."}

COMPARE_FIELDS: tuple[Field, ...] = (*_HEADER, *_DEVICES, *_CELLS, *_RESULTS, *_CONCLUSIONS)

_INTRODUCTION = f"""# The schema of `compare.json`

`edge-adapt compare` writes `compare.json`, and `--json` prints the same object. Schema: `{COMPARE_SCHEMA}`.
Made by `python -m edge_adapt.reports.compare_fields > docs/compare-schema.md`; a test keeps the two in step.

- Units, kinds and labels are those of [report-schema.md](report-schema.md); so are the fields of `results[]`, `tasks[]`
  and `references[]` that are not listed here.
- Every field is present. The file is strict JSON: no NaN, no infinity.
- `cells/DEVICE-TASK-HASH.json` beside it holds each finished simulation: `report` is its whole `report.json`. It is
  used again as long as everything that decides its result is the same, which its `key` lists: the options; the contents
  of the chip (with its cell, its periphery and `--set`), the model, the pool, the task and the methods' settings; the
  code and the version of edge-adapt; the versions of the packages that compute; how the processor multiplies. Where the
  files lie, and when they were written, does not count.

| Field | Kind | Unit | Label | Meaning |
|---|---|---|---|---|
"""


def documented(prefix: str) -> set[str]:
    """The names of the fields under `prefix` ("", "results[]." and so on), those of report.json included."""
    fields = [field.path.removeprefix(prefix) for field in COMPARE_FIELDS if field.path.startswith(prefix)]
    if prefix in SAME_AS:
        there = SAME_AS[prefix]
        fields += [field.path.removeprefix(there) for field in FIELDS if field.path.startswith(there)]
    return {name for name in fields if "." not in name}


def markdown() -> str:
    """The text of `docs/compare-schema.md`."""
    lines = []
    for field in COMPARE_FIELDS:
        kind = "true or false" if field.path == "cells[].kept" else KINDS[field.kind]
        kind += " or null" if field.nullable else ""
        meaning = field.meaning + (f"; one of {', '.join(f'`{c}`' for c in field.choices)}" if field.choices else "")
        lines.append("| " + " | ".join((f"`{field.path}`", kind, field.unit or "–", field.label, meaning)) + " |")
    return _INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
