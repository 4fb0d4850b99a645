"""What a user may choose about training; what is not chosen comes from the bundle's recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UsageError, unknown_name
from .manifest import Manifest
from .optim import SCHEDULES
from .sampling import batch_count

OPTIMIZERS = ("adamw", "sgd", "mezo")
HEADS = ("auto", "means", "keep")


@dataclass(frozen=True)
class TrainOptions:
    """Choices for training. None and missing learning rates stand for the recipe's.

    `learning_rates` maps groups to peak rates; `schedule` says how they fall. `batch_size` examples make one update,
    in `accumulate` parts to save memory. `head`: "means" starts the head at class means, "keep" does not, "auto" does
    so for a state that was never trained. `teach` names new classes, each taking a reserved row of the head.
    `balanced` draws all classes equally often. `replay` keeps that many examples in the state and mixes them into
    later runs. `hold_out` is the share of the examples that decides, by its loss, which epoch's state is taken;
    training stops after `patience` epochs without a better one. `max_drop` is how many points of accuracy a guard set
    may lose. Every `save_every` updates the unfinished run is saved. `epsilon` is the distance of MeZO's two looks.
    """

    optimizer: str = "adamw"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float | None = None
    clip_norm: float | None = None
    momentum: float = 0.0
    schedule: str = "linear"
    accumulate: int = 1
    seed: int = 0
    head: str = "auto"
    teach: tuple[str, ...] = ()
    balanced: bool = False
    replay: int = 0
    hold_out: float = 0.0
    patience: int = 3
    max_drop: float = 1.0
    save_every: int = 20
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Raise `UsageError` for a value no training can have."""
        for kind, given, allowed in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
            ("head start", self.head, HEADS),
        ):
            if given not in allowed:
                raise UsageError(unknown_name(kind, given, allowed))
        for name in ("batch_size", "accumulate", "patience", "save_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("epochs", "weight_decay", "seed", "replay", "max_drop"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise UsageError(f"{name} must not be negative; got {getattr(self, name)}")
        if not 0 <= self.hold_out < 1:
            raise UsageError(f"hold_out must be from 0 up to, but not including, 1; got {self.hold_out}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be from 0 up to, but not including, 1; got {self.momentum}")
        if not self.epsilon > 0 or (self.clip_norm is not None and not self.clip_norm > 0):
            raise UsageError("epsilon and clip_norm must be above 0")
        for group, rate in self.learning_rates.items():
            if not 0 <= rate < math.inf:
                raise UsageError(f"the learning rate of {group} must be 0 or more; got {rate}")

    def plan(self, manifest: Manifest, examples: int) -> "Plan":
        """Everything decided, for so many examples to train on. Raises `UsageError` for a group without tensors."""
        recipe = manifest.recipe
        groups = {str(tensor.group) for tensor in manifest.trained}
        if unknown := self.learning_rates.keys() - groups:
            raise UsageError(unknown_name("parameter group", min(unknown), groups))
        rates = {**recipe.learning_rates, **self.learning_rates}
        batch_size = self.batch_size or recipe.batch_size
        per_epoch = batch_count(examples, batch_size)
        epochs = self.epochs
        if epochs and not manifest.trained:
            raise UsageError(
                f"epochs = {epochs} has no effect: this bundle trains nothing; its head is made of the means of each "
                "class"
            )
        if epochs is None:
            epochs = max(recipe.epochs, math.ceil(recipe.min_steps / per_epoch)) if recipe.epochs else 0
        return Plan(
            rates={tensor.name: rates[str(tensor.group)] for tensor in manifest.trained},
            epochs=epochs if manifest.trained else 0,
            batch_size=batch_size,
            per_epoch=per_epoch,
            weight_decay=recipe.weight_decay if self.weight_decay is None else self.weight_decay,
            clip_norm=recipe.clip_norm if self.clip_norm is None else self.clip_norm,
        )


@dataclass(frozen=True)
class Plan:
    """The numbers of one run: peak rate of each tensor, epochs, examples per update, updates per epoch."""

    rates: Mapping[str, float]
    epochs: int
    batch_size: int
    per_epoch: int
    weight_decay: float
    clip_norm: float
