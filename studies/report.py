"""From what a simulation found to the report: typed records (`reports/records`), which become plain data at the end."""

import dataclasses
import datetime
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._version import __version__
from ..defaults import DEFAULT_READAPT
from ..devices import Chip
from ..methods.formats import DEFAULT
from ..methods.placement import BackwardNeed
from ..methods.training.strategies import Strategy
from ..reports.comparisons import comparisons
from ..reports.paired import Answers
from ..reports.records import SCHEMA, SimulateReport, plain
from ..reports.records.conclusions import BreakEven, PoolFit, Reference
from ..reports.records.header import Inputs, TestSet
from ..reports.records.programming import ChipFacts, Programming, Share, Tile
from ..reports.records.results import Result
from ..reports.records.workload import Model, Pool, PoolModule, Task
from ..simulator import CostTable, ProgrammedModel, WriteLog
from ..simulator.costs import standing_message
from ..simulator.counting import conducting_seconds, most_pulses, pulse_amperes, write_events, write_times
from ..simulator.effects import messages as messages_of_effects
from ..workloads.scores import MEANING
from . import amortise, inputs
from .chips import facts
from .device_record import chip_references, device_record
from .environment import environment, results_digest
from .method_settings import shipped
from .raw_pixels import raw_pixels
from .wiring import wire_message
from .workbench import Workbench

VERSIONED = ("numpy", "torch", "numba", "transformers", "tokenizers", "safetensors")


@dataclass(frozen=True)
class FirstChip:
    """What the report says of the chip of the first run, as it was programmed. cells: of each matrix."""

    programming: Programming
    facts: ChipFacts
    tile: Tile
    log: WriteLog
    cells: dict[str, int]
    arrays: int

    @staticmethod
    def of(bench: Workbench, number: int, base: ProgrammedModel, logs: Mapping[str, WriteLog]) -> "FirstChip":
        """`logs`: the write log of each matrix."""
        found = facts(bench, number, base)
        layouts = {name: base.matrix(name).layout for name in base.names}
        return FirstChip(
            _programming(bench, base.write_log, found, logs),
            found,
            conductance_map(base, bench.backbone.linear_names()[0]),
            base.write_log,
            {name: layout.cells for name, layout in layouts.items()},
            sum(layout.arrays for layout in layouts.values()),
        )


def _programming(bench: Workbench, total: WriteLog, found: ChipFacts, logs: Mapping[str, WriteLog]) -> Programming:
    """Without what is known at the end of the simulation."""
    return Programming(
        chip_seed=found.chip_seed,
        cells=int(total.pulses.size),
        pulses_mean=float(total.pulses.mean()),
        pulses_p95=float(np.percentile(total.pulses, 95)),
        failed_cells=int(total.failed.sum()),
        energy_joules=total.energy_joules,
        time_seconds=total.time_seconds,
        weight_error_relative=found.weight_error_relative,
        weight_error_rms_relative=found.weight_error_rms_relative,
        pulses_histogram=np.bincount(total.pulses, minlength=(bench.chip.cell.pulses_max or 0) + 1).tolist(),
        backbone=_share([logs[name] for name in bench.backbone.linear_names()]),
        pool=_share([logs[name] for name in bench.pool_tensor_names()]),
        event_counts=write_events(total).as_dict(),
    )


def _share(logs: Sequence[WriteLog]) -> Share:
    return Share(
        cells=sum(log.pulses.size for log in logs),
        energy_joules=sum(log.energy_joules for log in logs),
        time_seconds=sum(log.time_seconds for log in logs),
    )


@dataclass(frozen=True)
class Found:
    """What a simulation found. chips: facts of all chips but the first; fit: the report's `pool_fit`."""

    first: FirstChip
    chips: list[ChipFacts]
    results: list[Result]
    fit: PoolFit


