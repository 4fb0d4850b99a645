"""Regularisers: what a method adds to the loss, whatever the objective is. No torch until one is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from .recipes import Recipe


class Regulariser(Protocol):
    """A term of the loss, of the tensors of one group.

    `name` is what it is called, and the key of the recipe that weighs it where users may choose that. `in_bundles`:
    whether a bundle's manifest has it.
    """

    @property
    def name(self) -> str: ...
    @property
    def in_bundles(self) -> bool: ...
    @property
    def group(self) -> str: ...
    def weight(self, recipe: "Recipe") -> float:
        """What the penalty is multiplied by; 0 leaves it out."""
        ...

    def penalty(self, tensors: "Mapping[str, Tensor]") -> "Tensor":
        """The penalty (a scalar) of the group's tensors, by name."""
        ...


@dataclass(frozen=True)
class L1:
    """The mean absolute value of the numbers of a group, weighed by `l1` of the recipe."""

    group: str
    name: ClassVar[str] = "l1"
    in_bundles: ClassVar[bool] = True

    def weight(self, recipe: "Recipe") -> float:
        return recipe.l1

    def penalty(self, tensors: "Mapping[str, Tensor]") -> "Tensor":
        import torch

        return torch.cat([tensor.flatten() for tensor in tensors.values()]).abs().mean()


@dataclass(frozen=True)
class Orthogonality:
    """How far the rows of the first matrices of low-rank pairs, and the columns of the second ones, are from being
    orthonormal: the mean over all matrices of the Frobenius norm of their products with each other, less the identity.
    """

    group: str
    strength: float
    name: ClassVar[str] = "orthogonality"
    in_bundles: ClassVar[bool] = False

    def weight(self, recipe: "Recipe") -> float:
        return self.strength

    def penalty(self, tensors: "Mapping[str, Tensor]") -> "Tensor":
        import torch

        found = []
        for name, matrix in tensors.items():
            rows = matrix if name.endswith("lora_a") else matrix.t()
            found.append(torch.linalg.matrix_norm(rows @ rows.t() - torch.eye(len(rows), dtype=rows.dtype)))
        return torch.stack(found).mean()
