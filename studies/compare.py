"""Every method on every device and task: one simulation for each pair of a device and a task, each kept when done."""

import dataclasses
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import load_chip
from ..errors import EdgeAdaptError, UsageError
from ..workloads.models import load_backbone
from ..workloads.pools import default_pool, load_pool
from ..workloads.tasks import load_task
from .compare_cells import CellStore, FinishedCell
from .compare_config import CompareConfig
from .compare_report import CellOutcome, assemble
from .config import SimulateConfig
from .progress import Progress
from .simulate import simulate
from .workbench import Variant, choose_variants

_UNITS = 1000  # of progress, a simulation


def compare(
    config: CompareConfig, out: Path, progress: Progress | None = None, command: str = "", jobs: int = 1
) -> dict[str, Any]:
    """Simulate what `out/cells` does not hold yet; returns the comparison as plain data (docs/compare-schema.md),
    without the findings, which `reports` adds.

    A simulation that fails is part of the result, with its message, and is tried again by the next call. Raises
    UsageError for names and options that do not fit, before anything is simulated. When it is interrupted, the
    finished simulations stay.
    """
    progress = progress or Progress()
    progress.stage("checking names and inputs")
    variants, left_out = check(config)
    # By name, so that the hash of a simulation says what ran, whatever `all` means later.
    named = tuple(f"{v.method.name}:{v.placement.value}" for v in variants)
    config = dataclasses.replace(config, study=dataclasses.replace(config.study, method=named))
    store = CellStore(out)
    found = {cell: store.load(cell) for cell in config.cells()}
    waiting = [cell for cell, done in found.items() if done is None]
    progress.start(_UNITS * len(waiting))
    outcomes = [
        CellOutcome(cell, done, kept=True) if done else _attempt(cell, store, _CellProgress(progress, cell, n), jobs)
        for n, (cell, done) in _numbered(found, waiting)
    ]
    return assemble(config, outcomes, left_out, command)


def check(config: CompareConfig) -> tuple[list[Variant], list[dict[str, str]]]:
    """Load every device, task, the model and the pool once: what is wrong with them ends the run before it starts.

    Returns the methods to compare, and of those that `all` stands for the ones that do not fit the model, each with
    the reason. Raises UsageError. Whether a device can be programmed, or a shipped task be fetched, is not asked here:
    that is a result of the comparison.
    """
    study = config.study
    variants = choose_variants(study.method, study.method_settings())
    for device in config.devices:
        load_chip(device, study.chip_settings())
    if study.pool is not None:
        load_pool(study.pool)
    for name in config.tasks:
        _check_task(name, study)
    backbone = load_backbone(study.model)
    by_name = {variant.title for variant in choose_variants(_without_all(study.method), study.method_settings())}
    fitting, left_out = [], []
    for variant in variants:
        try:
            pool = load_pool(study.pool or default_pool(backbone.name), backbone) if variant.method.needs_pool else None
            rng = np.random.default_rng(study.first_seed)
            variant.method.attach(backbone, 2, rng, placement=variant.placement, pool=pool)
        except UsageError as error:
            if variant.title in by_name:
                raise
            left_out.append(
                {"method": variant.method.name, "placement": variant.placement.value, "message": str(error)}
            )
        else:
            fitting.append(variant)
    return fitting, left_out


def _without_all(names: tuple[str, ...]) -> tuple[str, ...]:
    """The methods that were asked for by name; `frozen`, which fits everything, where there are none."""
    return tuple(name for name in names if name != "all") or ("frozen",)


def _check_task(name: str, study: SimulateConfig) -> None:
    try:
        load_task(name, study.test_examples, study.reading()).few_shot(study.shots[0], study.first_seed)
    except UsageError:
        raise
    except EdgeAdaptError:  # it cannot be fetched now: the table says so
        return


def _numbered(
    found: dict[SimulateConfig, FinishedCell | None], waiting: list[SimulateConfig]
) -> list[tuple[str, tuple[SimulateConfig, FinishedCell | None]]]:
    """Each cell with its number among those still to do, for the progress: "2 of 3"."""
    numbers = {cell: f"{n} of {len(waiting)}" for n, cell in enumerate(waiting, 1)}
    return [(numbers.get(cell, ""), (cell, done)) for cell, done in found.items()]


def _attempt(cell: SimulateConfig, store: CellStore, progress: "_CellProgress", jobs: int) -> CellOutcome:
    start = time.monotonic()
    try:
        report = simulate(cell, progress, command_of(cell), jobs)
    except EdgeAdaptError as error:
        return CellOutcome(cell, message=str(error), seconds=time.monotonic() - start)
    except MemoryError:
        return CellOutcome(cell, message="not enough memory: try --jobs 1", seconds=time.monotonic() - start)
    finally:
        progress.finish()
    done = FinishedCell(round(time.monotonic() - start, 3), report)
    store.save(cell, done)
    return CellOutcome(cell, done)


def command_of(config: SimulateConfig) -> str:
    """The `edge-adapt simulate` command of one simulation of the table."""
    words = ["edge-adapt", "simulate"]
    default = SimulateConfig()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "settings":
            words += [word for key, text in value for word in ("--set", f"{key}={text}")]
        elif value != getattr(default, field.name) or field.name in ("device", "task"):
            words += [f"--{field.name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


class _CellProgress(Progress):
    """Progress of one simulation as `_UNITS` of the whole."""

    def __init__(self, whole: Progress, cell: SimulateConfig, number: str):
        self._whole, self._cell, self._number = whole, cell, number
        self._total = self._done = self._passed = 0

    def start(self, total: int) -> None:
        self._total = total

    def stage(self, text: str) -> None:
        self._whole.stage(f"{self._number}, {self._cell.device}, {self._cell.task}: {text}")

    def advance(self, units: int = 1) -> None:
        self._done += units
        self._pass_on(min(_UNITS, _UNITS * self._done // max(1, self._total)))

    def finish(self) -> None:
        """Done, or failed: nothing is left of it."""
        self._pass_on(_UNITS)

    def _pass_on(self, units: int) -> None:
        self._whole.advance(units - self._passed)
        self._passed = units
