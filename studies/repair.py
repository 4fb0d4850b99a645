"""What gives back the accuracy that a chip has lost since it was adapted: five ways, on the same cells and texts.

- *nothing*: the chip as it has become;
- *drift compensation*: a digital factor for each matrix, found with probes (`simulator.compensation`);
- *prepared*: magnitudes and offsets for each age, found on other simulated chips before deployment, chosen by the
  clock;
- *repaired*: the same, found on this chip from a few unlabelled inputs, whose outputs it noted on its first day;
- *adapted again*: a second, shorter training with the labelled examples.

`methods.repair` explains how magnitudes and offsets are found. No cell of the backbone is written by any of the five.
"""

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._version import __version__
from ..devices import load_chip
from ..errors import UsageError, unknown_name
from ..methods import Placement
from ..methods.costs import EVALUATION_BATCH
from ..methods.repair import CorrectedReader, Correction, Memory, averaged, nbytes, remember, repair
from ..progress import Progress
from ..reports.records.repair import (
    AGAIN,
    COMPENSATED,
    FRESH,
    NOTHING,
    PREPARED,
    REPAIR_SCHEMA,
    REPAIRED,
    Repaired,
    RepairReport,
)
from ..reports.repair import summarised
from ..simulator import CostTable, EventCounts, ProgrammedModel
from ..workloads.task import Task
from .config import SimulateConfig
from .digital import inference_sets
from .encoding import Encoded, Graded
from .life import age_text, shorter
from .records import Priced
from .trial import ChipTrial, Cost
from .workbench import Workbench, load_workbench

WAYS = (NOTHING, COMPENSATED, PREPARED, REPAIRED, AGAIN)
OTHER_CHIPS = 1000  # the numbers of the chips that vectors are prepared on begin so far from those of the runs
WORK = "work"


