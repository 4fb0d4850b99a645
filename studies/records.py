"""What the report says of a variant on the chip: its events, priced."""

from ..methods import Placement
from ..methods.placement import BackwardNeed
from ..reports.records.results import AgePoint, Result
from ..simulator import CostTable
from ..simulator.compensation import compensates
from ..simulator.counting import input_cycles
from . import amortise
from .life import ChipResult
from .workbench import Variant, Workbench


def record(bench: Workbench, result: ChipResult, shots: int, seed: int) -> Result:
    """What the report says of a variant on the chip; `simulate` adds what the other parts found."""
    table, again = CostTable.of(bench.chip), result.again
    adaptation, model = result.trial.adaptation, result.trial.model
    share, tasks = amortise.wear(bench.chip, result.cost.writes_max)
    assert result.inference is not None and again is not None
    assert result.adapted is not None and result.drifted is not None and result.readapted is not None
    method = result.variant.method
    starts = method.start if not method.warm_start else ""
    written = [n for n in result.trial.trained_cells if n in model]
    arrays = sum(model.matrix(n).layout.arrays for n in model.names)
    counts, again_counts, inference_counts = (
        table.powered(c, arrays) for c in (result.cost.counts, again.counts, result.inference)
    )
    cost, again_cost, inference = (table.cost(c) for c in (counts, again_counts, inference_counts))
    looks = table.powered(result.compensation, arrays) if compensates(bench.chip) else None
    looked = None if looks is None else table.cost(looks)
    return Result(
        method=method.name,
        placement=result.variant.placement.value,
        optimiser=adaptation.recipe.optimiser,
        forward_pairs=result.cost.forward_pairs,
        forward_passes=result.cost.forward_passes,
        backward_need=(BackwardNeed.NONE if result.cost.forward_passes else adaptation.backward_need).value,
        shots=shots,
        seed=seed,
        chip_seed=bench.config.chip_of(seed),
        start=starts or None,
        trained_parameters=adaptation.trained_parameters,
        head_parameters=adaptation.head_parameters if adaptation.groups["head"] else 0,
        cells_written=result.cost.cells_written,
        initial_cells_written=result.cost.initial_cells_written,
        cells_in_placement=sum(model.matrix(n).layout.cells for n in written),
        accuracy_chip=result.adapted.score,
        accuracy_drifted=result.drifted.score,
        accuracy_readapted=result.readapted.score,
        right_chip=result.adapted.right,
        right_drifted=result.drifted.right,
        right_readapted=result.readapted.right,
        drift=[AgePoint(**point) for point in result.drift],
        write_energy_joules=table.write_joules(counts),
        initial_write_energy_joules=table.write_joules(result.cost.initial_counts),
        write_time_seconds=cost.seconds["writes"],
        adaptation_energy_joules=cost.total_joules,
        adaptation_time_seconds=cost.total_seconds,
        adaptation_energy_by_component_joules=cost.joules,
        adaptation_time_by_component_seconds=cost.seconds,
        adaptation_event_counts=counts.as_dict(),
        readaptation_energy_joules=again_cost.total_joules,
        readaptation_time_seconds=again_cost.total_seconds,
        readaptation_event_counts=again_counts.as_dict(),
        readaptation_cells_written=again.cells_written,
        compensation_energy_joules=None if looked is None else looked.total_joules,
        compensation_time_seconds=None if looked is None else looked.total_seconds,
        compensation_event_counts=None if looks is None else looks.as_dict(),
        training_memory_bytes=result.cost.memory_bytes,
        inference_energy_joules=inference.total_joules,
        inference_time_seconds=inference.total_seconds,
        inference_interval_seconds=_interval(bench, seed, table, inference.seconds["digital"]),
        inference_energy_by_component_joules=inference.joules,
        inference_event_counts=inference_counts.as_dict(),
        endurance_share_per_task=share,
        tasks_until_worn_out=tasks,
        train_steps=result.cost.steps,
        train_tokens=result.cost.tokens,
        label="simulated",
        note=_note(result.variant, result.cost.forward_passes > 0),
    )


def _interval(bench: Workbench, seed: int, table: CostTable, digital_seconds: float) -> float:
    """Seconds from one example to the next when every matrix and the digital unit work on examples of their own."""
    size = bench.tests(seed).size()
    matrix = size.tokens / size.sequences * input_cycles(bench.chip) * table.array_cycle_seconds
    return max(matrix, digital_seconds)


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
