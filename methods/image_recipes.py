"""How methods are trained on images: their recipes for texts, with what differs.

The features of a vision Transformer's [CLS] are far from round: distances to class means mislead, and the head starts
from discriminant analysis instead, with a lower rate. Found on held-out training images (benchmarks/vision.py search).
"""

from collections.abc import Mapping
from dataclasses import replace

from .base import Method
from .footprints import IMAGE_EPOCHS, IMAGE_HEAD_SHRINKAGE

HEAD_RATE, HEAD_MARGIN = 3e-4, 2.0

RATES: Mapping[str, Mapping[str, float]] = {
    "vpt": {"prompts": 3e-3},
    "vpt-shallow": {"prompts": 3e-3},
    "lora": {"matrices": 1e-3},
}


def for_images(method: Method) -> Method:
    """The method with its recipe for images."""
    recipe = method.recipe
    rates = {**recipe.learning_rates, **RATES.get(method.name, {})}
    if "head" in rates:
        rates["head"] = HEAD_RATE
    changed = replace(
        recipe,
        learning_rates=rates,
        epochs=IMAGE_EPOCHS.get(method.name, recipe.epochs),
        head_margin=HEAD_MARGIN,
        head_shrinkage=IMAGE_HEAD_SHRINKAGE,
    )
    return replace(method, recipe=changed)
