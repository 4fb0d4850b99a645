"""Energy, time, area and programming of a model from shapes alone: nothing is multiplied, nothing is trained.

Cells, arrays, drives, conversions, bytes, multiply-adds and cycles are counted exactly, with the same functions that
count a simulated run. What depends on values (pulses, and the energy of conducting cells) is estimated from a
programmed sample; the report labels the two apart.
"""

import datetime
import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._version import __version__
from ..defaults import DEFAULT_METHODS
from ..devices import Chip, load_chip
from ..errors import UsageError, unknown_name
from ..methods import METHODS, methods_for
from ..methods.costs import NUMBER_BYTES
from ..methods.heads import HEADS
from ..methods.placement import BackwardNeed, Placement
from ..methods.plan import Matrix, Plan
from ..reports.records import COUNT_SCHEMA, CountReport, plain
from ..reports.records.count import CountedModel, CountedProgramming, CountedResult
from ..reports.records.programming import Share
from ..simulator import CostTable, EventCounts
from ..simulator.compensation import compensates
from ..simulator.costs import standing_message
from ..simulator.memories import WorkingSets
from ..simulator.rotation import additions
from ..simulator.writing import require_programmable
from ..workloads.named_shapes import load_shape
from ..workloads.shapes import ModelShape
from . import amortise
from .count_config import CountConfig
from .counter import Counter
from .device_record import chip_references, device_record
from .digital import early_events, inference_events, inference_sets, training_events, training_sets
from .method_settings import MethodSettings, require_numbers, require_readable
from .noted import noted
from .overlaps import Overlaps
from .own_programming import own_fields, said
from .passes import Passes, adaptation_sizes
from .samples import program_sample


def count(config: CountConfig, command: str = "") -> dict[str, Any]:
    """The whole study; returns the report as plain data (docs/count-schema.md). Raises UsageError for options that
    do not fit.
    """
    chip = load_chip(config.device, config.chip_settings())
    require_programmable(chip.cell)
    shape = load_shape(config.model)
    notes = []
    if shape.max_tokens is not None and config.tokens > shape.max_tokens:
        notes.append(f"counted with {shape.max_tokens} tokens, not {config.tokens}: {shape.name} takes no more")
        config = replace(config, tokens=shape.max_tokens)
    plans = choose(config, shape)
    require_numbers([(plan.method, plan.recipe) for plan in plans], chip, simulated=False)
    sample = program_sample(chip, config.changed_share)
    counter = Counter(chip, sample)
    once = {name: m for p in plans for name, m in p.extra.items() if name not in p.rewritten}
    backbone = {name: plans[0].matrices[name] for name in plans[0].backbone}
    deployed = counter.arrays({**backbone, **once})
    results = [result(config, counter, shape, plan, deployed) for plan in plans]
    report = CountReport(
        schema=COUNT_SCHEMA,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        config=config.as_dict(),
        config_hash=config.digest(),
        versions={"edge_adapt": __version__, "numpy": importlib.metadata.version("numpy")},
        device=device_record(chip, deployed),
        model=CountedModel(
            name=shape.name,
            title=shape.title,
            weights_in_cells=shape.weights,
            hidden_size=shape.hidden_size,
            blocks=len(shape.blocks),
            matrices=len(shape.linears),
        ),
        programming=programming(counter, backbone, once),
        results=results,
        references=chip_references(chip),
        messages=[*notes, *messages(chip, config, plans)],
    )
    return plain(report)


def choose(config: CountConfig, shape: ModelShape) -> list[Plan]:
    """The plans of the methods and placements to count."""
    given, chosen = MethodSettings(config.method_settings()), []
    names = config.method or DEFAULT_METHODS
    for entry in (name for item in names for name in (methods_for(shape) if item == "all" else (item,))):
        name, _, wanted = entry.partition(":")
        if name not in METHODS:
            raise UsageError(unknown_name("method that can be counted", name, METHODS))
        method = given.method(name, images=bool(shape.patch_weights))
        require_readable([method])
        if config.rank is not None and "rank" in method.__dataclass_fields__:
            method = replace(method, rank=config.rank)  # type: ignore[call-arg]
        try:
            places = [Placement(wanted.upper())] if wanted else list(method.placements)
        except ValueError:
            raise UsageError(f"unknown placement {wanted!r} of {name}; it has {', '.join(method.placements)}") from None
        found = [method.plan(shape, config.size, place) for place in places]
        chosen += [plan for plan in found if plan not in chosen]
    return chosen


