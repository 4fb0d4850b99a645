"""Whether a model can be exported at all, found out in seconds and before anything is trained or programmed.

What torch's exporter cannot translate lies in the encoder's own code, the same in every block: the encoder with its
first block alone is traced, forwards and backwards, as the whole one would be.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from ..errors import EdgeAdaptError
from ..methods import METHODS, Placement
from ..workloads.families import FAMILIES
from ..workloads.models import Backbone
from .graph import graphs_of


def require_exportable_family(backbone: Backbone) -> None:
    """Raise `EdgeAdaptError` for a family that its entry says cannot be exported, with the reason."""
    kind = str(backbone.module.config.model_type)  # type: ignore[union-attr]
    if why := FAMILIES[kind].no_bundle:
        raise EdgeAdaptError(
            f"a model of the family {kind!r} cannot be exported: {why}; simulate it instead, with --trainer torch; "
            "edge-adapt models families shows which can be"
        )


def require_exportable(backbone: Backbone) -> None:
    """Raise `EdgeAdaptError` for a model that no graphs can be made of, with the operator that is in the way.

    A model of one or two blocks is left to the export itself, which takes little longer.
    """
    if backbone.blocks <= 2:
        return
    shape = replace(backbone.shape, blocks=backbone.shape.blocks[:1])
    short = replace(backbone, module=_first_block(backbone), shape=shape)
    simplest = next(method for method in METHODS.values() if method.family == "head")
    adaptation = simplest.attach(short, 2, np.random.default_rng(0), placement=Placement.DIGITAL)
    adaptation.add_group("vectors", _own_vectors(adaptation.module.encoder))
    graphs_of(adaptation)


def _own_vectors(encoder: nn.Module) -> dict[str, nn.Parameter]:
    """Copies, to be trained, of all biases and gains: the gradient then passes every operator of a block."""
    owned = {}
    for path, module in encoder.named_modules():
        for field, shared in list(module.named_parameters(recurse=False)):
            if shared.ndim == 1:
                owned[f"{path}.{field}"] = nn.Parameter(shared.detach().clone())
                setattr(module, field, owned[f"{path}.{field}"])
    return owned


def _first_block(backbone: Backbone) -> nn.Module:
    """The encoder with the first of its blocks alone. Its tensors are those of the whole one."""
    held = {id(tensor): tensor for tensor in (*backbone.module.parameters(), *backbone.module.buffers())}
    path = backbone.block_paths[0].rpartition(".")[0]
    blocks: Any = backbone.module.get_submodule(path)
    memo: dict[int, Any] = held | {id(block): None for block in list(blocks)[1:]}
    short = copy.deepcopy(backbone.module, memo)
    kept: Any = short.get_submodule(path)
    del kept[1:]
    short.config.num_hidden_layers = 1  # type: ignore[union-attr]
    return short
