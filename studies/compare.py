"""Every method on every device and task: one simulation for each pair of a device and a task, each kept when done."""

import dataclasses
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import load_chip
from ..errors import EdgeAdaptError, UsageError, out_of_memory
from ..reports.records import plain
from ..reports.records.compare import LeftOut
from ..workloads.pools import default_pool, load_pool
from ..workloads.tasks import load_task
from .compare_cells import CellStore, FinishedCell
from .compare_config import CompareConfig
from .compare_keys import InputKeys, Key, changes
from .compare_report import CellOutcome, assemble
from .config import SimulateConfig
from .parts import AS_IT_IS
from .progress import Estimate, Progress, Work
from .simulate import simulate
from .variants import Variant, choose_variants
from .workbench import require_trainer

_UNITS = 1000  # of progress, a simulation


def compare(
    config: CompareConfig, out: Path, progress: Progress | None = None, command: str = "", jobs: int = 1
) -> dict[str, Any]:
    """Simulate what `out/cells` does not hold of these very inputs; returns the comparison as plain data
    (docs/compare-schema.md), without the findings, which `reports` adds.

    A simulation that fails is part of the result, with its message, and is tried again by the next call. Raises
    UsageError for names and options that do not fit, before anything is simulated. When it is interrupted, the
    finished simulations stay.
    """
    progress = progress or Progress()
    progress.stage("checking names and inputs")
    variants, left_out, keys = check(config)
    # By name, so that the hash of a simulation says what ran, whatever `all` means later.
    named = tuple(f"{v.method.name}:{v.placement.value}" for v in variants)
    config = dataclasses.replace(config, study=dataclasses.replace(config.study, method=named))
    store = CellStore(out)
    jobs_to_do = [_Job.of(cell, keys, store) for cell in config.cells()]
    waiting = [job for job in jobs_to_do if job.done is None]
    for line in reused(jobs_to_do):
        progress.say(line)
    whole = _Whole(progress, len(waiting))
    outcomes = []
    for job in jobs_to_do:
        if job.done is not None:
            outcomes.append(CellOutcome(job.cell, placed(job.done, job.cell, keys), kept=True))
            continue
        outcomes.append(_attempt(job, store, _CellProgress(whole, job.cell, waiting.index(job) + 1), jobs))
    return plain(assemble(config, outcomes, left_out, command))


@dataclass(frozen=True)
class _Job:
    """One simulation of the table: what decides its result, and the kept result if there is one.

    `key` is None where the inputs cannot be had now; `changed` says what differs from a kept one.
    """

    cell: SimulateConfig
    key: Key | None
    done: FinishedCell | None
    changed: tuple[str, ...]

    @classmethod
    def of(cls, cell: SimulateConfig, keys: InputKeys, store: CellStore) -> "_Job":
        key = keys.of(cell)
        done = None if key is None else store.load(cell, key)
        return cls(cell, key, done, tuple(store.changed(cell, key)) if key is not None and done is None else ())


def reused(jobs: list[_Job]) -> list[str]:
    """What a comparison says before it starts: how many simulations are kept, and why others run again."""
    kept = sum(job.done is not None for job in jobs)
    lines = []
    if kept:
        are = "simulation is" if len(jobs) == 1 else "simulations are"
        lines.append(f"{kept} of {len(jobs)} {are} kept from an earlier call, same inputs")
    lines += [
        f"{job.cell.device}, {job.cell.task} runs again; changed: {'; '.join(job.changed)}"
        for job in jobs
        if job.changed
    ]
    return lines


def placed(done: FinishedCell, cell: SimulateConfig, keys: InputKeys) -> FinishedCell:
    """A kept simulation as one of `cell`: its inputs may have lain elsewhere, or been given in other words."""
    report = done.report
    task = {**report["task"], "source": keys.source(cell.task)}
    pool = report["pool"]
    if pool is not None:
        pool = {**pool, "path": cell.pool or f"the shipped pool of {keys.backbone.name}"}
    here = {"config": cell.as_dict(), "config_hash": cell.digest(), "command": command_of(cell)}
    return FinishedCell(done.seconds, {**report, **here, "task": task, "pool": pool})


