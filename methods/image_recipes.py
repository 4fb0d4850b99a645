"""How methods are trained on images, where that differs from texts.

The features of a vision Transformer's [CLS] are large and far from round: class means mislead, and the head needs many
steps of its own. How the values were found is said in benchmarks/vision.py.
"""

from collections.abc import Mapping
from dataclasses import replace

from .base import Method, Recipe

IMAGE_RECIPES: Mapping[str, Recipe] = {
    "probe": Recipe(learning_rates={"head": 1e-3}, epochs=100, head_margin=0.5),
}


def for_images(method: Method) -> Method:
    """The method with its recipe for images, where it has one."""
    return replace(method, recipe=IMAGE_RECIPES.get(method.name, method.recipe))
