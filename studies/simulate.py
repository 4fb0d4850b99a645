"""The main job: adapt a frozen Transformer on a simulated chip by several methods, and account for all of it."""

from collections import Counter
from typing import Any

from . import expected
from .config import SimulateConfig
from .crew import Crew
from .progress import Progress
from .report import assemble
from .wiring import prepare_wires, wire_units
from .work import Part, parts_of
from .workbench import Workbench, load_workbench


def simulate(
    config: SimulateConfig, progress: Progress | None = None, command: str = "", jobs: int = 1
) -> dict[str, Any]:
    """Run the whole study; returns the report as plain data (docs/report-schema.md), every figure simulated.

    `jobs` processes share the work; each part of it is done on one thread, so that results do not depend on `jobs` or
    on the machine's cores. Raises UsageError for names, options and inputs that do not fit, EdgeAdaptError for
    failures.
    """
    progress = progress or Progress()
    with Crew(jobs - 1, progress) as crew:
        progress.stage("loading model and data")
        bench = load_workbench(config)
        parts = parts_of(bench)
        crew.begin(config, min(jobs, len(parts)) - 1)
        units = wire_units(bench.chip, [weight.shape for weight in bench.frozen_tensors.values()])
        reads: Counter = Counter()
        for part in parts:
            reads.update(part.reads(bench))
        progress.start(expected.work(bench, units, reads, min(jobs, len(parts))))
        progress.stage("programming backbone and pool")
        logs: dict[str, Any] = {}

        def on_matrix(name: str, log: Any) -> None:
            logs[name] = log
            progress.advance(1, expected.PROGRAMMING)

        base = bench.program(on_matrix)
        prepare_wires(base, progress, "before reading", units)
        done = dict(zip(parts, crew.work(parts, bench, base), strict=True))
    base.set_time(0.0)
    results, fits = [], []
    for shots in config.shots:
        for seed in config.seed_numbers:
            records, fit = gather(bench, done, shots, seed)
            results += records
            fits += fit
    return assemble(bench, base, logs, results, fits, command)


def gather(bench: Workbench, done: dict[Part, Any], shots: int, seed: int) -> tuple[list[dict[str, Any]], list]:
    """(result records of one draw of examples, validation answers of lorafusion beside each other method's)."""
    mine = {part: outcome for part, outcome in done.items() if (part.shots, part.seed) == (shots, seed)}
    exact = {bench.variants[p.variants[0]].method.name: found for p, found in mine.items() if p.kind == "exact"}
    records: dict[int, dict[str, Any]] = {}
    for part, found in mine.items():
        if part.kind == "chip":
            records.update(zip(part.variants, found[0], strict=True))
            exact |= found[1]
    frozen = next((record for record in records.values() if record["method"] == "frozen"), None)
    if frozen is None:
        ((before_exact, before_chip),) = (found for part, found in mine.items() if part.kind == "before")
    else:
        before_exact, before_chip = exact["frozen"].accuracy, frozen["accuracy_chip"]
    for record in records.values():
        record["accuracy_exact_before"] = before_exact
        record["accuracy_chip_before"] = before_chip
        record["accuracy_exact"] = exact[record["method"]].accuracy
        record["validation_accuracy_exact"] = exact[record["method"]].validation
    fused = exact.get("lorafusion")
    fits = [
        (name, fused.validation_right, other.validation_right)
        for name, other in exact.items()
        if fused and name != "lorafusion"
    ]
    return [records[n] for n in sorted(records)], fits
