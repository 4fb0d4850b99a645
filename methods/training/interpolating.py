"""The steps of `optimisers.interpolation`: a look at a point, and back to the best one."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import UsageError
from .box_search import BoxSearch
from .objectives import total_loss
from .run import Forward, Run

if TYPE_CHECKING:
    from .optimisers.interpolation import Interpolation


class InterpolationStepper:
    """One look at a time. A number that starts beyond the bound may stay as far away."""

    def __init__(self, run: Run, options: "Interpolation") -> None:
        self.run, self.options = run, options
        groups = [group for group in run.adaptation.parameter_groups(run.recipe) if group["lr"] > 0]
        self.parameters: list[nn.Parameter] = [parameter for group in groups for parameter in group["params"]]
        if not self.parameters:
            raise UsageError(f"every learning rate of {run.adaptation.method} is 0: {options.name} has nothing to move")
        largest = max(group["lr"] for group in groups)
        units = [
            np.full(parameter.numel(), options.radius * group["lr"] / largest)
            for group in groups
            for parameter in group["params"]
        ]
        self.units = np.concatenate(units)
        start = np.concatenate([parameter.detach().double().flatten().numpy() for parameter in self.parameters])
        bound = np.maximum(options.bound, np.abs(start))
        self.search = BoxSearch(start / self.units, -bound / self.units, bound / self.units)
        self.optimiser = torch.optim.SGD(self.parameters)  # moves nothing: hooks are told of its steps

    @torch.no_grad()
    def step(self, forward: Forward, labels: Tensor) -> int:
        """One look on all examples; returns the forward passes it took."""
        self._put(self.search.ask())
        loss = total_loss(self.run.adaptation, self.run.recipe, forward(None), labels).item()
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss of {self.run.adaptation.method} is {loss} at step {self.run.log.steps}: lower recipe.radius "
                "or recipe.bound"
            )
        self.search.tell(loss)
        self._put(self.search.best)
        self.optimiser.step()
        self.run.log.losses.append(loss)
        return 1

    def _put(self, point: np.ndarray) -> None:
        """Give the parameters the values of a point."""
        values, place = point * self.units, 0
        for parameter in self.parameters:
            part = values[place : place + parameter.numel()].reshape(parameter.shape)
            parameter.copy_(torch.from_numpy(part))
            place += parameter.numel()
        self.run.changed()
