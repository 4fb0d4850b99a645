"""Steps by gradients: forward, backward, clipping, and the step of the recipe's optimiser."""

import math

import torch
from torch import Tensor

from ...errors import UsageError
from ..turns import Moved
from .objectives import total_loss
from .run import Forward, Run


class GradientStepper:
    """One step of gradients at a time; the rate falls linearly to zero."""

    def __init__(self, run: Run, total_steps: int) -> None:
        self.run = run
        groups = run.adaptation.parameter_groups(run.recipe)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.turns, self.moved = run.adaptation.module.turns, Moved(run.adaptation, groups)
        self.optimiser = run.recipe.optimiser.make(self.moved.groups, run.recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda done: 1.0 - done / total_steps)

    def step(self, forward: Forward, labels: Tensor) -> int:
        """One step on a batch. Raises `UsageError` for a loss that is not finite: the state is then worthless."""
        if self.turns is None:
            return self._step(forward, labels, 0)
        turn = self.turns.draw(self.run.rng)
        with self.turns.taking(turn):
            return self._step(forward, labels, turn)

    def _step(self, forward: Forward, labels: Tensor, turn: int) -> int:
        adaptation, recipe, log = self.run.adaptation, self.run.recipe, self.run.log
        with adaptation.dropping():
            logits = forward(None)
        loss = total_loss(adaptation, recipe, logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise UsageError(
                f"the loss of {adaptation.method} is {value} at step {log.steps}: lower its learning rates"
            )
        self.optimiser.zero_grad(set_to_none=True)
        self.moved.reset()
        scale = recipe.format.loss_scale
        (loss * scale if scale != 1.0 else loss).backward()
        if scale != 1.0:
            self._unscale(scale)
        torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        self.moved.hand_over(turn)
        self.optimiser.step()
        self.schedule.step()
        log.losses.append(value)
        self.run.changed()
        return 0

    def _unscale(self, scale: float) -> None:
        """Undo the factor of the loss in the gradients. Raises `UsageError` where one is too large for its format."""
        run = self.run
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.div_(scale)
                if not bool(torch.isfinite(parameter.grad).all()):
                    raise UsageError(
                        f"a gradient of {run.adaptation.method} is too large for {run.recipe.numbers} at step "
                        f"{run.log.steps}: lower its learning rates, or give recipe.numbers bf16"
                    )
