"""Groups the records of a comparison: rows per device and task, and per device over all tasks."""

from collections.abc import Iterable, Sequence

from .records.compare import Compared, ComparedResult
from .rows import Row, rows_of


def devices_of(comparison: Compared) -> list[str]:
    """The devices with results, in the order asked for."""
    return [device.device for device in comparison.devices]


def tasks_of(comparison: Compared) -> list[str]:
    """The tasks with results, in the order asked for."""
    return [task.task for task in comparison.tasks]


def rows_on(comparison: Compared, device: str, tasks: Iterable[str] | None = None) -> list[Row]:
    """Rows of one device: each holds the records of all seeds and of all `tasks` (None: every one of the device)."""
    wanted = None if tasks is None else set(tasks)
    return rows_of(
        record for record in comparison.results if record.device == device and (wanted is None or record.task in wanted)
    )


def common_tasks(comparison: Compared) -> list[str]:
    """Tasks that every device with results has: over these, devices can be compared."""
    done = {(cell.device, cell.task) for cell in comparison.cells if cell.status == "done"}
    return [task for task in tasks_of(comparison) if all((d, task) in done for d in devices_of(comparison))]


def tasks_in(rows: Iterable[Row]) -> list[str]:
    """The tasks whose records are in the rows."""
    records = [record for row in rows for record in row.records]
    return list(dict.fromkeys(record.task for record in records if isinstance(record, ComparedResult)))


def row_like(rows: Sequence[Row], wanted: Row) -> Row | None:
    """The row of the same method and placement; None when there is none."""
    return next((r for r in rows if (r.method, r.placement) == (wanted.method, wanted.placement)), None)


def never_wears(row: Row) -> bool:
    """Whether the endurance of the cells sets no limit: none is written, or they do not wear out."""
    return row.stat("endurance_share_per_task").mean == 0
