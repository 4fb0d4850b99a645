"""The shape of an encoder that is there with its weights, read off its modules."""

from torch import nn

from ..workloads.shapes import BlockShape, LinearShape, ModelShape, NormShape, Role
from .base import BackboneLike
from .blocks import KEYS, QUERIES, VALUES, block_paths
from .layers import patch_projection


def shape_of(backbone: BackboneLike) -> ModelShape:
    """Linears by block, with their roles; every LayerNorm; the projection of an image's patches."""
    names = backbone.linear_names()
    linears = {name: _linear(name, backbone.module.get_submodule(name)) for name in names}
    blocks = [
        BlockShape(path, tuple(linears[name] for name in names if name.startswith(f"{path}.")), 0)
        for path in block_paths(names)
    ]
    if beside := tuple(linears[name] for name in names if not any(part.isdigit() for part in name.split("."))):
        blocks.append(BlockShape("", beside, 0))
    norms = [
        NormShape(path, len(norm.weight), norm.bias is not None)
        for path, norm in backbone.module.named_modules()
        if isinstance(norm, nn.LayerNorm) and norm.weight is not None
    ]
    return ModelShape(
        name="this model",
        title="",
        source="",
        hidden_size=backbone.hidden_size,
        blocks=tuple(blocks),
        patch_weights=patch_projection(backbone.module).weight.numel() if backbone.kind == "image" else 0,
        named_norms=tuple(norms),
    )


def _linear(name: str, linear: nn.Module) -> LinearShape:
    assert isinstance(linear, nn.Linear)
    return LinearShape(name, _role(name, linear), linear.out_features, linear.in_features, linear.bias is not None)


def _role(name: str, linear: nn.Linear) -> Role:
    """By the last component of the path; the second matrix of a feed-forward layer is the only one that narrows."""
    last = name.rsplit(".", 1)[-1]
    for kinds, role in ((QUERIES, "query"), (KEYS, "key"), (VALUES, "value")):
        if last in kinds:
            return role  # type: ignore[return-value]
    if linear.in_features > linear.out_features:
        return "ffn_down"
    return "ffn_up" if linear.in_features < linear.out_features else "attention_output"
