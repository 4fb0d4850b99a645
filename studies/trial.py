"""One adaptation on a simulated chip: deploy, adapt, let time pass, adapt again; every read and write is counted."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..methods import Adaptation, Placement
from ..methods.costs import NUMBER_BYTES
from ..methods.placement import BackwardNeed
from ..methods.pruning import pruned_weights
from ..methods.ranks import Kept
from ..methods.recipes import Recipe
from ..methods.rounding import compute_in
from ..methods.training.trainer import TrainLog, as_tensors, extract_features, train
from ..simulator import EventCounts, ProgrammedModel
from ..simulator.autograd import ChipReader
from ..simulator.counting import write_events
from ..simulator.mapping import Layout
from ..simulator.memories import WorkingSets
from ..workloads.batches import batches
from .digital import early_events, inference_events, training_events, training_sets
from .encoding import Encoded, Graded
from .overlaps import Overlaps
from .trained_cells import TrainedCells
from .variants import Variant
from .workbench import Workbench

CALIBRATION_EXAMPLES = 16
# The trained state grows from zero: the converters' ranges follow it after these optimiser steps.
FOLLOWING_STEPS = frozenset(4**n for n in range(10))


SHARED_TITLE = "frozen/DIGITAL"
"""Whose read noise all have that train nothing but a head on the backbone's features."""


def reads_backbone_alone(adaptation: Adaptation) -> bool:
    """Whether nothing but a head is trained, and nothing stands beside the backbone (`pool` has its modules there),
    which is the model as it is.
    """
    head_only = all(name.startswith("head.") for name in adaptation.state) and not adaptation.plan.kept_weights
    return head_only and adaptation.backward_need is BackwardNeed.NONE


@dataclass
class Cost:
    """What one adaptation cost: event counts and the cells it wrote.

    `forward_pairs` directions were gone along by a zeroth-order recipe, which took `forward_passes` of batches. The
    `initial` events and cells are those of writing the initial values before training, and are part of the others.
    """

    counts: EventCounts = field(default_factory=EventCounts)
    cells_written: int = 0
    writes_max: int = 0
    steps: int = 0
    tokens: int = 0
    forward_pairs: int = 0
    forward_passes: int = 0
    sets: WorkingSets = field(default_factory=WorkingSets)
    initial_counts: EventCounts = field(default_factory=EventCounts)
    initial_cells_written: int = 0

    @property
    def memory_bytes(self) -> float:
        """The most that it needed beside the frozen weights."""
        return self.sets.memory