@dataclass(frozen=True)
class RepairConfig:
    """`simulation`: device, model, task, one method, draws, chips, ages and test examples, as for `edge-adapt
    simulate`. inputs: unlabelled examples that the device keeps. prepared_on: other chips that vectors are prepared on.
    ways: of `WAYS`.
    """

    simulation: SimulateConfig
    inputs: int = 10
    prepared_on: int = 2
    ways: tuple[str, ...] = WAYS

    def __post_init__(self) -> None:
        for name in ("inputs", "prepared_on"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")
        if self.inputs > EVALUATION_BATCH:
            raise UsageError(f"inputs must be at most {EVALUATION_BATCH}; got {self.inputs}")
        for way in self.ways:
            if way not in WAYS:
                raise UsageError(unknown_name("way", way, WAYS))
        if not self.ways:
            raise UsageError(f"ways must name at least one of {', '.join(WAYS)}; got none")
        if len(self.simulation.shots) != 1:
            raise UsageError("repair takes one number of shots")


@dataclass
class _Day:
    """A chip with its adapted trial, and what it remembers. `again`: for each age at which it is adapted again, the
    trial that is; the others stay as they are, converters and all.
    """

    chip: ProgrammedModel
    trial: ChipTrial
    again: dict[int, ChipTrial] = dataclasses.field(default_factory=dict)
    memory: Memory | None = None
    events: EventCounts = dataclasses.field(default_factory=EventCounts)


class Repair:
    """One method on one device: `run` gives the records of every run, age and way."""

    def __init__(self, config: RepairConfig, progress: Progress | None = None):
        self.config, self.progress = config, progress or Progress()
        self.progress.stage("loading model and data")
        self.bench = load_workbench(config.simulation)
        if len(self.bench.variants) != 1:
            named = ", ".join(v.title.replace("/", ":") for v in self.bench.variants)
            raise UsageError(f"repair takes one method under one placement; this is {named}")
        self.variant = self.bench.variants[0]
        self.shots, self.ages = config.simulation.shots[0], config.simulation.age_seconds
        self.plain = self._with("none")
        self.unlabelled(self.bench.config.first_seed)  # whether there are enough
        steps = self.variant.method.recipe.schedule(self.shots).steps
        each = sum(way != PREPARED for way in config.ways) + len(self.ages) * len(config.ways)
        self.progress.start({WORK: (config.simulation.seeds * (each + steps / 20), None)})

    def _with(self, compensation: str) -> Workbench:
        """The bench with a chip that compensates drift so, or not at all."""
        settings = self.config.simulation.chip_settings() | {"array.drift_compensation": compensation}
        return dataclasses.replace(self.bench, chip=load_chip(self.config.simulation.device, settings))

    @property
    def compensation(self) -> str:
        """How the chip compensates drift: as its file says, or one factor a matrix."""
        given = self.bench.chip.array.drift_compensation
        return "matrix" if given == "none" else given

    def unlabelled(self, seed: int) -> Encoded:
        """Inputs of the task that are neither trained nor tested on; their labels are not looked at."""
        return self.bench.encode(unlabelled(self.bench.task, self.shots, seed, self.config.inputs))

    def run(self) -> Iterator[Repaired]:
        """The records, run by run."""
        prepared = self.prepare() if PREPARED in self.config.ways else {}
        for seed in self.config.simulation.seed_numbers:
            yield from self._one_run(seed, prepared)

    # --- before deployment
    # -------------------------------------------------------------------------------------------------------------

    def prepare(self) -> dict[int, dict[str, Correction]]:
        """Corrections for each age, in the mean of other chips, which hold the method as it is before it is trained."""
        first = self.config.simulation.first_seed
        found: dict[int, list[dict[str, Correction]]] = {age: [] for age in self.ages}
        for number in range(self.config.prepared_on):
            self.progress.stage(f"vectors for each age, from chip {number + 1} of {self.config.prepared_on}")
            chip = self.plain.program(self.config.simulation.chip_seed + OTHER_CHIPS + number)
            trial = ChipTrial(self.plain, self.variant, chip, self.shots, first)
            inputs = self.unlabelled(first)
            trial.deploy(inputs)
            with trial.bypassing():
                memory = remember(trial.adaptation, trial.reader, Pass(trial, inputs))
                for age in self.ages:
                    _set_time(chip, trial, age)
                    found[age].append(repair(trial.adaptation, trial.reader, Pass(trial, inputs), memory))
        return {age: averaged(of_chips) for age, of_chips in found.items()}

    # --- on a chip
    # -------------------------------------------------------------------------------------------------------------

    def _one_run(self, seed: int, prepared: dict[int, dict[str, Correction]]) -> Iterator[Repaired]:
        where = f"run {seed - self.config.simulation.first_seed + 1} of {self.config.simulation.seeds}"
        day = self._deployed(self.plain, seed, where)
        fresh, answer = self._graded(day.trial, seed)
        yield self._record(seed, 0, FRESH, fresh, EventCounts(), answer, day)
        inputs = self.unlabelled(seed)
        if AGAIN in self.config.ways:
            day.again = self._spare(day, seed)
        if REPAIRED in self.config.ways:
            day.memory, day.events = self._remembered(day.trial, inputs)
        for age in self.ages:
            self.progress.stage(f"{where}: after {age_text(age)}")
            _set_time(day.chip, day.trial, age)
            for way, corrections, events in self._corrections(day, age, inputs, prepared):
                graded, answer = self._graded(day.trial, seed, corrections)
                yield self._record(seed, age, way, graded, events, answer, day)
            if age in day.again:
                yield self._adapted_again(day, seed, age)
        if COMPENSATED in self.config.ways:
            yield from self._compensated(day, seed, where)

    def _spare(self, day: _Day, seed: int) -> dict[int, ChipTrial]:
        """Trials to adapt again, as the one of the first day is. One that trains in cells of its own has no double: it
        is adapted again itself, at the last age.
        """
        if not self._shares:
            return {self.ages[-1]: day.trial}
        found = {}
        for age in self.ages:
            trial = ChipTrial(self.plain, self.variant, day.chip, self.shots, seed)
            self._adapt(trial, seed, as_in=day.trial)
            found[age] = trial
        return found

    @property
    def _shares(self) -> bool:
        """Whether a training can be taken over by another trial: it does not depend on what its cells become."""
        return self.variant.placement is not Placement.NVM_STEP

    def _adapt(self, trial: ChipTrial, seed: int, as_in: ChipTrial | None = None) -> None:
        data = self.bench.encode(self.bench.task.few_shot(self.shots, seed).train)
        trial.deploy(data)
        steps = trial.adaptation.recipe.schedule(len(data.ids)).steps
        each = self.variant.method.recipe.schedule(self.shots).steps / 20 / max(1, steps)
        trial.adapt(data, trial.adaptation.recipe, as_in=as_in, on_step=lambda _: self.progress.advance(each, WORK))

    def _deployed(self, bench: Workbench, seed: int, where: str, as_in: ChipTrial | None = None) -> _Day:
        self.progress.stage(f"{where}: programming")
        chip = bench.program(bench.config.chip_of(seed))
        trial = ChipTrial(bench, self.variant, chip, self.shots, seed)
        self.progress.stage(f"{where}: adapting")
        self._adapt(trial, seed, as_in)
        return _Day(chip, trial)

    def _corrections(
        self, day: _Day, age: int, inputs: Encoded, prepared: dict[int, dict[str, Correction]]
    ) -> Iterator[tuple[str, dict[str, Correction], EventCounts]]:
        """(way, corrections, events of finding them) of what needs no second chip and no training."""
        if NOTHING in self.config.ways:
            yield NOTHING, {}, EventCounts()
        if PREPARED in self.config.ways:
            yield PREPARED, prepared[age], fetching(prepared[age])
        if day.memory is not None:
            one_pass = Pass(day.trial, inputs)
            found = repair(day.trial.adaptation, day.trial.reader, one_pass, day.memory)
            moved = EventCounts(sram_bytes=nbytes(day.memory) + nbytes(found))
            yield REPAIRED, found, one_pass.events.add(summing(one_pass, day.memory)).add(moved)

    def _remembered(self, trial: ChipTrial, inputs: Encoded) -> tuple[Memory, EventCounts]:
        """What the first day leaves, and what it takes."""
        one_pass = Pass(trial, inputs)
        memory = remember(trial.adaptation, trial.reader, one_pass)
        return memory, one_pass.events.add(summing(one_pass, memory)).add(EventCounts(sram_bytes=nbytes(memory)))

    def _adapted_again(self, day: _Day, seed: int, age: int) -> Repaired:
        """A second training, on the chip as it has become."""
        trial = day.again[age]
        trial.set_time(age)
        data = self.bench.encode(self.bench.task.few_shot(self.shots, seed).train)
        cost = trial.adapt(data, shorter(trial.adaptation.recipe, self.config.simulation.readapt_share), again=True)
        graded, answer = self._graded(trial, seed)
        return self._record(seed, age, AGAIN, graded, cost.counts, answer, day, again=cost)

    def _compensated(self, day: _Day, seed: int, where: str) -> Iterator[Repaired]:
        as_in = day.trial if self._shares else None
        other = self._deployed(self._with(self.compensation), seed, f"{where}, with drift compensation", as_in)
        for age in self.ages:
            before = dataclasses.replace(other.trial.model.counts)
            _set_time(other.chip, other.trial, age)
            events = other.trial.model.counts.minus(before)
            graded, answer = self._graded(other.trial, seed)
            yield self._record(seed, age, COMPENSATED, graded, events, answer, other)

    def _graded(
        self, trial: ChipTrial, seed: int, corrections: dict[str, Correction] | None = None
    ) -> tuple[Graded, EventCounts]:
        """Answers to the run's test examples, and the events of one of them."""
        test, reader = self.bench.tests(seed), CorrectedReader(trial.reader, corrections or {})
        with trial.adaptation.read_by(reader) if corrections else trial.adaptation.read_by(trial.reader):
            found, counts = trial.inference(test)
        counts.digital_adds += reader.corrected_outputs / len(test.ids)
        self.progress.advance(1, WORK)
        return trial.grade(test, found), counts

    def _record(
        self, seed: int, age: int, way: str, graded: Graded, events: EventCounts, answer: EventCounts, day: _Day,
        again: Cost | None = None,
    ) -> Repaired:  # fmt: skip
        table, model, test = CostTable.of(day.trial.bench.chip), day.trial.model, self.bench.tests(seed)
        arrays = sum(model.matrix(name).layout.arrays for name in model.names)
        one = inference_sets(day.trial.adaptation.plan, test.longest(1))
        spent = Priced.of(table, events, arrays, again.sets if again else one)
        asked = Priced.of(table, answer, arrays, one)
        memory = day.memory if way == REPAIRED else None
        return Repaired(
            seed=seed, age_seconds=age, way=way, score=graded.score, right=graded.right,
            energy_joules=spent.cost.total_joules, time_seconds=spent.cost.total_seconds,
            first_day_energy_joules=Priced.of(table, day.events, arrays, one).cost.total_joules if memory else 0.0,
            remembered_bytes=nbytes(memory) if memory else 0, cells_written=again.cells_written if again else 0,
            answer_energy_joules=asked.cost.total_joules, event_counts=spent.counts.as_dict(),
        )  # fmt: skip


def repair_study(config: RepairConfig, progress: Progress | None = None, command: str = "") -> RepairReport:
    """The whole study and its summary.

    Raises:
        UsageError: names, options or inputs that do not fit.
    """
    study = Repair(config, progress)
    bench, results = study.bench, list(study.run())
    shared = len({found.numbers for found in bench.test_sets.values()}) == 1
    return RepairReport(
        schema=REPAIR_SCHEMA,
        version=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        config={**config.simulation.as_dict(), "inputs": config.inputs, "prepared_on": config.prepared_on,
                "ways": list(config.ways)},
        device=bench.chip.name,
        cell=bench.chip.cell.title,
        model=bench.backbone.name,
        task=bench.task.name,
        metric=bench.task.metric,
        test_examples=len(bench.test.ids),
        method=study.variant.method.name,
        placement=study.variant.placement.value,
        results=results,
        summary=summarised(results, bench.task.metric, shared),
        messages=[*bench.task.messages, *(bench.pool.messages if bench.pool else ())],
        label="simulated",
    )  # fmt: skip


class Pass:
    """Answers to the inputs, one at a time in the account and all at once in the computation; their events."""

    def __init__(self, trial: ChipTrial, inputs: Encoded):
        self._trial, self._inputs, self.events = trial, inputs, EventCounts()

    def __call__(self) -> None:
        counts = self._trial.inference(self._inputs)[1]
        self.events.add(counts, len(self._inputs.ids))

    @property
    def tokens(self) -> int:
        return self._inputs.size().tokens


def unlabelled(task: Task, shots: int, seed: int, number: int) -> tuple:
    """So many examples of the part that can be trained on, which the draw of `shots` has not taken.

    Raises:
        UsageError: there are fewer.
    """
    drawn = task.few_shot(shots, seed)
    taken = {id(example) for example in (*drawn.train, *drawn.validation)}
    others = [example for example in task.train if id(example) not in taken]
    if len(others) < number:
        raise UsageError(
            f"task {task.name!r} has {len(others)} examples beside {shots} shots and the test examples; {number} "
            "unlabelled inputs are asked for"
        )
    return tuple(others[n] for n in np.random.default_rng([seed, 11]).permutation(len(others))[:number])


def summing(done: Pass, memory: Memory) -> EventCounts:
    """Digital work of the moments: for each output and token a square, and an addition to each of two sums."""
    outputs = done.tokens * sum(found.mean.numel() for found in memory.values())
    return EventCounts(digital_macs=outputs, digital_adds=outputs)


def fetching(prepared: dict[str, Correction]) -> EventCounts:
    """Work of taking prepared vectors: they are read where they lie, and written to where they are used."""
    return EventCounts(sram_bytes=2 * nbytes(prepared))


def _set_time(chip: ProgrammedModel, trial: ChipTrial, seconds: int) -> None:
    chip.set_time(seconds)
    trial.set_time(seconds)