def assemble(bench: Workbench, found: Found, command: str, wall_seconds: float, processes: int) -> SimulateReport:
    """The report (docs/report-schema.md)."""
    config, chip, first, results = bench.config, bench.chip, found.first, found.results
    test_sets = [
        TestSet(seed=seed, examples=list(test.numbers), sha256=test.sha256) for seed, test in bench.test_sets.items()
    ]
    programming = dataclasses.replace(
        first.programming,
        chips=[first.facts, *found.chips],
        write_read_ratio=amortise.write_read_ratios(first.log, _read_joules(results, bench, first.cells)),
        label="simulated",
    )
    pixels = raw_pixels(bench.task, config.shots, {s: t.examples for s, t in bench.test_sets.items()})
    parts = workload(bench)
    outcome = {"results": plain(results), "test_sets": plain(test_sets), "raw_pixels": plain(pixels),
               "programming": plain(programming)}  # fmt: skip
    return SimulateReport(
        schema=SCHEMA,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        config=config.as_dict() | resolved(bench),
        config_hash=config.digest(),
        versions={"edge_adapt": __version__} | {name: importlib.metadata.version(name) for name in VERSIONED},
        environment=environment(wall_seconds, processes),
        inputs=_inputs(bench),
        seeds=list(config.seed_numbers),
        ages_seconds=list(config.age_seconds),
        test_sets=test_sets,
        device=device_record(chip, first.arrays),
        **parts,
        raw_pixels=pixels,
        programming=programming,
        conductance_map=first.tile,
        results=results,
        break_even=_break_even(bench, first, results),
        comparisons=comparisons(Answers(results, test_sets, bench.task.metric)),
        pool_fit=found.fit if bench.pool_tensor_names() else None,
        references=references(chip, bench),
        messages=messages(chip, bench),
        results_digest=results_digest(outcome),
    )


def _inputs(bench: Workbench) -> Inputs:
    return Inputs(
        chip_sha256=inputs.chip_sha256(bench.chip),
        model_sha256=inputs.model_sha256(bench.backbone),
        pool_sha256=None if bench.pool is None else inputs.pool_sha256(bench.pool),
        task_sha256=inputs.task_sha256(bench.task),
    )


def _break_even(bench: Workbench, first: FirstChip, results: Sequence[Result]) -> BreakEven:
    share = first.programming.pool
    assert share is not None and share.energy_joules is not None
    joules = share.energy_joules
    return BreakEven(
        pool_programming_energy_joules=joules,
        versus=amortise.break_even(joules, results) if bench.pool_tensor_names() else [],
    )


def resolved(bench: Workbench) -> dict[str, Any]:
    """Options as they ran, where that is more than what was given."""
    return {
        "method": [f"{variant.method.name}:{variant.placement.value}" for variant in bench.variants],
        "pool": None if bench.pool is None else bench.config.pool or f"the shipped pool of {bench.backbone.name}",
        "test_examples": len(bench.test.ids),
    }


def workload(bench: Workbench) -> dict[str, Any]:
    """What the report says of model, task and pool: known before the work, and checked then."""
    backbone, task, pool = bench.backbone, bench.task, bench.pool
    in_cells = lambda names: sum(bench.frozen_tensors[name].size for name in names)
    return {
        "model": Model(
            name=backbone.name,
            parameters=sum(p.numel() for p in backbone.module.parameters()),
            weights_in_cells=in_cells(backbone.linear_names()),
            hidden_size=backbone.hidden_size,
            blocks=backbone.blocks,
        ),
        "task": Task(
            name=task.name,
            labels=list(task.labels),
            train_examples=len(task.train),
            test_examples=len(bench.test.ids),
            test_pool=len(task.test),
            source=task.source,
            metric=task.metric,
        ),
        "pool": None if pool is None else Pool(
            path=bench.config.pool or f"the shipped pool of {backbone.name}",
            modules=[PoolModule(name=m.name, task=m.task, rank=m.rank) for m in pool.modules],
            weights_in_cells=in_cells(bench.pool_tensor_names()),
        ),
    }  # fmt: skip


_READING = ("cells_read", "lines", "dac", "adc", "sample_hold", "shift_add", "buffer", "router")


def _read_joules(results: Sequence[Result], bench: Workbench, cells_of: Mapping[str, int]) -> float:
    """Energy of reading one cell with its share of all that is around it, for one token: from the inference of a
    variant that reads only what is programmed once, where there is one.
    """
    record = next((r for r in results if r.cells_in_placement == 0), results[0])
    plan = next(
        bench.plan(v) for v in bench.variants if (v.method.name, v.placement) == (record.method, record.placement)
    )
    # Cells that a token passes, as often as it does (HiRA reads some again, LoCA's are those of many layers).
    cells = sum(cells_of.get(name, 0) for name in plan.read)
    # Those that rewrite the backbone have no cells beside it.
    if not set(plan.rewritten) & set(plan.backbone):
        cells += record.cells_in_placement * max((plan.read.count(name) for name in plan.rewritten), default=0)
    late = sum(cells_of[name] for name in plan.late_read) * plan.late_tokens
    parts, size = record.inference_energy_by_component_joules or {}, bench.test.size()
    passed = cells * (size.tokens + plan.extra_tokens * size.sequences) + late * size.sequences
    return float(sum(parts[name] or 0.0 for name in _READING) * size.sequences / passed)


