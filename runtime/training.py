"""A training run: head at class means, epochs of updates, saved as it goes, made current only when it is finished.

While a run is unfinished, its state lies beside the current one in the slots, and predictions use the current one. The
same call with the same data and options goes on where the run was cut off, to the same numbers.
"""

import hashlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import EdgeAdaptError, UsageError
from .head import class_mean_head, taught_row
from .learner import Learner, Restored, make_learner, memory_tensors
from .model import HEAD, Labelled, Model, objective
from .optim import SCHEDULES, Arrays
from .options import TrainOptions
from .rules import Pairs
from .sampling import ReplayBuffer, epoch_batches, hold_out
from .schema import plain
from .state import CURRENT, Header, RunRecord, Snapshot, prefixed
from .store import BESIDE_BYTES, StateStore
from .tokens import EVALUATION_BATCH, Batch, Encoded, by_length

log = logging.getLogger(__name__)

RUN = "run/"
NOT_PART_OF_THE_NUMBERS = ("save_every", "max_drop")


class StopTraining(Exception):
    """Raise it in `on_update` to end a run early: it is saved, and the same call goes on from there."""


@dataclass
class TrainReport:
    """What a run did, and whether it was `stopped` before its end.

    Losses are those of each update (NaN where it was undone), `seconds` of this process only.
    """

    updates: int = 0
    epochs: int = 0
    examples: int = 0
    held_out: int = 0
    replayed: int = 0
    losses: list[float] = field(default_factory=list, repr=False)  # one an update: too many to show
    undone: int = 0
    resumed_at: int = 0
    best_epoch: int | None = None
    held_out_loss: float | None = None
    held_out_accuracy: float | None = None
    guard_before: float | None = None
    guard_after: float | None = None
    refusal: str = ""
    stopped: bool = False
    seconds: float = 0.0

    @property
    def committed(self) -> bool:
        """Whether the result is now the current state."""
        return not (self.refusal or self.stopped)


@dataclass(frozen=True)
class Best:
    """The state with the least held-out loss so far, and after how many epochs and updates."""

    epoch: int
    loss: float
    updates: int
    values: Arrays


