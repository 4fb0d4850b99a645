"""A report from its file or folder, checked."""

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..inputs import NotJsonError, read_json
from .records import REPORTS
from .schema import MissingFieldError, ReportError, validate

_FILES = ("report.json", "compare.json")


def read_report(path: Path) -> dict[str, Any]:
    """The report in a folder (`report.json` or `compare.json`) or file, checked against its schema. A file of the
    folder `cells` of a comparison is the report of that simulation.

    Raises:
        UsageError: there is none, it cannot be read, or it is of something else.
        ReportError: a field is missing or wrong; the message names it.
    """
    file = path
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).exists()]
        if not found:
            raise UsageError(f"there is no report in {str(path)!r}: it holds neither {' nor '.join(_FILES)}")
        file = found[0]
    try:
        data = read_json(file)
    except FileNotFoundError:
        raise UsageError(
            f"there is no report {str(file)!r}; `edge-adapt simulate`, `compare` and `count` write one: give its "
            "folder or its JSON file"
        ) from None
    except (OSError, NotJsonError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the report {str(file)!r}: {said}") from None
    if isinstance(data, dict) and "key" in data and isinstance(data.get("report"), dict):
        data = data["report"]
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema == "edge-adapt/simulate/1":
        raise UsageError(
            f"{str(file)!r} is a report of an earlier version (schema {schema!r}), without the answers and chips of "
            "each run: run its `command` again"
        )
    if not isinstance(schema, str) or schema not in REPORTS:
        raise UsageError(
            f"{str(file)!r} is no report of `edge-adapt simulate`, `compare` or `count`: its schema is {schema!r}"
        )
    try:
        validate(data)
    except MissingFieldError as error:
        raise ReportError(f"{error}; a report of an earlier version may lack it: run its `command` again") from None
    return dict(data)
