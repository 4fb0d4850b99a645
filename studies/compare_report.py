"""From the simulations of a comparison to one object, typed (`reports/records/compare.py`)."""

import dataclasses
import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .._version import __version__
from ..reports.records import COMPARE_SCHEMA, from_plain
from ..reports.records.compare import (
    Compared,
    ComparedCell,
    ComparedDevice,
    ComparedProgramming,
    ComparedResult,
    ComparedTask,
    LeftOut,
)
from ..reports.records.conclusions import Reference
from ..reports.records.device import Device
from ..reports.records.workload import Model, Pool
from .compare_cells import FinishedCell
from .compare_config import CompareConfig
from .config import SimulateConfig


@dataclass(frozen=True)
class CellOutcome:
    """One simulation of the table: `done`, `kept` from an earlier call, or failed with a message. `changed`: why one
    that had been done ran again.
    """

    config: SimulateConfig
    done: FinishedCell | None = None
    kept: bool = False
    message: str = ""
    seconds: float = 0.0
    changed: tuple[str, ...] = ()

    def record(self) -> ComparedCell:
        """What the comparison says of it."""
        return ComparedCell(
            device=self.config.device,
            task=self.config.task,
            status="done" if self.done else "failed",
            message=self.message,
            seconds=self.done.seconds if self.done else round(self.seconds, 3),
            kept=self.kept,
            changed=list(self.changed),
            config_hash=self.config.digest(),
            created=self.done.report["created"] if self.done else None,
        )


def assemble(config: CompareConfig, outcomes: list[CellOutcome], left_out: list[LeftOut], command: str) -> Compared:
    """The comparison (docs/compare-schema.md), all but its findings."""
    done = [(outcome.config, outcome.done.report) for outcome in outcomes if outcome.done]
    first: dict[str, Any] = done[0][1] if done else {"versions": {"edge_adapt": __version__}}
    tasks: dict[str, dict[str, Any]] = {}
    for cell, report in done:
        tasks.setdefault(cell.task, report["task"])
    return Compared(
        schema=COMPARE_SCHEMA,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        config=config.as_dict(),
        config_hash=config.digest(),
        versions=first["versions"],
        seeds=list(config.study.seed_numbers),
        model=from_plain(Model, first["model"]) if done else None,
        pool=from_plain(Pool, first["pool"]) if done and first["pool"] else None,
        tasks=[from_plain(ComparedTask, {"task": given} | found) for given, found in tasks.items()],
        devices=[_device(given, found) for given, found in _first_reports(done).items()],
        cells=[outcome.record() for outcome in outcomes],
        results=[
            from_plain(ComparedResult, {"device": cell.device, "task": cell.task} | found)
            for cell, report in done for found in report["results"]
        ],
        left_out=left_out,
        messages=messages(done),
        references=references(report["references"] for _, report in done),
    )  # fmt: skip


def _first_reports(done: list[tuple[SimulateConfig, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """One report of each device: all its tasks share the chip."""
    found: dict[str, dict[str, Any]] = {}
    for cell, report in done:
        found.setdefault(cell.device, report)
    return found


def _device(given: str, report: dict[str, Any]) -> ComparedDevice:
    device = from_plain(Device, report["device"])
    return ComparedDevice(
        device=given,
        title=device.title,
        cell=device.cell,
        periphery=device.periphery,
        technology=device.technology,
        arrays_used=device.array.arrays_used,
        area_square_meters=device.area_square_meters.get("total"),
        unknown=device.unknown,
        programming=from_plain(ComparedProgramming, report["programming"]),
    )


def messages(done: list[tuple[SimulateConfig, dict[str, Any]]]) -> list[str]:
    """The messages of all simulations, each once, with the devices it holds for where these are not all."""
    devices: dict[str, list[str]] = {}
    for cell, report in done:
        for message in report["messages"]:
            holders = devices.setdefault(message, [])
            if cell.device not in holders:
                holders.append(cell.device)
    every = {cell.device for cell, _ in done}
    return [
        text if every == set(holders) and len(every) > 1 else f"{', '.join(holders)}: {text}"
        for text, holders in devices.items()
    ]


def references(lists: Iterable[list[dict[str, Any]]]) -> list[Reference]:
    """All references once, each with everything it is used for."""
    merged: dict[tuple[str, str], Reference] = {}
    for entries in lists:
        for found in (from_plain(Reference, entry) for entry in entries):
            known = merged.get((found.key, found.citation), dataclasses.replace(found, used_for=[]))
            uses = list(dict.fromkeys([*known.used_for, *found.used_for]))
            merged[found.key, found.citation] = dataclasses.replace(known, used_for=uses)
    return list(merged.values())