def adaptation_events(config: CountConfig, counter: Counter, plan: Plan) -> tuple[EventCounts, int]:
    """(events of one adaptation, its optimiser steps), but for what overlaps (`Overlaps`)."""
    recipe, examples, length = plan.recipe, config.examples, config.tokens
    (forward, trained), stored, (once, looked), seen, steps = adaptation_sizes(config, plan)
    passes, head_only = recipe.optimiser.passes(plan.directions), plan.backward_need is BackwardNeed.NONE
    counts = training_events(
        plan, plan.head, forward, trained, steps, seen * max(1, passes) if head_only else 0,
        recipe.optimiser.by_gradient, stored if plan.cached else None,
    )  # fmt: skip
    if steps:
        counts.digital_macs += sum(hook.start_macs(plan, examples * length) for hook in recipe.hooks)
    if head_only or not plan.keep_head:
        counts.digital_macs += HEADS[plan.head_kind].start_macs(examples, *plan.head, recipe)
    # As in `trial`: a move along a direction reads where the step began and writes the numbers that are looked at.
    changes = all_changes(plan, steps)
    still, moving = plan.state_numbers - plan.moving_numbers, plan.moving_numbers
    counts.sram_bytes += 2 * NUMBER_BYTES * (moving * (changes - steps) - steps * still)
    counts.add(early_events(plan, plan.waiting, once, looked))
    counts.add(training_reads(counter, plan, (forward, trained), stored, (once, looked)))
    matrices, rewritten = plan.matrices, [plan.tensors[name] for name in plan.rewritten]
    counts.add(counter.programming([matrices[tensor.name] for tensor in rewritten if tensor.name in plan.extra]))
    counts.add(rewrites(counter, plan, changes))
    return counts, steps


def rewrites(counter: Counter, plan: Plan, changes: int) -> EventCounts:
    """Writes over what is in cells: at each of the changes, or once of what was programmed before."""
    counts, by_step = EventCounts(), plan.placement is Placement.NVM_STEP
    again = plan.rewritten if by_step else [name for name in plan.rewritten if name not in plan.extra]
    for density, names in plan.by_density(again).items():
        shapes = (stepped_matrix(counter.chip, plan, name) if by_step else plan.matrices[name] for name in names)
        parts = [(shape, plan.tensors[name].changing_share) for shape, name in zip(shapes, names, strict=True)]
        counts.add(counter.steps(parts, changes if by_step else 1, density))
    return counts


def reads(counter: Counter, plan: Plan, names: Iterable[str], vectors: int, transposed: bool = False) -> EventCounts:
    """`vectors` products with each of the matrices in cells, named as often as they are read."""
    counts, matrices = EventCounts(), plan.matrices
    for density, alike in plan.by_density(names).items():
        counts.add(counter.reads([matrices[name] for name in alike], vectors, transposed, density))
    return counts


def working_sets(config: CountConfig, plan: Plan, steps: int) -> WorkingSets:
    """What one adaptation works on."""
    recipe, examples, length = plan.recipe, config.examples, config.tokens
    batch = min(config.batch_size or recipe.batch_size, examples)
    head_only = plan.backward_need is BackwardNeed.NONE and steps > 0
    return training_sets(
        plan.state_bytes + NUMBER_BYTES * plan.held_numbers,
        plan.moving_numbers if steps else 0,
        plan.kept_outputs * (length + plan.extra_tokens) * batch + plan.kept_once * batch,
        plan.head[1] * examples if head_only else 0,
        recipe.optimiser.by_gradient or not steps,
        plan.kept_outputs > 0,
        plan.observed * examples * length if plan.cached else 0,
        plan,
        length,
    )