def check(config: CompareConfig) -> tuple[list[Variant], list[LeftOut], InputKeys]:
    """Load every device, task, the model and the pool once: what is wrong with them ends the run before it starts.

    Returns the methods to compare; of those that `all` stands for the ones that do not fit the model, each with the
    reason; and the maker of keys, which has loaded the inputs. Raises UsageError. Whether a device can be programmed,
    or a shipped task be fetched, is not asked here: that is a result of the comparison.
    """
    study = config.study
    variants = choose_variants(study.method, study.method_settings())
    require_trainer(study, variants)
    for device in config.devices:
        load_chip(device, study.chip_settings())
    if study.pool is not None:
        load_pool(study.pool)
    for name in config.tasks:
        _check_task(name, study)
    keys = InputKeys(study)
    backbone = keys.backbone
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
            left_out.append(LeftOut(method=variant.method.name, placement=variant.placement.value, message=str(error)))
        else:
            fitting.append(variant)
    return fitting, left_out, keys


def _without_all(names: tuple[str, ...]) -> tuple[str, ...]:
    """The methods that were asked for by name; the one that fits everything where there are none."""
    return tuple(name for name in names if name != "all") or (AS_IT_IS,)


def _check_task(name: str, study: SimulateConfig) -> None:
    try:
        few = load_task(name, study.test_examples, study.reading()).few_shot(study.shots[0], study.first_seed)
        for variant in choose_variants(study.method, study.method_settings()):
            variant.method.recipe.schedule(len(few.train))
    except UsageError:
        raise
    except EdgeAdaptError:  # it cannot be fetched now: the table says so
        return


def _attempt(job: _Job, store: CellStore, progress: "_CellProgress", jobs: int) -> CellOutcome:
    cell, start = job.cell, time.monotonic()
    seconds = lambda: round(time.monotonic() - start, 3)
    failed = lambda message: CellOutcome(cell, message=message, seconds=seconds(), changed=job.changed)
    try:
        report = simulate(cell, progress, command_of(cell), jobs)
        took = seconds()
        key = InputKeys(cell).of(cell)  # anew: a file that changes meanwhile must not pass for what was simulated
    except EdgeAdaptError as error:
        return failed(str(error))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return failed("not enough memory: try --jobs 1")
    finally:
        progress.finish()
    if key is None or (job.key is not None and key != job.key):
        what = "; ".join(changes(job.key, key)) if job.key and key else "the task"
        return failed(f"an input changed while it was simulated ({what}): run the same command again")
    done = FinishedCell(took, report)
    store.save(cell, key, done)
    return CellOutcome(cell, done, changed=job.changed)


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
    """Progress of one simulation as `_UNITS` of the whole, which expects of all of them what it does of the first."""

    def __init__(self, whole: "_Whole", cell: SimulateConfig, number: int):
        self._whole, self._where = whole, f"{number} of {whole.simulations}, {cell.device}, {cell.task}"
        self._estimate = Estimate()
        self._passed = 0.0

    def start(self, work: Work | float) -> None:
        self._estimate.start(work)
        left = self._estimate.left
        self._whole.start(None if left is None else left + self._estimate.elapsed)

    def stage(self, text: str) -> None:
        self._whole.progress.stage(f"{self._where}: {text}")

    def advance(self, units: float = 1, kind: str = "") -> None:
        self._estimate.advance(units, kind)
        self._pass_on(_UNITS * (self._estimate.share or 0.0))

    def finish(self) -> None:
        """Done, or failed: nothing is left of it."""
        self._whole.start(None)
        self._pass_on(_UNITS)

    def _pass_on(self, units: float) -> None:
        if units > self._passed:
            self._whole.progress.advance(units - self._passed)
            self._passed = units


class _Whole:
    """Progress of all simulations, which starts with the first of them."""

    def __init__(self, progress: Progress, simulations: int):
        self.progress, self.simulations, self._started = progress, simulations, False

    def start(self, seconds: float | None) -> None:
        """`seconds`: what one simulation is expected to take, where that is known."""
        if not self._started:
            self._started = True
            self.progress.start({"": (_UNITS * self.simulations, None if seconds is None else seconds / _UNITS)})
