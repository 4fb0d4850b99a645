"""The main job: adapt a frozen Transformer on a simulated chip by several methods, and account for all of it."""

import dataclasses
import time
from collections import Counter
from typing import Any

from ..reports.records import plain
from ..reports.records.conclusions import PoolFit
from ..reports.records.results import Result
from ..reports.schema import validate_parts
from ..simulator.compiling import prepare
from . import expected
from .chips import Chips
from .config import SimulateConfig
from .crew import executor
from .exact import ExactResult
from .parts import AS_IT_IS, Before, BeforePart, ChipPart, ExactPart, FactsPart, FoldsPart, Part, of_kind, parts_of
from .pool_check import checked, pool_fit
from .progress import Progress
from .report import FirstChip, Found, assemble, workload
from .wiring import prepare_wires, wire_units
from .workbench import Workbench, load_workbench


def simulate(
    config: SimulateConfig, progress: Progress | None = None, command: str = "", jobs: int = 1
) -> dict[str, Any]:
    """Run the whole study; returns the report as plain data (docs/report-schema.md), every figure simulated.

    `jobs` processes share the work; each part of it is done on one thread, so that results do not depend on `jobs` or
    on the machine's cores. Raises UsageError for names, options and inputs that do not fit, EdgeAdaptError for
    failures.
    """
    progress, start = progress or Progress(), time.monotonic()
    with executor(jobs, progress) as crew:
        progress.stage("loading model and data")
        bench = load_workbench(config)
        # What no report can say ends the run before the work.
        validate_parts({name: plain(part) for name, part in workload(bench).items()})
        for message in (*bench.task.messages, *(() if bench.pool is None else bench.pool.messages)):
            progress.say(message)
        prepare(bench.chip, config.fidelity)
        parts = parts_of(bench)
        crew.begin(config, len(parts))
        units = wire_units(bench.chip, [weight.shape for weight in bench.frozen_tensors.values()])
        reads: Counter = Counter()
        for part in parts:
            reads.update(part.reads(bench))
        progress.start(expected.work(bench, units, reads, crew.processes))
        progress.stage("programming backbone and pool")
        logs: dict[str, Any] = {}

        def on_matrix(name: str, log: Any) -> None:
            logs[name] = log
            progress.advance(1, expected.PROGRAMMING)

        chips, number = Chips(bench), next(iter(config.chip_numbers))
        base = chips.get(number, on_matrix)
        first = FirstChip.of(bench, number, base, logs)
        prepare_wires(base, progress, "before reading", units)
        del base  # so that its memory is free when the next chip is programmed
        done = dict(zip(parts, crew.run(parts, bench, chips), strict=True))
        processes = crew.processes
    results = [
        record for shots in config.shots for seed in config.seed_numbers for record in gather(bench, done, shots, seed)
    ]
    found = Found(first, [done[part] for part in of_kind(FactsPart, parts)], results, fit_of(bench, done))
    return plain(assemble(bench, found, command, time.monotonic() - start, processes))


def gather(bench: Workbench, done: dict[Part, Any], shots: int, seed: int) -> list[Result]:
    """Result records of one draw of examples."""
    mine = _of_draw(done, shots, seed)
    exact = exact_of(bench, mine)
    records: dict[int, Result] = {}
    for part in of_kind(ChipPart, list(mine)):
        records.update(zip(part.variants, mine[part].records, strict=True))
    # By method, of those that are trained from other weights; "" for the model as it is.
    before = {
        next((variant.method.name for variant in part.chosen(bench)), ""): mine[part]
        for part in of_kind(BeforePart, list(mine))
    }
    frozen = next((record for record in records.values() if record.method == AS_IT_IS), None)
    if frozen is not None:
        before[""] = Before(exact[AS_IT_IS].test.score, frozen.accuracy_chip)  # of the model as it is
    return [
        dataclasses.replace(
            record,
            accuracy_exact_before=before.get(record.method, before[""]).exact,
            accuracy_chip_before=before.get(record.method, before[""]).chip,
            accuracy_exact=exact[record.method].test.score,
            right_exact=exact[record.method].test.right,
            validation_accuracy_exact=exact[record.method].held_out.score,
        )
        for _, record in sorted(records.items())
    ]


def _of_draw(done: dict[Part, Any], shots: int, seed: int) -> dict[Part, Any]:
    return {part: outcome for part, outcome in done.items() if (part.shots, part.seed) == (shots, seed)}


def exact_of(bench: Workbench, done: dict[Part, Any]) -> dict[str, ExactResult]:
    """What each method made of one draw of examples with exact weights."""
    parts = list(done)
    found = {part.chosen(bench)[0].method.name: done[part] for part in of_kind(ExactPart, parts)}
    for part in of_kind(ChipPart, parts):
        found |= done[part].exact
    return found


def fit_of(bench: Workbench, done: dict[Part, Any]) -> PoolFit:
    """Whether the pool fits, by the cross-validation that was asked for, or by the examples held back anyway."""
    config = bench.config
    names = checked([variant.method.name for variant in bench.variants])
    right: dict[str, list[str | None]] = {name: [] for name in names}
    for shots in config.shots:
        for seed in config.seed_numbers:
            mine = _of_draw(done, shots, seed)
            exact = exact_of(bench, mine)
            folds = {part.chosen(bench)[0].method.name: mine[part] for part in of_kind(FoldsPart, list(mine))}
            for name in names:
                right[name].append(folds[name] if config.check_pool else exact[name].held_out.right)
    return pool_fit(right, config.check_pool)
