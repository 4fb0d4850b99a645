"""Renders `compare.html`: one file with its styles and figures inside, which loads nothing."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from . import compare_tables, tables
from .canvas import Drawing, colours_of, in_both_widths, page_colours
from .compare_rows import rows_on, tasks_of
from .figure_accuracy import energy_panels
from .figure_metrics import metrics_by_device
from .records import LABELS
from .records.compare import Compared
from .values import count, duration


def method_colours(comparison: Compared) -> dict[str, str]:
    """One colour for each method, in every figure and table of the page."""
    return colours_of(record.method for record in comparison.results)


def draw_all(comparison: Compared) -> dict[str, Drawing]:
    """The figures of every task with results, by name: `pareto-N` and `metrics-N`, N = number of the task."""
    from .uncertainty import Errors

    colours = method_colours(comparison)
    found = []
    tasks = {entry.task: entry for entry in comparison.tasks}
    for number, task in enumerate(tasks_of(comparison), 1):
        groups = {device.device: rows_on(comparison, device.device, [task]) for device in comparison.devices}
        groups = {device: rows for device, rows in groups.items() if rows}
        found += [
            in_both_widths(
                partial(
                    energy_panels, groups, colours, f"pareto-{number}", f"Accuracy against energy, {task}",
                    Errors.of_task(tasks[task]),
                )
            ),
            in_both_widths(
                partial(metrics_by_device, groups, colours, f"metrics-{number}", f"Methods and devices, {task}")
            ),
        ]  # fmt: skip
    return {drawing.name: drawing for drawing in found if drawing is not None}


def render(comparison: Compared, drawings: Mapping[str, Drawing]) -> str:
    """The page of a comparison with its figures. All texts are escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("compare.html.j2").render(**_context(comparison, drawings))


def _context(comparison: Compared, drawings: Mapping[str, Drawing]) -> dict[str, Any]:
    colours = method_colours(comparison)
    sections = [
        (f"task-{n}", task, compare_tables.results(comparison, task, colours), f"pareto-{n}", f"metrics-{n}")
        for n, task in enumerate(tasks_of(comparison), 1)
    ]
    used = {record.label for record in comparison.results}
    return {
        "comparison": comparison,
        "drawings": drawings,
        "colours": page_colours(),
        "variables": {light: name for name, (light, _) in page_colours().items()},
        "labels": [label for label in LABELS if label in used],
        "facts": facts(comparison),
        "failures": [cell for cell in comparison.cells if cell.status == "failed"],
        "sections": sections,
        "devices": compare_tables.devices(comparison) if comparison.devices else None,
        "cells": compare_tables.cells(comparison),
        "references": tables.references(comparison.references),
        "configuration": tables.mapping(f"Configuration {comparison.config_hash}.", comparison.config),
        "versions": tables.mapping("Versions.", comparison.versions),
    }


def facts(comparison: Compared) -> list[tuple[str, str]]:
    """(subject, line) for what was compared, for the terminal and the page."""
    model, pool, cells = comparison.model, comparison.pool, comparison.cells
    lines = []
    if model is not None:
        lines.append(
            ("Model", f"{model.name}: {count(model.parameters)} parameters, {count(model.weights_in_cells)} "
             f"weights in cells, {model.blocks} blocks of width {model.hidden_size}")
        )  # fmt: skip
    if pool is not None:
        tasks = ", ".join(dict.fromkeys(module.task or "task unknown" for module in pool.modules))
        lines.append(("Pool", f"{pool.path}: {len(pool.modules)} modules ({tasks})"))
    lines += [
        ("Task", f"{task.task} ({', '.join(task.labels)}): {count(task.test_examples)} test examples; "
         f"{task.source}")
        for task in comparison.tasks
    ]  # fmt: skip
    lines += [("Left out", f"{method.method}: {method.message}") for method in comparison.left_out]
    failed, kept = sum(cell.status == "failed" for cell in cells), sum(cell.kept for cell in cells)
    seeds = comparison.seeds
    (shots,) = comparison.config["shots"]
    seed_list = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    run = (
        f"{len(cells)} simulations (device × task), {failed} failed"
        f"{f', {kept} kept from an earlier call, same inputs' if kept else ''}; {shots} shots, {seed_list}; "
        f"{duration(sum(cell.seconds for cell in cells))} of work; configuration {comparison.config_hash}"
    )
    return [*lines, ("Run", run)]