def training_reads(
    counter: Counter,
    plan: Plan,
    passed: tuple[Passes, Passes],
    stored: tuple[Passes, Passes],
    early: tuple[Passes, Passes],
) -> EventCounts:
    """Reads of one adaptation, of what passes forward only, and forward and backward: through the model (`passed`), on
    from stored hidden states, and, in `passed`, before the first step (`early`), when what waits for its first write is
    not in cells yet.
    """
    counts, added, waiting = EventCounts(), plan.extra_tokens, set(plan.waiting)
    only, both = (size.tokens + added * size.sequences for size in passed)
    early_only, early_both = (size.tokens + added * size.sequences for size in early)

    def read(names: Sequence[str], vectors: int, before: int = 0, transposed: bool = False) -> None:
        for late in (False, True):
            chosen = [name for name in names if (name in waiting) == late]
            counts.add(reads(counter, plan, chosen, vectors - (before if late else 0), transposed))

    read(plan.read_in_training, only + both, early_only + early_both)
    read(plan.stored_read, sum(size.tokens for size in stored))
    read(plan.transposed, both + stored[1].tokens, early_both, transposed=True)
    read(plan.late_read, plan.late_tokens * sum(size.sequences for size in passed))
    read(plan.late_read, plan.late_tokens * passed[1].sequences, transposed=True)
    return counts


def looked_at(counter: Counter, plan: Plan) -> EventCounts:
    """Finding the factors of drift compensation of every matrix once."""
    counts = EventCounts()
    for density, names in plan.by_density(plan.matrices).items():
        counts.add(counter.looks([plan.matrices[name] for name in names], density))
    return counts


def own_programming(counter: Counter, plan: Plan) -> EventCounts | None:
    """The one-time programming of the matrices of which weights are pruned; None where there are none."""
    if not plan.kept_weights:
        return None
    counts = EventCounts()
    for density, names in plan.by_density(plan.kept_weights).items():
        counts.add(counter.programming([plan.matrices[name] for name in names], density))
    return counts


def result(config: CountConfig, counter: Counter, shape: ModelShape, method: Plan, deployed: int) -> CountedResult:
    """The record of a method: what one adaptation and one answer cost."""
    table, chip, length = counter.table, counter.chip, config.tokens
    own = {name: method.extra[name] for name in method.rewritten if name in method.extra}
    arrays = deployed + counter.arrays(own)
    overlaps = Overlaps(chip, shape, method)
    happened, steps = adaptation_events(config, counter, method)
    sizes = adaptation_sizes(config, method)
    stored = sizes.stored if method.cached else None
    happened.add(overlaps.of_training(*sizes.passed, stored, method.waiting, sizes.early))
    looks = table.powered(looked_at(counter, method), arrays) if compensates(chip) else None
    looked = table.cost(looks) if looks else None
    sets = working_sets(config, method, steps)
    counts = table.powered(happened, arrays, sets)
    driven, matrices = length + method.extra_tokens, method.matrices
    one = Passes.of(1, length, 1)
    answer = inference_events(method, one).add(overlaps.of_answers(one))
    answer.add(reads(counter, method, method.read, driven))
    answer.add(reads(counter, method, method.late_read, method.late_tokens))
    answer = table.powered(answer, arrays, answered := inference_sets(method, length))
    cost, inference = table.cost(counts), table.cost(answer)
    rewritten = {name: matrices[name] for name in method.rewritten}
    writes = max_writes(method, steps)
    share, tasks = amortise.wear(chip, writes)
    return CountedResult(
        method=method.method,
        placement=method.placement.value,
        backward_need=method.gradient.value,
        trained_parameters=sum(t.numbers for t in method.moving if t.group != "head"),
        head_parameters=method.trained_head_numbers,
        cells_written=round(counts.cells_written),
        cells_in_placement=counter.cells(rewritten),
        write_energy_joules=table.write_joules(counts),
        write_time_seconds=cost.seconds["writes"],
        adaptation_energy_joules=cost.total_joules,
        adaptation_time_seconds=cost.total_seconds,
        adaptation_time_sequential_seconds=table.sequential_seconds(counts),
        adaptation_energy_by_component_joules=cost.joules,
        adaptation_time_by_component_seconds=cost.seconds,
        adaptation_event_counts=counts.as_dict(),
        compensation_energy_joules=looked.total_joules if looked else None,
        compensation_time_seconds=looked.total_seconds if looked else None,
        compensation_event_counts=looks.as_dict() if looks else None,
        **own_fields(table, own_programming(counter, method)),
        inference_energy_joules=inference.total_joules,
        inference_time_seconds=inference.total_seconds,
        inference_time_sequential_seconds=table.sequential_seconds(answer),
        inference_interval_seconds=overlaps.interval_seconds(answer, driven),
        inference_energy_by_component_joules=inference.joules,
        inference_event_counts=answer.as_dict(),
        endurance_share_per_task=share,
        tasks_until_worn_out=tasks,
        train_steps=steps,
        label="estimated",
        note=noted(said(_note(method, config), method), table, (counts, sets), (answer, answered)),
    )


