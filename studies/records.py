"""What the report says of a variant on the chip: its events, priced."""

from typing import Any, NamedTuple

from ..methods import Method, Placement
from ..methods.placement import BackwardNeed
from ..reports.records.results import AgePoint, Result
from ..simulator import CostTable, EventCounts
from ..simulator.compensation import compensates
from ..simulator.costs import Breakdown
from ..simulator.memories import WorkingSets
from . import amortise
from .digital import inference_sets
from .life import ChipResult
from .noted import noted
from .own_programming import own_fields, said
from .trial import ChipTrial, Cost
from .variants import Variant
from .workbench import Workbench


class Priced(NamedTuple):
    """Events, and what they cost."""

    counts: EventCounts
    cost: Breakdown

    @staticmethod
    def of(table: CostTable, counts: EventCounts, arrays: int, sets: WorkingSets | None = None) -> "Priced":
        powered = table.powered(counts, arrays, sets)
        return Priced(powered, table.cost(powered))


def record(bench: Workbench, result: ChipResult, shots: int, seed: int) -> Result:
    """What the report says of a variant on the chip; `simulate` adds what the other parts found."""
    method, cost = result.variant.method, result.cost
    adaptation, recipe, table = result.trial.adaptation, result.trial.adaptation.recipe, CostTable.of(bench.chip)
    assert result.adapted and result.drifted
    share, tasks = amortise.wear(bench.chip, cost.writes_max)
    first, answer, second, look = _prices(bench, table, result, _answered(bench, result, seed))
    return Result(
        method=method.name,
        placement=result.variant.placement.value,
        objective=recipe.objective.name,
        sampler=recipe.sampler.name,
        optimiser=recipe.optimiser.name,
        hooks=",".join(hook.name for hook in recipe.hooks),
        forward_pairs=cost.forward_pairs,
        forward_passes=cost.forward_passes,
        backward_need=(BackwardNeed.NONE if cost.forward_passes else adaptation.backward_need).value,
        shots=shots,
        seed=seed,
        chip_seed=bench.config.chip_of(seed),
        start=_start(result.trial),
        trained_parameters=adaptation.trained_parameters,
        head_parameters=adaptation.head_parameters if adaptation.groups["head"] else 0,
        cells_written=cost.cells_written,
        initial_cells_written=cost.initial_cells_written,
        cells_in_placement=result.trial.cells.cells,
        accuracy_chip=result.adapted.score,
        accuracy_chip_exact_gradients=result.exact_gradients.score if result.exact_gradients else None,
        accuracy_drifted=result.drifted.score,
        accuracy_readapted=result.readapted.score if result.readapted else None,
        right_chip=result.adapted.right,
        right_drifted=result.drifted.right,
        right_readapted=result.readapted.right if result.readapted else None,
        drift=[AgePoint(**point) for point in result.drift],
        write_energy_joules=table.write_joules(first.counts),
        initial_write_energy_joules=table.write_joules(cost.initial_counts),
        write_time_seconds=first.cost.seconds["writes"],
        adaptation_energy_joules=first.cost.total_joules,
        adaptation_energy_by_component_joules=first.cost.joules,
        adaptation_time_by_component_seconds=first.cost.seconds,
        adaptation_event_counts=first.counts.as_dict(),
        **_again(second, result.again),
        compensation_energy_joules=look and look.cost.total_joules,
        compensation_time_seconds=look and look.cost.total_seconds,
        compensation_event_counts=look and look.counts.as_dict(),
        **own_fields(table, result.trial.programmed),
        training_memory_bytes=cost.memory_bytes,
        inference_energy_joules=answer.cost.total_joules,
        inference_interval_seconds=result.trial.interval_seconds(answer.counts, bench.tests(seed)),
        inference_energy_by_component_joules=answer.cost.joules,
        inference_event_counts=answer.counts.as_dict(),
        endurance_share_per_task=share,
        tasks_until_worn_out=tasks,
        train_steps=cost.steps,
        train_tokens=cost.tokens,
        label="simulated",
        note=_told(table, result, first, answer, _answered(bench, result, seed)),
        **_times(table, first, answer),
    )


def _again(priced: Priced | None, cost: Cost | None) -> dict[str, Any]:
    """What adapting again took; None where nobody did."""
    return {
        "readaptation_energy_joules": priced and priced.cost.total_joules,
        "readaptation_time_seconds": priced and priced.cost.total_seconds,
        "readaptation_event_counts": priced and priced.counts.as_dict(),
        "readaptation_cells_written": cost and cost.cells_written,
    }


def _times(table: CostTable, first: Priced, answer: Priced) -> dict[str, Any]:
    """How long adapting and an answer take as the chip does it, and if nothing overlapped."""
    found = {}
    for act, priced in (("adaptation", first), ("inference", answer)):
        found[f"{act}_time_seconds"] = priced.cost.total_seconds
        found[f"{act}_time_sequential_seconds"] = table.sequential_seconds(priced.counts)
    return found


def _prices(
    bench: Workbench, table: CostTable, result: ChipResult, answered: WorkingSets
) -> tuple[Priced, Priced, Priced | None, Priced | None]:
    """What adapting, an answer, adapting again and finding the factors of drift compensation cost; None for what there
    was none of.
    """
    model, again = result.trial.model, result.again
    arrays = sum(model.matrix(n).layout.arrays for n in model.names)
    assert result.inference
    first = Priced.of(table, result.cost.counts, arrays, result.cost.sets)
    answer = Priced.of(table, result.inference, arrays, answered)
    second = Priced.of(table, again.counts, arrays, again.sets) if again else None
    look = Priced.of(table, result.compensation, arrays) if compensates(bench.chip) else None
    return first, answer, second, look


def _answered(bench: Workbench, result: ChipResult, seed: int) -> WorkingSets:
    """What an answer works on."""
    return inference_sets(result.trial.adaptation.plan, bench.tests(seed).longest(1))


def _told(table: CostTable, result: ChipResult, first: Priced, answer: Priced, answered: WorkingSets) -> str:
    note = said(_note(result.variant, result.cost.forward_passes > 0), result.trial.adaptation.plan)
    return noted(note, table, (first.counts, result.cost.sets), (answer.counts, answered))


def _start(trial: ChipTrial) -> str | None:
    """The method that answers as this one does before its first step: the model as it is does not where it is pruned,
    or where the state comes from elsewhere.
    """
    method, plan = trial.variant.method, trial.adaptation.plan
    if method.warm_start or (plan.kept_weights and method.start == Method.start):
        return None
    return method.start or None


def _note(variant: Variant, forward_only: bool) -> str:
    if variant.placement is Placement.NVM_STEP:
        when = "along each direction, back, and after each step" if forward_only else "after each step"
        return (
            f"a digital master copy is trained; its initial values are written first, and {when} the cells "
            "whose target level changed are rewritten"
        )
    if variant.placement is Placement.NVM_TASK:
        return "trained digitally, then written to its cells once"
    return ""