class ChipTrial:
    """A variant on its own view of the chip. Call `deploy`, then `adapt`, `evaluate`, `set_time` as often as wanted."""

    def __init__(self, bench: Workbench, variant: Variant, base: ProgrammedModel, shots: int, seed: int):
        self.bench, self.variant, self.shots, self.seed = bench, variant, shots, seed
        # Initial values and order of the examples are those of the run with exact weights; the chip has a generator
        # of its own.
        self._rng = np.random.default_rng([seed, shots])
        self.adaptation: Adaptation = variant.method.attach(
            bench.backbone, bench.classes, self._rng, placement=variant.placement, pool=bench.pool
        )
        self.trained_cells = [
            n for n in self.adaptation.cell_tensors if self.adaptation.placements[n] is not Placement.NVM_FROZEN
        ]
        kept = self.adaptation.plan.kept_weights
        own = tuple(name for name in self.trained_cells if name in base and name not in kept)
        # Those that read the same read the same noise until they adapt again, whether the others are there or not.
        title = SHARED_TITLE if reads_backbone_alone(self.adaptation) else variant.title
        self.model = base.fork(np.random.default_rng([seed, shots, _number(title)]), own)
        self.programmed = self._program(pruned_weights(bench.backbone, kept))
        self.reader = ChipReader(self.model)
        self.cells = TrainedCells(self.model, self.reader, self.trained_cells)
        self.reader.bypass = self.cells.unwritten
        self.adaptation.use(self.reader)
        self.reader.watch(self.adaptation.module.encoder)
        if self.adaptation.module.side is not None:  # which may go on from stored states, without the encoder
            self.reader.watch(self.adaptation.module.side)
        self.reader.dtype = compute_in(self.adaptation.module, variant.method.recipe.numbers)
        self._overlaps = Overlaps(bench.chip, bench.backbone.shape, self.adaptation.plan)
        self.last_log: TrainLog | None = None
        self.last_counts: EventCounts | None = None
        self._initial = EventCounts(), 0

    def _program(self, weights: dict[str, Tensor]) -> EventCounts | None:
        """Have the chip programmed with other weights than the backbone's in places: the events of that, or None."""
        counts = EventCounts() if weights else None
        for name, weight in weights.items():
            log = self.model.reprogram(name, weight.numpy())
            assert counts is not None
            counts.add(write_events(log))
        return counts

    def deploy(self, data: Encoded) -> None:
        """Set the converters' ranges for the task's examples."""
        self.calibrate(data)

    def _write_initial(self, data: Encoded, recipe: Recipe) -> None:
        """Write the initial values of matrices that are trained in their cells: the first write of the task.

        Their range is wide enough for the training: AdamW moves a weight by about its rate a step, half the sum of all
        rates is allowed for.
        """
        new, kept = self.cells.unwritten, self.adaptation.kept_ranks(gated=False)
        if not new:
            return
        before, total = dataclasses.replace(self.model.counts), self._total_writes()
        for name in (name for name in self.trained_cells if name in new):
            scale = partial(self._range, name, examples=len(data.ids), recipe=recipe)
            self.cells.write(name, self._value(name), kept.get(name), scale=scale)
        self.reader.bypass = self.cells.unwritten
        self._initial = self.model.counts.minus(before), self._grown(total)
        self.calibrate(data)

    def _range(self, name: str, written: np.ndarray, examples: int, recipe: Recipe) -> np.ndarray:
        """The range (row_tiles, out) of a matrix whose first values (out, in) these are."""
        group = next(g for g, names in self.adaptation.groups.items() if name in names)
        steps = recipe.schedule(examples).steps
        # The rate falls linearly to zero: its sum over the steps is half the peak rate times the steps.
        travel = 0.5 * recipe.learning_rates[group] * steps / 2 + recipe.optimiser.reach
        value = self.model.as_written(written)
        if self.bench.chip.array.rotation != "none":
            travel *= 3.0  # of mixtures of weights, whose steps add up like random signs
        layout = Layout.of(self.bench.chip, value.shape)
        return np.full((layout.row_tiles, layout.outputs), float(np.abs(value).max()) + travel, np.float32)

    def _value(self, name: str) -> np.ndarray:
        return self.adaptation.held(name).numpy()

    def calibrate(self, data: Encoded) -> None:
        """Set the converters' ranges from a few examples; done at deployment and as the state grows, not charged."""
        few = data.first(CALIBRATION_EXAMPLES)
        with torch.no_grad(), self.model.calibrating():
            for batch in batches(few.ids, few.labels, CALIBRATION_EXAMPLES):
                ids, mask, _ = as_tensors(batch)
                self.adaptation.module.features(ids, mask)

    def adapt(
        self, data: Encoded, recipe: Recipe, again: bool = False, as_in: "ChipTrial | None" = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Cost:  # fmt: skip
        """Train with the chip in the loop and return what it cost.

        NVM_STEP matrices are rewritten whenever they change: after every optimiser step, with a zeroth-order recipe
        also each time it moves along a direction and back (4 times a step of MeZO). NVM_TASK matrices are trained
        digitally (everything else is read through the chip) and written once at the end; adapting `again`, cells that
        left their tolerance are rewritten too. `as_in`: a trial whose last adaptation was the same training (NVM_TASK
        trains as DIGITAL does); its outcome and its costs are taken over instead of training again. `on_step` is called
        with the number of optimiser steps done, after each.
        """
        before = dataclasses.replace(self.model.counts)
        total_before, writes_before = self._total_writes(), self._writes()
        self._initial = EventCounts(), 0
        in_cells = self.variant.placement is Placement.NVM_STEP
        write_first = partial(self._write_initial, data, recipe) if in_cells else None
        if write_first and not any(hook.before_first_write for hook in recipe.hooks):
            write_first()
        waiting = self.cells.unwritten if in_cells else frozenset()
        if as_in is not None:
            assert as_in.last_log is not None and as_in.last_counts is not None
            self.adaptation.load_state_dict(as_in.adaptation.state_dict())
            self.model.counts.add(as_in.last_counts)
            log = as_in.last_log
        else:
            with self.bypassing() if self.variant.placement is Placement.NVM_TASK else nullcontext():
                log = train(
                    self.adaptation, data.ids, data.labels, self._rng, recipe=recipe,
                    on_step=lambda step: self._after_step(step, data, on_step), on_change=self._after_change,
                    on_start=write_first, again=again,
                )  # fmt: skip
        if write_first:
            write_first()  # where there was no step
        self.last_log, self.last_counts = log, self.model.counts.minus(before)
        if self.variant.placement is Placement.NVM_TASK:
            self._write_task(refresh=again)
        self.calibrate(data)
        cost = self._cost(log, before, waiting)
        cost.sets = self._working_sets(log, data, recipe)
        # Over every matrix on the chip, not only those the method says it trains.
        cost.cells_written = self._grown(total_before)
        cost.initial_counts, cost.initial_cells_written = self._initial
        grown = (after - writes_before.get(name, 0) for name, after in self._writes().items())
        cost.writes_max = max((int(more.max()) for more in grown), default=0)
        return cost

    @contextmanager
    def bypassing(self) -> Iterator[None]:
        """Inside, the trained matrices are held digitally: they are read exactly, and not in their cells. Those whose
        plan says so are read in their cells all the same (`TensorPlan.read_while_trained`).
        """
        tensors = self.adaptation.plan.tensors
        self.reader.bypass = frozenset(name for name in self.trained_cells if not tensors[name].read_while_trained)
        try:
            yield
        finally:
            self.reader.bypass = self.cells.unwritten

    def _after_change(self) -> None:
        """What follows a change of the trained numbers: those that live in cells are rewritten, but for the ranks that
        are given up. A rank whose gate is zero at present is left as it is: what its cells hold does not matter.
        """
        if self.variant.placement is not Placement.NVM_STEP or self.cells.unwritten:
            return
        kept, open_now = (self.adaptation.kept_ranks(gated) for gated in (False, True))
        for name in self.trained_cells:
            now = self._in_turn(name) or open_now.get(name)
            self.cells.write(name, self._value(name), kept.get(name), now)

    def _in_turn(self, name: str) -> Kept | None:
        """What of a matrix has just changed, where its slices take turns and one of them has its turn."""
        axis, turns = self.adaptation.plan.tensors[name].slice_axis, self.adaptation.module.turns
        if axis is None or turns is None or turns.current is None:
            return None
        return Kept(axis, np.array([turns.current]))

    def _after_step(self, step: int, data: Encoded, on_step: Callable[[int], None] | None) -> None:
        """What follows an optimiser step: now and then the converters' ranges follow the state."""
        if on_step is not None:
            on_step(step)
        follows = self.adaptation.backward_need is not BackwardNeed.NONE and not self.adaptation.plan.off_chip
        if step in FOLLOWING_STEPS and follows:
            self.calibrate(data)

    def _write_task(self, refresh: bool) -> None:
        """Write the trained matrices to their cells: over what is there, or into erased cells the first time. Ranks
        that are given up, or whose gate is zero, are left out.
        """
        kept = self.adaptation.kept_ranks(gated=True)
        for name in self.trained_cells:
            self.cells.write(name, self._value(name), kept.get(name), refresh=refresh)
        if self.adaptation.wrote is not None:
            self.adaptation.wrote()
        self.reader.bypass = self.cells.unwritten

    def _writes(self) -> dict[str, np.ndarray]:
        """Writes of each cell of the trained matrices so far."""
        return {name: self.model.matrix(name).writes for name in self.cells.on_chip}

    def _total_writes(self) -> dict[str, int]:
        """Writes of all cells of each matrix on the chip so far, the one-time programming included."""
        return {name: int(self.model.matrix(name).writes.sum(dtype=np.int64)) for name in self.model.names}

    def _grown(self, before: dict[str, int]) -> int:
        """Writes of all cells since `before`."""
        return sum(n - before.get(name, 0) for name, n in self._total_writes().items())

    def _cost(self, log: TrainLog, before: EventCounts, waiting: frozenset[str]) -> Cost:
        """`waiting`: the matrices that were not written before the first step."""
        adaptation = self.adaptation
        counts = self.model.counts.minus(before)
        forward, trained = log.forward_only, log.trained
        counts.digital_macs += log.head_macs + log.hook_macs
        stored = (log.stored_only, log.stored_trained)
        counts.add(
            training_events(
                adaptation.plan, adaptation.plan.head, forward, trained, log.steps, log.head_sequences,
                by_gradient=not log.step_passes, stored=stored if adaptation.plan.cached else None,
            )
        )  # fmt: skip
        early = (log.early_only, log.early_trained) if log.steps else (forward, trained)
        counts.add(early_events(adaptation.plan, waiting, *early))
        again = stored if adaptation.plan.cached else None
        hidden = self._overlaps.of_training(forward, trained, again, waiting, early)
        hidden.hidden_cycles = min(hidden.hidden_cycles, counts.array_cycles)  # less is read of ranks that are given up
        hidden.hidden_transposed_cycles = min(hidden.hidden_transposed_cycles, counts.transposed_cycles)
        counts.add(hidden)
        # A move along a direction reads where the step began and writes the numbers that are looked at; what has a rate
        # of 0 stays where it is.
        still = sum(parameter.numel() for parameter in adaptation.state.values()) - adaptation.moving_numbers
        moved = adaptation.moving_numbers * (log.changes - log.steps)
        counts.sram_bytes += 2 * NUMBER_BYTES * (moved - still * log.steps)
        return Cost(
            counts,
            steps=log.steps,
            tokens=sum(size.tokens for size in (trained, forward, *stored)),
            forward_pairs=sum(len(look.weights) for look in log.looks),
            forward_passes=log.step_passes,
        )

    def _working_sets(self, log: TrainLog, data: Encoded, recipe: Recipe) -> WorkingSets:
        """What the training worked on, estimated; the chip's cells are not in it."""
        adaptation, batch = self.adaptation, min(recipe.batch_size, len(data.ids))
        plan, by_gradient = adaptation.plan, not log.step_passes
        tokens = data.longest(batch) + plan.extra_tokens * batch
        head_only = plan.backward_need is BackwardNeed.NONE and log.steps > 0
        return training_sets(
            adaptation.state_bytes + NUMBER_BYTES * plan.held_numbers,
            adaptation.moving_numbers if log.steps else 0,
            plan.kept_outputs * tokens + plan.kept_once * batch,
            plan.head[1] * data.answers if head_only else 0,
            by_gradient,
            plan.kept_outputs > 0,
            plan.observed * data.size().tokens if plan.cached else 0,
            plan,
            data.longest(1),
        )

    def set_time(self, seconds: float) -> None:
        """Let time pass on the chip."""
        self.model.set_time(seconds)

    def features(self, data: Encoded) -> tuple[Tensor, Tensor]:
        """Features and labels of the examples, read through the chip."""
        return extract_features(self.adaptation, data.ids, data.labels)

    def inference(self, data: Encoded) -> tuple[tuple[Tensor, Tensor], EventCounts]:
        """Features of the examples, and the events of one example on average."""
        before = dataclasses.replace(self.model.counts)
        found = self.features(data)
        counts = self.model.counts.minus(before)
        size = data.size()
        counts.add(inference_events(self.adaptation.plan, size)).add(self._overlaps.of_answers(size))
        return found, counts.scaled(1.0 / size.sequences)

    def interval_seconds(self, answer: EventCounts, data: Encoded) -> float:
        """From one answer, whose events these are, to the next on average: see `Overlaps.interval_seconds`."""
        size = data.size()
        return self._overlaps.interval_seconds(answer, size.tokens / size.sequences + self.adaptation.plan.extra_tokens)

    @torch.no_grad()
    def grade(self, data: Encoded, found: tuple[Tensor, Tensor]) -> Graded:
        """How right the head's answers to the examples are, from their features and labels."""
        features, labels = found
        answers = self.adaptation.module.head(features).argmax(1)
        return data.grade(self.bench.task, answers.numpy(), labels.numpy())


def _number(text: str) -> int:
    """A number that belongs to a text, the same on every machine."""
    import zlib

    return zlib.crc32(text.encode())
