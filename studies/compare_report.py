"""From the simulations of a comparison to one object: plain data, every figure with its unit in the key."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .._version import __version__
from .compare_cells import FinishedCell
from .compare_config import CompareConfig
from .config import SimulateConfig

COMPARE_SCHEMA = "edge-adapt/compare/1"
_PROGRAMMING = ("cells", "pulses_mean", "pulses_p95", "failed_cells", "energy_joules", "time_seconds",
                "weight_error_relative", "backbone", "pool", "label")  # fmt: skip
_DEVICE = ("title", "cell", "periphery", "technology")


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

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the report."""
        return {
            "device": self.config.device,
            "task": self.config.task,
            "status": "done" if self.done else "failed",
            "message": self.message,
            "seconds": self.done.seconds if self.done else round(self.seconds, 3),
            "kept": self.kept,
            "changed": list(self.changed),
            "config_hash": self.config.digest(),
            "created": self.done.report["created"] if self.done else None,
        }


def assemble(
    config: CompareConfig, outcomes: list[CellOutcome], left_out: list[dict[str, str]], command: str
) -> dict[str, Any]:
    """The comparison (docs/compare-schema.md), all but its findings."""
    done = [(outcome.config, outcome.done.report) for outcome in outcomes if outcome.done]
    versions = done[0][1]["versions"] if done else {"edge_adapt": __version__}  # of all: others run again
    return {
        "schema": COMPARE_SCHEMA,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "config": config.as_dict(),
        "config_hash": config.digest(),
        "versions": versions,
        "seeds": list(config.study.seed_numbers),
        "model": done[0][1]["model"] if done else None,
        "pool": done[0][1]["pool"] if done else None,
        "tasks": [{"task": given} | found for given, found in _first(done, "task").items()],
        "devices": [_device(given, found) for given, found in _first_reports(done).items()],
        "cells": [outcome.as_dict() for outcome in outcomes],
        "results": [
            {"device": cell.device, "task": cell.task} | record for cell, report in done for record in report["results"]
        ],
        "left_out": left_out,
        "messages": messages(done),
        "references": references(report["references"] for _, report in done),
    }


def _first(done: list[tuple[SimulateConfig, dict[str, Any]]], name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for cell, report in done:
        found.setdefault(getattr(cell, name), report[name])
    return found


def _first_reports(done: list[tuple[SimulateConfig, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """One report of each device: all its tasks share the chip."""
    found: dict[str, dict[str, Any]] = {}
    for cell, report in done:
        found.setdefault(cell.device, report)
    return found


def _device(given: str, report: dict[str, Any]) -> dict[str, Any]:
    device = report["device"]
    return {
        "device": given,
        **{name: device[name] for name in _DEVICE},
        "arrays_used": device["array"]["arrays_used"],
        "area_square_meters": device["area_square_meters"].get("total"),
        "unknown": device["unknown"],
        "programming": {name: report["programming"][name] for name in _PROGRAMMING},
    }


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


def references(lists: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All references once, each with everything it is used for."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for entries in lists:
        for entry in entries:
            known = merged.setdefault((entry["key"], entry["citation"]), {**entry, "used_for": []})
            known["used_for"] += [use for use in entry["used_for"] if use not in known["used_for"]]
    return list(merged.values())