class TrainingRun:
    """One run. `go` returns its report; the store then holds the new state, or the old one if the guard refused."""

    def __init__(
        self,
        model: Model,
        store: StateStore,
        labels_taught: tuple[str, ...],
        data: Labelled,
        options: TrainOptions,
        guard: Labelled | None = None,
        on_update: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """`labels_taught` are the reserved classes in use once this run is done; the store is locked by the caller."""
        if not len(data):
            raise UsageError("there are no examples to train on")
        self.model, self.store, self.options, self.guard, self.on_update = model, store, options, guard, on_update
        self.current = store.read()
        self.taught = labels_taught
        self.report = TrainReport()
        self.new = data
        self.buffer = ReplayBuffer.from_tensors(self.current.part("replay/"), self.current.header.replay_seen)
        self._divide(data)
        self.plan = options.plan(model.manifest, len(self.train))
        self.identity = self._identity()
        part = max(1, self.plan.batch_size // options.accumulate)
        self.model.evaluation_batch = min(EVALUATION_BATCH, part)  # looking must not need more memory than training
        self.epoch = self.done = 0
        self.random: dict[str, Any] = {}
        self.best: Best | None = None

    def go(self) -> TrainReport:
        """Train to the end.

        Raises:
            EdgeAdaptError: the state cannot be saved, or the loss stays not finite. The current state is unharmed, and
                the run goes on from the last save when it is called again.
        """
        start = time.perf_counter()
        self._make_learner()
        try:
            self._epochs()
            if self.plan.epochs:
                self.learner.settle(self._batch(np.array([0])))
            self.model.engine.close("train")
            self._finish()
        except StopTraining:
            self._save_run()
            self.report.stopped = True
        finally:
            self.model.engine.close("train")
        self.report.seconds = time.perf_counter() - start
        return self.report

    def _divide(self, data: Labelled) -> None:
        """Held-out examples, and those to train on with the replayed ones behind them."""
        self.held: Labelled | None = None
        if self.options.hold_out:
            rng = np.random.default_rng([self.options.seed, 1])
            kept, held = hold_out(data.labels, self.options.hold_out, rng)
            if not len(kept):
                raise UsageError(f"{len(data)} examples are too few to hold some out")
            data, self.held = data.part(kept), data.part(held)
            self.report.held_out = len(held)
        self.report.examples = len(data)
        self._require_room(data.encoded)
        if self.options.replay and self.buffer.labels:
            self.report.replayed = len(self.buffer.labels)
            labels = np.concatenate([data.labels, np.array(self.buffer.labels, np.int64)])
            data = Labelled([*data.encoded, *self.buffer.encoded], labels)
        self.train = data

    def _require_room(self, encoded: Encoded) -> None:
        """Raise `UsageError` where the examples to be replayed later could take more than a state may hold."""
        arrays = map(np.asarray, [*encoded, *self.buffer.encoded])
        sizes = sorted((a.size * (1 if a.dtype == np.uint8 else 4) for a in arrays), reverse=True)  # pixels, or ids
        if sum(sizes[: self.options.replay]) > BESIDE_BYTES:
            fit = int(np.searchsorted(np.cumsum(sizes), BESIDE_BYTES, side="right"))
            raise UsageError(
                f"--replay {self.options.replay} would keep more than {BESIDE_BYTES >> 20} MiB of examples in the "
                f"state; take {fit} or fewer"
            )

    def _identity(self) -> str:
        """A digest of what the run's numbers depend on: options, examples, and the state it begins from."""
        options = {name: v for name, v in plain(self.options).items() if name not in NOT_PART_OF_THE_NUMBERS}
        digest = hashlib.sha256(json.dumps([options, self.taught], sort_keys=True).encode())
        for example, label in zip(self.new.encoded, self.new.labels, strict=True):
            array = np.asarray(example)
            digest.update(f"{label} {array.dtype} {array.shape}".encode() + array.tobytes())
        for name, value in sorted(self.current.tensors.items()):
            if not name.startswith(RUN):
                digest.update(name.encode() + value.tobytes())
        return digest.hexdigest()

    def _make_learner(self) -> None:
        """Where the run begins, or where it was cut off."""
        record = self.current.header.run
        resumes = record is not None and record.identity == self.identity
        values = self.current.part(RUN + CURRENT) if resumes else self._first_values()
        if self.model.head_only and self.plan.epochs:
            self._store_features(values)
        if self.options.optimizer != "mezo":
            self.model.engine.close("infer")  # one graph in memory at a time: the weights are most of it
        restored, undone = None, 0
        self.rng = np.random.default_rng(self.options.seed)
        if resumes and record is not None:
            restored, undone = Restored(record.optimiser, self.current.part(RUN + "optimiser/")), record.undone
            self.epoch, self.done = record.epoch, record.batches_done
            self.rng.bit_generator.state = dict(record.random)
            if record.best_epoch >= 0:
                best = self.current.part(RUN + "best/")
                self.best = Best(record.best_epoch, record.best_loss, record.best_updates, best)
            self.report.losses = self.current.tensors[RUN + "losses"].tolist()
            self.report.resumed_at = len(self.report.losses)
        elif record is not None:
            log.warning("an unfinished run with other examples or options is dropped")
        arguments = (objective(self.model), self.model.manifest, self.options, self.plan)
        self.learner: Learner = make_learner(values, *arguments, restored=restored, undone=undone)

    def _first_values(self) -> Arrays:
        """The current state, its head started as the options ask, newly taught rows filled in."""
        values = self.current.part(CURRENT)
        known = len(self.model.manifest.labels) + len(self.current.header.taught)
        classes = len(self.model.manifest.labels) + len(self.taught)
        means = self.options.head == "means" or (self.options.head == "auto" and self.current.header.step == 0)
        if not means and known == classes:
            return values
        features = self.model.outputs(values, self.train.encoded, "features")
        weight, bias = (values[name].copy() for name in HEAD)
        recipe, labels = self.model.manifest.recipe, self.train.labels
        margin, shrinkage = recipe.head_margin, recipe.head_shrinkage
        if means:
            weight[:classes], bias[:classes] = class_mean_head(features, labels, classes, margin, shrinkage)
        for row in () if means else range(known, classes):
            mine, others = features[labels == row], features[labels < row]
            if not len(mine):
                raise UsageError(f"no example of the class {self.taught[row - classes]!r} that is to be taught")
            weight[row], bias[row] = taught_row(weight[:row], bias[:row], mine, others, margin)
        return {**values, **dict(zip(HEAD, (weight, bias), strict=True))}

    def _store_features(self, values: Arrays) -> None:
        """Features of the examples, in order of length as the torch trainer keeps them: one pass for the whole run."""
        order = np.argsort([len(ids) for ids in self.train.encoded], kind="stable")
        self.train = self.train.part(order)
        self.features = self.model.outputs(values, self.train.encoded, "features")
        if self.held is not None:
            self.held_features = self.model.outputs(values, self.held.encoded, "features")

    def _epochs(self) -> None:
        if self.held is not None and self.best is None:
            self._judge(0)
        while self.epoch < self.plan.epochs and not self._out_of_patience():
            self.random = dict(self.rng.bit_generator.state)
            for rows in self._batches()[self.done :]:
                self._update(rows)
                if len(self.report.losses) % self.options.save_every == 0:
                    self._save_run()
            self.epoch, self.done = self.epoch + 1, 0
            if self.held is not None:
                self._judge(self.epoch)

    def _batches(self) -> list[np.ndarray]:
        size, balanced = self.plan.batch_size, self.options.balanced
        return epoch_batches(self.train.labels, size, self.rng, balanced=balanced, even=self.model.head_only)

    def _update(self, rows: np.ndarray) -> None:
        total = self.plan.epochs * self.plan.per_epoch
        place = self.epoch * self.plan.per_epoch + self.done
        parts = [part for part in np.array_split(rows, self.options.accumulate) if len(part)]
        crops = np.random.default_rng([self.options.seed, 3, place])  # the same when this update is repeated
        batches = [self._batch(part, crops) for part in parts]
        loss = self.learner.step(batches, SCHEDULES[self.options.schedule](place / total))
        self.report.losses.append(loss)
        self.done += 1
        if self.on_update is not None:
            self.on_update(place + 1, total, loss)

    def _batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> Batch:
        labels = self.train.labels[rows]
        if self.model.head_only:
            return Batch({"features": self.features[rows]}, labels)
        return self.model.batch([self.train.encoded[row] for row in rows], labels, rng)

    def _held_batch(self, rows: np.ndarray) -> Batch:
        assert self.held is not None
        if self.model.head_only:
            return Batch({"features": self.held_features[rows]}, self.held.labels[rows])
        return self.model.batch([self.held.encoded[row] for row in rows], self.held.labels[rows])

    def _judge(self, epoch: int) -> None:
        """Keep the state if its held-out loss is the least so far."""
        assert self.held is not None
        parts = by_length(self.held.encoded, self.model.evaluation_batch)
        looks = [(self.learner.rule.look(self.learner.values, self._held_batch(rows)), len(rows)) for rows in parts]
        loss = sum(loss * count for loss, count in looks) / len(self.held)
        loss = loss if math.isfinite(loss) else math.inf
        if self.best is None or loss < self.best.loss:
            self.best = Best(epoch, loss, self.learner.memory.updates, self.learner.values)

    def _out_of_patience(self) -> bool:
        return self.best is not None and self.epoch - self.best.epoch >= self.options.patience

    def _save_run(self) -> None:
        """Save the run as it was before its last update, which is the last state known to give a finite loss.

        Going on from there repeats that update, and can undo it again if it turns out bad.
        """
        if not self.random:
            return
        values, memory, done = self.learner.values, self.learner.memory, self.done
        losses = self.report.losses
        if self.learner.proven is not None and done:
            (values, memory), done, losses = self.learner.proven, done - 1, losses[:-1]
        record = RunRecord(self.identity, self.learner.record(memory), self.random, self.epoch, done)
        tensors = prefixed(RUN + CURRENT, values) | prefixed(RUN + "optimiser/", memory_tensors(memory))
        if self.best is not None:
            best = self.best
            loss = min(best.loss, sys.float_info.max)  # infinity is no JSON
            record = replace(record, best_epoch=best.epoch, best_loss=loss, best_updates=best.updates)
            tensors |= prefixed(RUN + "best/", best.values)
        tensors[RUN + "losses"] = np.array(losses, np.float64)
        record = replace(record, undone=self.learner.undone)
        kept = {name: value for name, value in self.current.tensors.items() if not name.startswith(RUN)}
        self.store.save(Snapshot(replace(self.current.header, run=record), kept | tensors))

    def _finish(self) -> None:
        """Choose the state, ask the guard, make it current."""
        report, learner = self.report, self.learner
        values, memory = learner.values, learner.memory
        if self.best is not None:
            values, report.best_epoch, report.held_out_loss = self.best.values, self.best.epoch, self.best.loss
        report.updates, report.epochs, report.undone = memory.updates, self.epoch, learner.undone
        if report.losses and not memory.updates:
            raise EdgeAdaptError("no update had a finite loss; the state saved before is unharmed: check the examples")
        if self.held is not None:
            report.held_out_accuracy = self.model.accuracy(values, self.held)
        self._ask_guard(values)
        former = self.current.alone()
        kept = {n: v for n, v in self.current.tensors.items() if not n.startswith((RUN, "optimiser/"))}
        if report.refusal:
            self.store.save(Snapshot(replace(self.current.header, run=None, optimiser=None), kept))
            return
        rng = np.random.default_rng([self.options.seed, 2, self.buffer.seen])
        self.buffer.offer(self.new.encoded, self.new.labels.tolist(), self.options.replay, rng)
        tensors = prefixed(CURRENT, values) | prefixed("replay/", self.buffer.tensors())
        updates = self.best.updates if self.best else memory.updates
        rates: dict[str, float] = {}
        if isinstance(memory, Pairs):
            tensors |= prefixed("mezo/", memory_tensors(memory.first(updates)))
            rates = dict(self.plan.rates)
        header = Header(
            self.store.owner,
            step=max(self.current.header.step + updates, 1),  # a head at class means is trained, too
            taught=self.taught,
            note="trained",
            results=self._results(),
            replay_seen=self.buffer.seen,
            mezo_rates=rates,
            start_sha256=self.current.header.start_sha256,
        )
        self.store.replace_current(former, Snapshot(header, tensors))

    def _ask_guard(self, values: Arrays) -> None:
        if self.guard is None:
            return
        report = self.report
        report.guard_before = self.model.accuracy(self.current.part(CURRENT), self.guard)
        report.guard_after = self.model.accuracy(values, self.guard)
        if 100 * (report.guard_before - report.guard_after) > self.options.max_drop + 1e-9:
            report.refusal = (
                f"the new state is refused: accuracy on the {len(self.guard)} guard examples fell from "
                f"{100 * report.guard_before:.1f} % to {100 * report.guard_after:.1f} %, by more than "
                f"{self.options.max_drop:g} points; the state is as it was before"
            )

    def _results(self) -> dict[str, Any]:
        """Figures about the run that stay with the state."""
        report = self.report
        found = {
            "examples": report.examples,
            "updates": report.updates,
            "last_loss": next((loss for loss in reversed(report.losses) if math.isfinite(loss)), None),
            "held_out_loss": report.held_out_loss,
            "held_out_accuracy": report.held_out_accuracy,
            "guard_accuracy": report.guard_after,
        }
        return {name: value for name, value in found.items() if value is not None}
