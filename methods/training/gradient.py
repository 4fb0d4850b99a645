"""Steps by gradients: forward, backward, clipping, and the step of the recipe's optimiser."""

import math

import torch
from torch import Tensor

from ...errors import UsageError
from .objectives import total_loss
from .run import Forward, Run


class GradientStepper:
    """One step of gradients at a time; the rate falls linearly to zero."""

    def __init__(self, run: Run, total_steps: int) -> None:
        self.run = run
        groups = run.adaptation.parameter_groups(run.recipe)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser = run.recipe.optimiser.make(groups, run.recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda done: 1.0 - done / total_steps)

    def step(self, forward: Forward, labels: Tensor) -> int:
        """One step on a batch. Raises `UsageError` for a loss that is not finite: the state is then worthless."""
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
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        log.losses.append(value)
        self.run.changed()
        return 0
