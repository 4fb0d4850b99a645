"""Training with forward passes only: zeroth-order optimisers for any method.

MeZO (Malladi et al., "Fine-Tuning Language Models with Just Forward Passes", NeurIPS 2023, arXiv:2305.17333) is
simultaneous perturbation (Spall, IEEE TAC 1992) of all trained numbers p along one random direction z, kept as a seed:

    g = (L(p + epsilon z) - L(p - epsilon z)) / (2 epsilon)        E[g z] = dL/dp        p <- p - rate g z

The variants are those of Zhang et al., "Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning: A
Benchmark", ICML 2024, arXiv:2402.11592.

Nothing is stored for a backward pass and no array is read transposed. A run is its start and, for each step, a seed and
how far to go along each of its directions: `replay` makes the same bits from them.

Groups of numbers have rates of their own, so the directions are stretched with them: the numbers of a group are moved
by epsilon times its rate over the largest one. That is MeZO in coordinates of which the rate of each group is the unit;
with one rate it is MeZO.

In cells (NVM_STEP) every change of the numbers is a rewrite: a step of MeZO changes them 4 times (forth, back beyond
the start, to the start, and by the update). `Run.changed` is called after each, before the next read.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.autograd.forward_ad as duals
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import UsageError
from ..turns import Moved
from .objectives import total_loss
from .run import Forward, Look, Run

if TYPE_CHECKING:
    from ..base import Adaptation
    from ..recipes import Recipe
    from .optimisers.mezo import Mezo

MEMORY = 20
"""Steps over which the mean square of the slopes runs."""


class Directions:
    """The random directions of a step: for each of them a list of tensors like the trained ones."""

    def __init__(
        self,
        names: Sequence[str],
        parameters: Sequence[nn.Parameter],
        options: "Mezo",
        block_paths: Sequence[str],
        axes: Sequence[int | None] | None = None,
    ) -> None:
        """`axes`: of the slices that take turns, for each parameter; None for one that moves as a whole."""
        self.parameters = parameters
        self.axes = [None] * len(parameters) if axes is None else axes
        self.options = options
        self.blocks = options.blocks(names, block_paths)

    @property
    def count(self) -> int:
        """Directions in a step."""
        return self.options.queries * len(self.blocks)

    def __call__(self, seed: int, turn: int = 0) -> Iterator[list[Tensor]]:
        """`turn`: the slice that moves of what has slices that take turns."""
        rng = np.random.default_rng(seed)
        for block in self.blocks:
            for _ in range(self.options.queries):
                drawn = [
                    self._draw(rng, parameter) if place in block else torch.zeros_like(parameter)
                    for place, parameter in enumerate(self.parameters)
                ]
                yield [z if axis is None else _only(z, axis, turn) for z, axis in zip(drawn, self.axes, strict=True)]

    def _draw(self, rng: np.random.Generator, like: Tensor) -> Tensor:
        shape = tuple(like.shape)
        signs = self.options.directions == "signs"
        z = 2.0 * rng.integers(0, 2, shape) - 1.0 if signs else rng.standard_normal(shape)
        if self.options.sparsity:
            z = np.where(rng.random(shape) < self.options.sparsity, 0.0, z / math.sqrt(1.0 - self.options.sparsity))
        return torch.from_numpy(z).to(like.dtype)


class ZerothStepper:
    """One zeroth-order step at a time; the rate falls linearly to zero."""

    def __init__(self, run: Run, options: "Mezo", total_steps: int) -> None:
        self.run, self.options = run, options
        self.adaptation, self.recipe, self.log, self.rng = run.adaptation, run.recipe, run.log, run.rng
        self.passes = 0
        self.groups = groups = [group for group in run.adaptation.parameter_groups(run.recipe) if group["lr"] > 0]
        self.parameters: list[nn.Parameter] = [parameter for group in groups for parameter in group["params"]]
        largest = max((group["lr"] for group in groups), default=1.0)
        self.units = [group["lr"] / largest for group in groups for _ in group["params"]]
        if not self.parameters:
            raise UsageError(f"every learning rate of {run.adaptation.method} is 0: {options.name} has nothing to move")
        names = {id(parameter): name for name, parameter in run.adaptation.state.items()}
        self.names = [names[id(parameter)] for parameter in self.parameters]
        plan, self.turns = run.adaptation.plan, run.adaptation.module.turns
        axes = [plan.tensors[name].slice_axis for name in self.names]
        self.directions = Directions(self.names, self.parameters, options, plan.block_paths, axes)
        self.moved, self.turn = Moved(run.adaptation, groups), 0
        self.mean_square = 0.0
        self.optimiser = options.make(self.moved.groups, run.recipe.weight_decay)
        self.peaks = [group["lr"] for group in groups]
        self.total_steps = total_steps
        self.taken = 0
        run.log.start = run.adaptation.state_dict()

    @torch.no_grad()
    def step(self, forward: Forward, labels: Tensor) -> int:
        """One step on a batch; returns the forward passes it took."""
        if self.turns is None:
            return self._step(forward, labels)
        self.turn = self.turns.draw(self.rng)
        with self.turns.taking(self.turn):
            return self._step(forward, labels)

    def _step(self, forward: Forward, labels: Tensor) -> int:
        self.passes = 0
        seed = int(self.rng.integers(2**63 - 1))
        kept = [parameter.detach().clone() for parameter in self.parameters]
        values, slopes = self._measure(seed, kept, forward, labels)
        weights = [self._scaled(slope) if self.options.normalise else slope for slope in slopes]
        look = Look(seed, tuple(weight / self.options.queries for weight in weights), self.turn)
        if self.options.rule == "conservative":
            look = self._most_careful(look, kept, forward, labels)
        self.take(look)
        self.run.changed()
        self.log.looks.append(look)
        self.log.losses.append(sum(values) / len(values))
        return self.passes

    @torch.no_grad()
    def take(self, look: Look) -> None:
        """Go the way that a step came to: no forward pass, and the same bits every time."""
        self._estimate(look)
        if any(look.weights):
            self.optimiser.step()
        self.taken += 1
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * (1.0 - self.taken / self.total_steps)

    def _measure(
        self, seed: int, kept: list[Tensor], forward: Forward, labels: Tensor
    ) -> tuple[list[float], list[float]]:
        """(losses seen, slope along each direction of the seed); the parameters are as before."""
        epsilon, estimate = self.options.epsilon, self.options.estimate
        values = [self._loss(forward, labels)] if estimate == "one-sided" else []
        slopes: list[float] = []
        for z in self.directions(seed, self.turn):
            if estimate == "forward-gradient":
                value, slope = self._tangent(forward, labels, z)
                values.append(value)
                slopes.append(slope)
                continue
            self._move(kept, z, epsilon)
            above = self._loss(forward, labels)
            if estimate == "two-sided":
                self._move(kept, z, -epsilon)
                values += [above, self._loss(forward, labels)]
                slopes.append((values[-2] - values[-1]) / (2.0 * epsilon))
            else:
                slopes.append((above - values[0]) / epsilon)
            self._move(kept, z, 0.0)
        return values, slopes

    def _move(self, kept: Sequence[Tensor], z: Sequence[Tensor], distance: float) -> None:
        """Put the parameters `distance` away from where the step began, along z."""
        for parameter, start, along, unit in zip(self.parameters, kept, z, self.units, strict=True):
            parameter.copy_(start + (distance * unit) * along if distance else start)
        self.run.changed()

    def _estimate(self, look: Look) -> None:
        """Put the sum of the weighted directions into `grad`, in the groups' own units."""
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        for weight, z in zip(look.weights, self.directions(look.seed, look.turn), strict=True):
            for part, along in zip(total, z, strict=True):
                part.add_(along, alpha=weight)
        for parameter, part in zip(self.parameters, total, strict=True):
            parameter.grad = part.sign() if self.options.rule == "sign" else part
        self.moved.hand_over(look.turn)

    def _scaled(self, slope: float) -> float:
        """A slope over the root of the running mean square of all slopes, its own included."""
        weight = 1.0 / (min(self.taken + 1, MEMORY) * self.directions.count)
        square = slope * slope
        self.mean_square = square if not self.mean_square else (1 - weight) * self.mean_square + weight * square
        return slope / math.sqrt(self.mean_square) if self.mean_square else 0.0

    def _most_careful(self, look: Look, kept: list[Tensor], forward: Forward, labels: Tensor) -> Look:
        """Of staying, the step and the step back, the one with the smallest loss on the batch."""
        found = [(self._loss(forward, labels), 0, 0)]
        self._estimate(look)
        rates = [
            rate["lr"]
            for rate, group in zip(self.optimiser.param_groups, self.groups, strict=True)
            for _ in group["params"]
        ]
        for side in (1, -1):
            for parameter, start, rate in zip(self.parameters, kept, rates, strict=True):
                parameter.copy_(start - side * rate * parameter.grad)
            self.run.changed()
            found.append((self._loss(forward, labels), 1, side))
        self._move(kept, kept, 0.0)
        side = min(found)[2]
        return replace(look, weights=tuple(side * weight for weight in look.weights))

    def _loss(self, forward: Forward, labels: Tensor) -> float:
        self.passes += 1
        return self._finite(total_loss(self.adaptation, self.recipe, forward(None), labels).item())

    def _tangent(self, forward: Forward, labels: Tensor, z: Sequence[Tensor]) -> tuple[float, float]:
        """Loss and its exact slope along z, by dual numbers through the forward pass (which then works twice)."""
        paths = {id(parameter): path for path, parameter in self.adaptation.module.named_parameters()}
        self.passes += 2
        with duals.dual_level(), sdpa_kernel(SDPBackend.MATH):
            moving = [
                duals.make_dual(parameter.detach(), unit * along)
                for parameter, along, unit in zip(self.parameters, z, self.units, strict=True)
            ]
            changed = {paths[id(parameter)]: dual for parameter, dual in zip(self.parameters, moving, strict=True)}
            state = self.adaptation.state | dict(zip(self.names, moving, strict=True))
            try:
                loss = total_loss(self.adaptation, self.recipe, forward(changed), labels, state)
            except (RuntimeError, NotImplementedError) as error:
                raise UsageError(
                    "the forward-gradient estimate needs reads that can be differentiated along a direction, which "
                    f"those of cells cannot ({str(error).splitlines()[0]}); take the two-sided one"
                ) from error
            value, slope = duals.unpack_dual(loss)
        return self._finite(value.item()), 0.0 if slope is None else slope.item()

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise UsageError(
            f"the loss of {self.adaptation.method} is {loss} at step {self.taken}: lower its learning rates"
        )


def _only(z: Tensor, axis: int, number: int) -> Tensor:
    """A direction along one slice of a parameter alone."""
    kept = torch.zeros_like(z)
    kept.select(axis, number).copy_(z.select(axis, number))
    return kept


def replay(adaptation: "Adaptation", recipe: "Recipe", start: Mapping[str, Tensor], looks: Sequence[Look]) -> None:
    """Bring the adaptation to where training from `start` ended by its looks alone: no forward pass, the same bits.

    Raises `UsageError` for a recipe whose optimiser leaves no looks.
    """
    if not recipe.optimiser.leaves_looks:
        raise UsageError(f"a run of {recipe.optimiser.name} cannot be made again from looks: it leaves none")
    adaptation.load_state_dict(start)
    stepper: Any = Run(adaptation, recipe, np.random.default_rng(0)).started(len(looks))
    for look in looks:
        stepper.take(look)