def conductance_map(base: ProgrammedModel, name: str, size: int = 64) -> Tile:
    """A corner of the first array of a matrix: wanted and programmed conductance, pairs in neighbouring columns."""
    matrix = base.matrix(name)
    lines = lambda g: np.moveaxis(g[:, :, :size, :size], 2, 0).transpose(0, 3, 1, 2).reshape(min(size, g.shape[2]), -1)
    target, programmed = lines(matrix.target_siemens()), lines(matrix.cells.programmed)
    return Tile(
        tensor=name,
        target_siemens=target[:, :size].tolist(),
        programmed_siemens=programmed[:, :size].astype(float).tolist(),
    )


def references(chip: Chip, bench: Workbench) -> list[Reference]:
    """The papers behind the numbers of this report: the chip's, and those of the methods that ran."""
    found = chip_references(chip)
    sources = {(f"method {v.method.name}", v.method.name): v.method.source for v in bench.variants}
    for strategy in unusual_strategies(bench):
        sources[f"{strategy.kind} {strategy.name}", strategy.name] = strategy.source
    return found + [
        Reference(key=key, citation=source, doi=None, used_for=[use])
        for (use, key), source in sources.items() if source
    ]  # fmt: skip


def told_of_recipes(bench: Workbench) -> list[str]:
    """Which methods may do better than they are shown, because nobody has searched for their recipe. Those that were
    given another one are left out.
    """
    images = bench.task.kind == "image"
    ran = {variant.method.name: variant.method for variant in bench.variants}.values()
    usual = [m for m in ran if m.recipe.learning_rates and m.recipe == shipped(m.name, images).recipe]
    if names := [m.name for m in usual if not (m.for_images if images else m.searched)]:
        of = "images" if images else "texts"
        return [
            f"{', '.join(names)}: nobody has searched for a recipe for {of} yet, and a better one may answer better; "
            "methods with a searched recipe have that advantage"
        ]
    return []


def unusual_strategies(bench: Workbench) -> dict[Strategy, list[str]]:
    """How methods were trained other than usual, each with the names of those that were."""
    found: dict[Strategy, list[str]] = {}
    for method in {variant.method.name: variant.method for variant in bench.variants}.values():
        for strategy in method.recipe.unusual if method.recipe.epochs else ():
            found.setdefault(strategy, []).append(method.name)
    return found


def supply_message(chip: Chip) -> str:
    """What the write supply has to give."""
    times, each, limit = write_times(chip), pulse_amperes(chip.cell), chip.periphery.write_amperes_max
    cells = times.cells_together * times.arrays
    if each is None:
        return ""
    if limit is None:
        return (
            f"no limit of the write supply is known (write.current_max): {cells:,} cells that are pulsed at once may "
            f"draw up to {1e3 * cells * each:.3g} mA"
        )
    return f"a write supply of {1e3 * limit:.3g} mA feeds {cells:,} cells at once (write.current_max)"


def conducting_message(chip: Chip) -> str:
    """For how long the cells conduct in a read."""
    seconds, cycle = chip.integration_seconds, CostTable.of(chip).array_cycle_seconds
    whose = "their file" if chip.integration.startswith("cell") else "the chip (array.integration_time)"
    told = f"cells conduct for the read time of {whose}, {seconds:g} s"
    if most_pulses(chip) > 1:
        return (
            f"a digit of an input is up to {most_pulses(chip)} pulses in an array cycle of {cycle:g} s; {told}, in "
            "each pulse, and the energy of the cells in reads is proportional to it"
        )
    if conducting_seconds(chip) == cycle:
        return f"{told}: as long as an array cycle"
    return (
        f"{told}, in each array cycle of {cycle:g} s; if they conducted throughout, cells would take "
        f"{cycle / seconds:.3g} times the energy in reads"
    )


def bandwidth_message(chip: Chip, age_seconds: float) -> str:
    """What a read of another length than that of the noise law would have of 1/f noise, by the law itself."""
    known, seconds = chip.cell.flicker_seconds, chip.integration_seconds
    if known is None or math.isclose(known, seconds):
        return ""
    spread = lambda read: math.sqrt(math.log((age_seconds + read) / (2 * read)))
    change = spread(seconds) / spread(known) - 1
    return (
        f"1/f noise is that of reads of {known:g} s, in which it was characterised; by the law's own read time it "
        f"would be {abs(change):.1%} {'larger' if change > 0 else 'smaller'} in reads of {seconds:g} s, after "
        f"{age_seconds:g} s. How white noise grows in shorter reads no source says"
    )