def stepped_matrix(chip: Chip, plan: Plan, name: str) -> Matrix:
    """The shape of what a step writes of a matrix: one of its lines, where these take turns. Rotated inputs are mixed,
    and all of them change.
    """
    whole, part = plan.matrices[name], plan.stepped(name)
    return whole if part[1] < whole[1] and additions(chip, whole[1]) else part


def all_changes(plan: Plan, steps: int) -> int:
    """How often a training of so many steps changes the trained numbers."""
    last = sum(hook.last_changes(plan) for hook in plan.recipe.hooks) if steps else 0
    return steps * plan.recipe.optimiser.changes(plan.directions) + last


def max_writes(method: Plan, steps: int) -> int:
    """The most writes that one cell can get in one adaptation."""
    if not method.rewritten:
        return 0
    first = int(any(name in method.extra for name in method.rewritten))
    return first + all_changes(method, steps) if method.placement is Placement.NVM_STEP else 1


def programming(counter: Counter, backbone: Mapping[str, Matrix], once: Mapping[str, Matrix]) -> CountedProgramming:
    """The one-time programming of the backbone and of what else is programmed `once` (a pool, VeRA's matrices)."""
    sample, table, frozen = counter.sample, counter.table, {**backbone, **once}
    parts = []
    for matrices in (backbone, once):
        cost = table.cost(counter.programming(matrices.values()))
        cells = counter.cells(matrices)
        parts.append(Share(cells=cells, energy_joules=cost.total_joules, time_seconds=cost.total_seconds))
    counts = counter.programming(frozen.values())
    cost = table.cost(counts)
    log = sample.programming.log
    read = table.cost(counter.reads(frozen.values(), 1))
    return CountedProgramming(
        cells=counter.cells(frozen),
        pulses_mean=sample.programming.pulses_mean,
        pulses_mean_standard_error=sample.programming.pulses_error,
        failed_share=float(log.failed.mean()),
        energy_joules=cost.total_joules,
        time_seconds=cost.total_seconds,
        event_counts=counts.as_dict(),
        backbone=parts[0],
        pool=parts[1] if once else None,
        write_read_ratio=amortise.write_read_ratios(log, read.total_joules / counter.cells(frozen)),
        sample_cells=sample.cells,
        label="estimated",
    )


def _note(method: Plan, config: CountConfig) -> str:
    if method.placement is Placement.NVM_STEP:
        return (
            f"at every step {100 * config.changed_share:g} % of the weights move to a neighbouring value"
            + (": an upper bound" if config.changed_share == 1.0 else "")
        )  # fmt: skip
    if method.placement is Placement.NVM_TASK and set(method.rewritten) & set(method.backbone):
        return f"{100 * config.changed_share:g} % of the weights move to a neighbouring value"
    return ""


def messages(chip: Chip, config: CountConfig, methods: list[Plan]) -> list[str]:
    """What a reader should know."""
    notes = [
        "cells, arrays, drives, conversions, bytes, multiply-adds and cycles are counted; pulses, cell currents and "
        "write times are estimated from a programmed sample of normally distributed weights and inputs",
        "embeddings, norms, activation functions and the output layer of a language model are not counted; attention "
        "pairs every token with every other (a causal model needs half of these)",
    ]
    if compensates(chip):
        notes.append(
            "drift compensation: every reading of the clock costs each method compensation_energy_joules, the first "
            "after programming three times as much (two first reads); its cells conduct as just written, more than "
            "after drift"
        )
    if config.changed_share == 1.0 and any(m.placement is Placement.NVM_STEP for m in methods):
        notes.append(
            "rewriting at every step is an upper bound: how many weights change is not known without training; take "
            "cells_written of a simulated run and give --changed-share"
        )
    notes += [f"{name} is unknown in the chip file and counted as 0" for name in CostTable.of(chip).unknown]
    return [*notes, *filter(None, [standing_message(chip)])]
