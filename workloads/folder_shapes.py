"""The shapes of a model folder's linear layers, from its config.json alone: no weights are needed, none are made."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EdgeAdaptError, UsageError, require
from .families import family
from .family_shapes import module_shape, norms_of
from .model_folders import base_class, one_line, quiet, read_config
from .shapes import ModelShape
from .vision import check_vision_config

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig


def folder_shape(folder: Path) -> ModelShape:
    """The shape of the model that a folder's config.json describes: an encoder, a decoder, or both.

    Raises:
        UsageError: a family that is not known, or a model that cannot be counted by its shapes.
        EdgeAdaptError: config.json is missing or broken.
    """
    require("torch")
    require("transformers")
    name = folder.resolve().name
    with quiet():
        config = read_config(folder)
        if family(config.model_type, name).reads == "image":
            check_vision_config(config, folder)
        module = _without_weights(config, folder)
    shape = module_shape(module, name, "config.json of the folder")
    widths = {len(norm.weight) for _, norm in norms_of(module)}
    why = ""
    if other := sorted(widths - {shape.hidden_size}):
        why = f"a norm has {other[0]} numbers, and norms of {shape.hidden_size} are counted"
    elif shape.runs > 1:
        why = f"each of its blocks runs {shape.runs} times, and runs of one block are counted"
    elif positions := shape.with_roles(["positions"]):
        why = f"{positions[0].name} reads distances between tokens, and reads of tokens are counted"
    if why:
        raise UsageError(f"model {name!r} ({config.model_type}) cannot be counted from its config.json: {why}")
    return shape


def _without_weights(config: "PretrainedConfig", folder: Path) -> "nn.Module":
    """The model on torch's meta device: shapes without numbers."""
    import torch

    made, options = base_class(config)
    if made is None:
        raise UsageError(f"{folder}: transformers has no base model of the type {config.model_type!r}")
    try:
        with torch.device("meta"):
            module: nn.Module = made(config, **options)
    except Exception as error:  # each model class checks its configuration in its own way
        raise EdgeAdaptError(f"{folder / 'config.json'}: {one_line(error)}") from error
    return module