def backward_message(bench: Workbench) -> str:
    """How gradients come through transposed arrays, where any does."""
    array = bench.chip.array
    through = (BackwardNeed.THROUGH, BackwardNeed.FULL)
    if bench.config.fidelity == "ideal" or all(v.method.backward_need not in through for v in bench.variants):
        return ""
    if array.backward == "exact":
        return (
            f"gradients go through transposed arrays exactly, and are charged as reads of {array.input_bits} bits all "
            "the same (array.backward: exact), which is better than hardware; --set chip.array.backward=analog reads "
            "them as they are charged"
        )
    of = "each token has a range" if array.backward_range == "token" else "all tokens of a batch have one range"
    return (
        f"gradients are read through transposed arrays as they are charged, with {array.input_bits} bits and read "
        f"noise ({of}); the column exact gradients says what exact ones give; finding the converters' ranges is not "
        "charged"
    )


def messages(chip: Chip, bench: Workbench) -> list[str]:
    """What a reader should know: extrapolations, effects that are off because nobody published them, notes on the
    data.
    """
    notes: list[str | None] = [wire_message(chip) if bench.config.fidelity != "ideal" else None]
    notes.append(backward_message(bench))
    notes += [*messages_of_effects(chip, float(bench.config.age_seconds[-1])), *bench.task.messages]
    notes += () if bench.pool is None else bench.pool.messages
    if bench.task.metric != "accuracy":
        notes.append(f"accuracy stands for {bench.task.metric} here: {MEANING[bench.task.metric]}")
    notes += told_of_runs(bench)
    cut = sum(bench.tests(seed).cut_words for seed in bench.config.seed_numbers)
    if cut:
        notes.append(f"{cut} words of the test examples were cut off and count as in no entity")
    notes += [f"{name} is unknown in the chip file and counted as 0" for name in CostTable.of(chip).unknown]
    notes += [*told_of_formats(bench), standing_message(chip), conducting_message(chip)]
    notes += [bandwidth_message(chip, float(bench.config.age_seconds[-1])), supply_message(chip)]
    if bench.config.fidelity == "ideal":
        notes.append(
            "fidelity ideal: no effect of the hardware on the arithmetic; energy, time and wear are still counted"
        )
    return [note for note in notes if note]


def told_of_formats(bench: Workbench) -> list[str]:
    """Which methods compute digitally in another format than fp32."""
    found: dict[str, list[str]] = {}
    for method in {variant.method.name: variant.method for variant in bench.variants}.values():
        found.setdefault(method.recipe.numbers, []).append(method.name)
    return [
        f"{', '.join(names)}: digital products on the chip are those of {form}, in their energy and in the answers; "
        f"the trained state is kept in {DEFAULT}. Exact weights, and a bundle, compute in {DEFAULT}"
        for form, names in found.items() if form != DEFAULT
    ]  # fmt: skip


def told_of_runs(bench: Workbench) -> list[str]:
    """What runs have of their own, where that is less than everything."""
    config, sets = bench.config, list(bench.test_sets.values())
    notes = [
        f"{', '.join(names)}: trained with the {strategy.kind} {strategy.words}"
        for strategy, names in unusual_strategies(bench).items()
    ]
    notes += told_of_recipes(bench)
    if len(sets) > 1 and len({test.numbers for test in sets}) == 1:
        notes.append(
            f"all {len(sets)} runs share the same {len(sets[0].numbers)} test examples: the task has too few for sets "
            "of their own"
        )
    if config.seeds > 1 and config.chips == "one":
        notes.append(f"all runs are on one chip, number {config.chip_seed}: no error below holds what another would do")
    if config.seeds == 1:
        notes.append(
            "one run: errors are those of the test examples alone; another draw of examples or another chip may answer "
            "otherwise, and --seeds 2 or more says by how much"
        )
    if config.method == ():
        notes.append(
            "not run, because nobody asked: full tuning, and LoRA rewritten at every step (--method full lora)"
        )
        if config.readapt == ():
            notes.append(f"only {', '.join(DEFAULT_READAPT)} adapts again on the aged chip; --readapt all for the rest")
    return notes
