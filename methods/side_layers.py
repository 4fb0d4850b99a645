"""The linears of a network beside the backbone: a list of them gives its tensors, reads and work, and is built from.

Their matrices sit in cells or in the digital unit; the biases are added digitally. A linear that takes hidden states of
the backbone is a `first` one: no gradient of what enters it is needed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .costs import NUMBER_BYTES, DigitalWork, matrix_forward, matrix_gradient, sum_gradient
from .placement import Placement
from .plan import TensorPlan

if TYPE_CHECKING:
    from torch import nn

    from .attaching import Site


@dataclass(frozen=True)
class SideLinear:
    """A linear with a bias, applied to every token. `zero`: it starts as nothing; others as torch's linears do, uniform
    in +-1 / sqrt(inputs), with biases of 0.
    """

    name: str
    outputs: int
    inputs: int
    first: bool = False
    zero: bool = False


@dataclass(frozen=True)
class SideLinears:
    """All linears of a side network under one placement, in the order in which a token passes them."""

    linears: Sequence[SideLinear]
    placement: Placement

    @property
    def tensors(self) -> tuple[TensorPlan, ...]:
        """A matrix and a bias for each, in the groups "matrices" and "vectors"."""
        found = []
        for x in self.linears:
            found.append(TensorPlan(x.name, (x.outputs, x.inputs), self.placement, "matrices"))
            found.append(TensorPlan(f"{x.name}.bias", (x.outputs,), group="vectors"))
        return tuple(found)

    @property
    def read(self) -> tuple[str, ...]:
        """The matrices in cells that a token is multiplied by."""
        return () if self.placement is Placement.DIGITAL else tuple(x.name for x in self.linears)

    @property
    def transposed(self) -> tuple[str, ...]:
        """Those that a gradient is multiplied by."""
        return () if self.placement is Placement.DIGITAL else tuple(x.name for x in self.linears if not x.first)

    @property
    def outputs(self) -> int:
        """Numbers that they put out for one token."""
        return sum(x.outputs for x in self.linears)

    @property
    def weights(self) -> int:
        """Numbers of all matrices."""
        return sum(x.outputs * x.inputs for x in self.linears)

    def forward_work(self, training: bool) -> DigitalWork:
        """Digital work of a forward pass, in training or in inference."""
        kept = self.placement is Placement.DIGITAL or (training and self.placement is Placement.NVM_TASK)
        added = DigitalWork(bytes_per_sequence=NUMBER_BYTES * self.outputs)
        return added + matrix_forward(self.weights) if kept else added

    @property
    def backward_work(self) -> DigitalWork:
        """That of a backward pass: gradients of matrices and biases, and, outside cells, of what enters a linear."""
        own = matrix_gradient(self.weights) + sum_gradient(self.outputs)
        if self.placement is Placement.NVM_STEP:
            return own
        return own + matrix_forward(sum(x.outputs * x.inputs for x in self.linears if not x.first))


def norm_tensors(path: str, width: int) -> tuple[TensorPlan, TensorPlan]:
    """Gain and bias of a LayerNorm of a side network."""
    return (
        TensorPlan(f"{path}.weight", (width,), group="vectors"),
        TensorPlan(f"{path}.bias", (width,), group="vectors"),
    )


def norm_gradient(numbers: int) -> DigitalWork:
    """The gradients of gains of `numbers` numbers in all, and of as many biases."""
    return matrix_gradient(numbers) + sum_gradient(numbers)


class SideLayers:
    """The built linears by name, and their tensors: `state` has all, those of norms too, `cells` those in cells."""

    def __init__(self, site: "Site", linears: SideLinears) -> None:
        """Draws the initial values from the site."""
        import torch

        from .layers import CellLinear

        generator, in_cells = site.generator(), linears.placement is not Placement.DIGITAL
        self.layers: dict[str, nn.Module] = {}
        self.state: dict[str, nn.Parameter] = {}
        self.cells: dict[str, torch.Tensor] = {}
        for x in linears.linears:
            plain = torch.nn.Linear(x.inputs, x.outputs, dtype=site.dtype)
            bound = 0.0 if x.zero else 1.0 / math.sqrt(x.inputs)
            with torch.no_grad():
                plain.weight.uniform_(-bound, bound, generator=generator)
                plain.bias.zero_()
            layer: nn.Module = CellLinear(x.name, plain, own=True) if in_cells else plain
            own = dict(layer.named_parameters())
            self.layers[x.name] = layer
            self.state |= {x.name: own["weight"], f"{x.name}.bias": own["bias"]}
            if in_cells:
                self.cells[x.name] = own["weight"]

    def norm(self, path: str, width: int) -> "nn.LayerNorm":
        """A LayerNorm as `norm_tensors` plans it."""
        import torch

        made = torch.nn.LayerNorm(width, dtype=next(iter(self.state.values())).dtype)
        self.state |= {f"{path}.{name}": tensor for name, tensor in made.named_parameters()}
        return made
