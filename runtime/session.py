"""A bundle opened on the device: train, predict, save. What the command line does, as an API."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import EdgeAdaptError, UsageError, unknown_name
from .examples import LineError, label_of
from .head import log_softmax
from .images import Picture
from .learner import Learner, Restored, make_learner, memory_tensors
from .manifest import read_manifest, verify_files
from .model import HEAD, Labelled, Model, objective
from .options import TrainOptions
from .rules import Pairs
from .state import CURRENT, Snapshot, prefixed
from .store import StateStore
from .tokens import Batch, Encoded
from .training import TrainingRun, TrainReport

log = logging.getLogger(__name__)

Examples = Sequence[str] | Sequence[Picture]
"""Texts, or images: arrays or names of files."""


@dataclass(frozen=True)
class Prediction:
    """The most probable label of a text or image, and the probabilities of all labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (0..1) and mean cross entropy on labelled examples; by label: how many there were, and were right."""

    examples: int
    accuracy: float
    loss: float
    by_label: dict[str, tuple[int, int]]


class Session:
    """An open bundle. A context manager.

    The first change of the state takes the bundle's lock, so that no other process can write; predictions need no lock
    and work on a read-only disk. What `step` changes lasts when `save` has returned; `train` saves by itself.

    Where the bundle's model sees images, `texts` are images: uint8 arrays (height, width, 3) or names of files.
    """

    def __init__(
        self, bundle: str | Path, *, threads: int = 0, verify: bool = True, options: TrainOptions | None = None
    ) -> None:
        """Open a bundle folder.

        Args:
            threads: for onnxruntime; 0 takes all cores.
            verify: compare every file with its SHA-256 first (about 0.1 s for 100 MB).
            options: optimiser and rates of `step` (default AdamW with the bundle's recipe).

        Raises:
            BundleError: the folder is no bundle, a file or both state slots are damaged, or a newer version wrote it.
        """
        self.folder = Path(bundle)
        self.manifest = read_manifest(self.folder)
        if verify:
            verify_files(self.folder, self.manifest)
        self.options = options or TrainOptions()
        self.model = Model(self.folder, self.manifest, threads)
        self.store = StateStore(self.folder, self.manifest)
        self.snapshot: Snapshot
        self.taught: tuple[str, ...]
        self._values: dict[str, np.ndarray]
        self._learner: Learner | None
        self._kept = self._unsaved_teaching = False
        self._load(self.store.read())

    def __repr__(self) -> str:
        more = f", and {len(self.labels) - 5} more" if len(self.labels) > 5 else ""
        labels = f"{', '.join(map(repr, self.labels[:5]))}{more}"
        return f"Session(bundle={str(self.folder)!r}, labels=({labels}), state={self.snapshot.header.counter})"

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back memory and lock. Unsaved steps are lost."""
        self.model.engine.close("train")
        self.model.engine.close("infer")
        self.store.release()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes: those of the bundle, then those taught on the device."""
        return (*self.manifest.labels, *self.taught)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of the state that predictions use, by name."""
        return {name: value.copy() for name, value in self._values.items()}

    def predict(self, texts: Examples) -> list[Prediction]:
        """The label of each text. Raises `UsageError` for an empty text, `EdgeAdaptError` for a ruined state."""
        probabilities = np.exp(log_softmax(self._logits(self._encode(texts))))
        best = probabilities.argmax(axis=1)
        rows = probabilities.tolist()
        return [
            Prediction(self.labels[k], row[k], dict(zip(self.labels, row, strict=True)))
            for k, row in zip(best.tolist(), rows, strict=True)
        ]

    def evaluate(self, texts: Examples, labels: Sequence[str]) -> Evaluation:
        """How well the present state names the labels of the texts."""
        data = self.labelled(texts, labels)
        logits = self._logits(data.encoded)
        right = logits.argmax(axis=1) == data.labels
        by_label = {
            name: (int(mine.sum()), int(right[mine].sum()))
            for row, name in enumerate(self.labels)
            if (mine := data.labels == row).any()
        }
        loss = float(-log_softmax(logits)[np.arange(len(data)), data.labels].mean(dtype=np.float64))
        return Evaluation(len(data), float(right.mean()), loss, by_label)

    def batch(self, texts: Examples, labels: Sequence[str]) -> Batch:
        """A batch for `step`."""
        data = self.labelled(texts, labels)
        return self.model.batch(data.encoded, data.labels)

    def step(self, batch: Batch | Sequence[tuple[str | Picture, str]], factor: float = 1.0) -> float:
        """One update from a batch (or (text, label) pairs), at `factor` times the rates; returns the loss before it.

        A loss that is not finite undoes the update before, halves the rates from then on, and is returned as NaN.

        Raises:
            EdgeAdaptError: another process is changing the state, or the loss stays not finite.
            UsageError: an unknown label, an empty text or batch.
        """
        if not isinstance(batch, Batch):
            batch = self.batch([text for text, _ in batch], [label for _, label in batch])
        if not len(batch):
            raise UsageError("the batch is empty")
        if len(strange := batch.labels[(batch.labels < 0) | (batch.labels >= len(self.labels))]):
            raise UsageError(f"label {strange[0]} is outside 0..{len(self.labels) - 1}")
        if not self.manifest.trained:
            raise UsageError(f"the method {self.manifest.method} has nothing that a step could train; use train()")
        if self._learner is None:
            self._become_writer()
            self._learner = self._new_learner()
        parts = np.array_split(np.arange(len(batch)), min(self.options.accumulate, len(batch)))
        cut = lambda rows: Batch({name: value[rows] for name, value in batch.inputs.items()}, batch.labels[rows])
        loss = self._learner.step([batch] if len(parts) == 1 else [cut(rows) for rows in parts], factor)
        self._values = self._learner.values
        return loss

    def train(
        self,
        texts: Examples,
        labels: Sequence[str],
        options: TrainOptions | None = None,
        *,
        guard: tuple[Examples, Sequence[str]] | None = None,
        on_update: Callable[[int, int, float], None] | None = None,
    ) -> TrainReport:
        """Train on labelled texts and make the result the current state, unless the guard set loses too much.

        Args:
            options: default those of the session.
            guard: texts and labels whose accuracy may not fall by more than `options.max_drop` points.
            on_update: called with (updates done, updates planned, loss); it may raise `StopTraining`.

        Raises:
            UsageError: an unknown label, an empty text, no examples, no reserved class left to teach.
            EdgeAdaptError: another process is changing the state, it cannot be saved, or the loss stays not finite.
        """
        options = options or self.options
        if self._unsaved:
            raise UsageError("there are unsaved steps; save() them, or open the bundle anew, before train()")
        self._become_writer()
        taught = self.taught_with(options.teach)
        data = self.labelled(texts, labels, taught)
        guarded = None if guard is None else self.labelled(*guard, taught)
        run = TrainingRun(self.model, self.store, taught, data, options, guarded, on_update)
        try:
            return run.go()
        finally:
            self._load(self.store.read())

    def teach(self, label: str) -> None:
        """Put a reserved class into use, to be trained by `step`: its row starts at zero weight and zero bias."""
        self._become_writer()
        self.taught = self.taught_with((label,))
        bias = self._values[HEAD[1]].copy()
        bias[len(self.labels) - 1] = 0.0
        self._values = {**self._values, HEAD[1]: bias}
        if self._learner is not None:
            self._learner = Learner(self._values, self._learner.rule, self._learner.memory, self._learner.rate_factor)
        self._unsaved_teaching = True

    def save(self) -> None:
        """Make the present values the current state, durably; the optimiser's memory goes along.

        Raises `EdgeAdaptError` when they cannot be written; the state on disk is then the former one, or complete.
        """
        self._become_writer()
        header = replace(self.snapshot.header, taught=self.taught, note="saved", run=None, results={})
        tensors = prefixed(CURRENT, self._values) | prefixed("replay/", self.snapshot.part("replay/"))
        if self._learner is not None:
            record = self._learner.record()
            before = self.snapshot.header.optimiser
            new_updates = record.updates - (before.updates if before and before.kind == record.kind else 0)
            header = replace(header, step=header.step + new_updates, optimiser=record, mezo_rates={})
            tensors |= prefixed("optimiser/", memory_tensors(self._learner.memory))
            if isinstance(self._learner.memory, Pairs):
                tensors |= prefixed("mezo/", memory_tensors(self._learner.memory))
                header = replace(header, mezo_rates=self._rates())
        if not self._kept:
            self.snapshot = self.store.replace_current(self.snapshot, Snapshot(header, tensors))
            self._kept = True
        else:
            self.snapshot = self.store.save(Snapshot(header, tensors))
        self._unsaved_teaching = False

    def reset(self) -> None:
        """Go back to the exported state: the outputs are those of the bundle as it came, bit for bit."""
        self._become_writer()
        self._load(self.store.reset())

    def roll_back(self, counter: int | None = None) -> None:
        """Go back to a state of the history (see `StateStore.roll_back`)."""
        self._become_writer()
        self._load(self.store.roll_back(counter))

    def longest(self, texts: Examples) -> int:
        """Tokens of the longest of the texts, as cut to what the bundle takes; of an image."""
        if self.manifest.images is not None:
            return self.manifest.images.tokens
        return max(map(len, self._encode(texts)))

    def taught_with(self, new: Iterable[str]) -> tuple[str, ...]:
        """The taught labels with new ones behind them. Raises `UsageError` when the head has no row left for one."""
        taught = list(self.taught)
        for given in new:
            try:
                label = label_of(given)  # as in files
            except LineError as error:
                raise UsageError(f"the name of a new class: {error}") from None
            if label in self.manifest.labels or label in taught:
                continue
            if len(taught) >= self.manifest.reserved_classes:
                raise UsageError(
                    f"no class is left to teach {label!r}: {self.manifest.reserved_classes} were reserved at export"
                    + (f", taken by {', '.join(taught)}" if taught else "; export with more --reserve-classes")
                )
            taught.append(label)
        return tuple(taught)

    def wrong_label(self, label: str, taught: tuple[str, ...] | None = None) -> str:
        """What is wrong with a label, or "" when it is known."""
        known = (*self.manifest.labels, *(self.taught if taught is None else taught))
        if label in known:
            return ""
        left = len(self.manifest.labels) + self.manifest.reserved_classes - len(known)
        return unknown_name("label", label, known) + ("; a new class has to be taught (--teach)" if left else "")

    def labelled(self, texts: Examples, labels: Sequence[str], taught: tuple[str, ...] | None = None) -> Labelled:
        """Token ids or pixels, and classes. Raises `UsageError` for an unknown label or an empty text."""
        if len(texts) != len(labels):
            raise UsageError(f"{len(texts)} {self.model.encoder.noun}s have {len(labels)} labels")
        known = (*self.manifest.labels, *(self.taught if taught is None else taught))
        for label in labels:
            if problem := self.wrong_label(label, taught):
                raise UsageError(problem)
        return Labelled(self._encode(texts), np.array([known.index(label) for label in labels], np.int64))

    @property
    def _unsaved(self) -> bool:
        if self._learner is None:
            return self._unsaved_teaching
        saved = self.snapshot.header.optimiser
        return self._unsaved_teaching or saved != self._learner.record()

    def _load(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.taught = snapshot.header.taught
        self._values = snapshot.part(CURRENT)
        self._learner = None
        self._kept = self._unsaved_teaching = False

    def _become_writer(self) -> None:
        """Take the lock; if the state was changed by another process since it was read, read it again."""
        if self.store.locked:
            return
        self.store.lock()
        snapshot = self.store.read()
        if snapshot.header != self.snapshot.header:
            log.warning("the state was changed by another process meanwhile; going on from its counter %d",
                        snapshot.header.counter)  # fmt: skip
            self._load(snapshot)

    def _new_learner(self) -> Learner:
        record = self.snapshot.header.optimiser
        restored = None if record is None else Restored(record, self.snapshot.part("optimiser/"))
        plan = self.options.plan(self.manifest, 1)
        return make_learner(self._values, objective(self.model), self.manifest, self.options, plan, restored)

    def _rates(self) -> dict[str, float]:
        return dict(self.options.plan(self.manifest, 1).rates)

    def _encode(self, texts: Examples) -> Encoded:
        return self.model.encoder.encode(texts)  # type: ignore[arg-type]  # each refuses what it cannot read

    def _logits(self, encoded: Encoded) -> np.ndarray:
        if not encoded:
            raise UsageError(f"there are no {self.model.encoder.noun}s")
        logits = self.model.outputs(self._values, encoded, "logits")[:, : len(self.labels)]
        if not np.isfinite(logits).all():
            raise EdgeAdaptError(
                "the state gives answers that are no numbers; go back with `edge-adapt state rollback`"
            )
        return logits
