"""Epochs: every example once, in random order."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..strategies import register
from . import Sampler

if TYPE_CHECKING:
    import numpy as np

    from ..run import Run
    from ..sources import FeatureSource


@register
@dataclass(frozen=True)
class Epochs(Sampler):
    """No options."""

    name: ClassVar[str] = "epochs"
    in_bundles: ClassVar[bool] = True

    def order(self, run: "Run", source: "FeatureSource") -> "np.ndarray":
        return run.rng.permutation(len(source.labels))
