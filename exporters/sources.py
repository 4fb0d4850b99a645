"""Where the frozen weights of a bundle come from: the model's own, or what the cells of one simulated chip hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..devices import Chip
from ..errors import UsageError
from ..methods import Adaptation, Placement
from ..simulator import program
from ..workloads.models import Backbone


@dataclass(frozen=True)
class ChipWeights:
    """One simulated chip, some time after its programming. The same seed is the same chip as in `simulate`."""

    chip: Chip
    seed: int
    age_seconds: float

    def __post_init__(self) -> None:
        """Raise `UsageError` for an age that cannot be."""
        if not 0 <= self.age_seconds < float("inf"):
            raise UsageError(f"the age of a chip must be 0 or more; got {self.age_seconds} s")

    def matrices(self, adaptation: Adaptation, backbone: Backbone) -> list[str]:
        """What is written to cells: the backbone first, as `simulate` does, then what the method keeps beside it."""
        frozen = [name for name in adaptation.cell_tensors if adaptation.placements[name] is Placement.NVM_FROZEN]
        first = backbone.linear_names()
        return [*first, *(name for name in frozen if name not in first)]

    @torch.no_grad()
    def apply(self, adaptation: Adaptation, backbone: Backbone) -> dict[str, Any]:
        """Put the weights that the cells hold in the place of the exact ones; returns what the manifest says of it.

        Only matrices that sit in cells change. Biases, normalisation and embeddings are digital, and so are row norms
        that a method computed from the exact weights before they were programmed.
        """
        tensors = adaptation.cell_tensors
        names = self.matrices(adaptation, backbone)
        exact = {name: tensors[name].detach().numpy() for name in names}
        rng = np.random.default_rng([self.seed, 0xC41])
        model = program(self.chip, exact, rng)
        model.set_time(self.age_seconds)
        error = power = 0.0
        for name in names:
            held = model.effective_weight(name)
            error += float(np.square(held - exact[name], dtype=np.float64).sum())
            power += float(np.square(exact[name], dtype=np.float64).sum())
            tensors[name].data = torch.as_tensor(held).contiguous()
        return {
            "chip": self.chip.name,
            "seed": self.seed,
            "age_seconds": self.age_seconds,
            "matrices": len(names),
            "relative_error": (error / power) ** 0.5,
            "label": "simulated",
        }
