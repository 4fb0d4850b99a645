"""The shapes of a model folder's linear layers, from its config.json alone: no weights are needed, none are made."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EdgeAdaptError, UsageError, require
from .encoder_checks import longest_input, matrices
from .model_folders import base_class, one_line, quiet, read_config
from .shapes import BlockShape, LinearShape, ModelShape, Role
from .vision import check_vision_config

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

# What a linear layer does, by the end of its path. The longest end decides: "attention.output.dense" before
# "output.dense".
_ENDS: dict[str, Role] = {
    **dict.fromkeys(("query", "q", "q_proj", "q_lin", "query_proj"), "query"),
    **dict.fromkeys(("key", "k", "k_proj", "k_lin", "key_proj"), "key"),
    **dict.fromkeys(("value", "v", "v_proj", "v_lin", "value_proj"), "value"),
    **dict.fromkeys(
        ("attention.output.dense", "attention.dense", "o", "o_proj", "out_proj", "out_lin"), "attention_output"
    ),
    **dict.fromkeys(("gate_proj", "wi_0"), "ffn_gate"),
    **dict.fromkeys(("intermediate.dense", "up_proj", "wi", "wi_1", "fc1", "lin1", "ffn"), "ffn_up"),
    **dict.fromkeys(("output.dense", "down_proj", "wo", "fc2", "lin2", "ffn_output"), "ffn_down"),
}


def folder_shape(folder: Path) -> ModelShape:
    """The shape of the model that a folder's config.json describes: an encoder, a decoder, or both.

    Raises:
        UsageError: a model whose matrices are not linear layers with a role that is known, block by block.
        EdgeAdaptError: config.json is missing or broken.
    """
    require("torch")
    require("transformers")
    with quiet():
        config = read_config(folder)
        if hasattr(config, "patch_size"):
            check_vision_config(config, folder)
        module = _without_weights(config, folder)
    name = folder.resolve().name
    if module.main_input_name not in ("input_ids", "pixel_values"):
        raise _refused(name, config, f"it reads {module.main_input_name}, neither texts nor images")
    paths = _block_paths(module, config, name)
    width = int(getattr(config, "hidden_size", 0) or config.d_model)
    blocks = tuple(_block(module, path, width, name) for path in paths)
    outside = [norm for path, norm in _norms(module) if not any(path.startswith(f"{block}.") for block in paths)]
    norms = [norm for _, norm in _norms(module)]
    if other := sorted({len(norm.weight) for norm in norms} - {width}):
        raise _refused(name, config, f"a norm has {other[0]} numbers, and norms of {width} are counted")
    projection = next((child for child in module.modules() if type(child).__name__ == "Conv2d"), None)
    return ModelShape(
        name=name,
        title=f"{name} ({config.model_type})",
        source="config.json of the folder",
        hidden_size=width,
        blocks=blocks,
        norms_outside=len(outside),
        norm_bias=any(getattr(norm, "bias", None) is not None for norm in norms),
        patch_weights=0 if projection is None else int(projection.weight.numel()),  # type: ignore[operator]
        max_tokens=None if projection is not None else longest_input(module, []),
    )


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


def _block_paths(module: "nn.Module", config: "PretrainedConfig", name: str) -> list[str]:
    """Paths of the blocks: the entries of one list, or of two in an encoder with a decoder."""
    from torch import nn

    lists: list[tuple[str, int]] = []
    for path, child in module.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer, _ in lists)
        if isinstance(child, nn.ModuleList) and not inside and any(isinstance(m, nn.Linear) for m in child.modules()):
            lists.append((path, len(child)))
    wanted = 2 if config.is_encoder_decoder else 1
    keys = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")
    layers = {getattr(config, key, None) for key in (keys if wanted == 2 else keys[:1])}
    if len(lists) != wanted or not {length for _, length in lists} <= layers:
        found = ", ".join(f"{path} of {length}" for path, length in lists) or "none with linear layers (nn.Linear)"
        raise _refused(name, config, f"blocks are looked for in {wanted} list of one entry a layer; found {found}")
    return [f"{path}.{index}" for path, length in lists for index in range(length)]


def _block(module: "nn.Module", path: str, width: int, name: str) -> BlockShape:
    from torch import nn

    config: Any = module.config
    block = module.get_submodule(path)
    linears = []
    for inner, owner, weight in matrices(block):
        if not isinstance(owner, nn.Linear):
            raise _refused(name, config, f"{path}.{inner} is no linear layer, but a {type(owner).__name__}")
        ends = [end for end in _ENDS if inner == end or inner.endswith(f".{end}")]
        if not ends:
            raise _refused(name, config, f"what {path}.{inner} does in its block is not known here")
        out, inputs = weight.shape
        linears.append(LinearShape(f"{path}.{inner}", _ENDS[max(ends, key=len)], out, inputs, owner.bias is not None))
    return BlockShape(path, tuple(linears), sum(1 for _ in _norms(block)))


def _norms(module: "nn.Module") -> list[tuple[str, Any]]:
    """LayerNorms and RMSNorms, of whatever class, with a gain."""
    named = [(path, child) for path, child in module.named_modules() if type(child).__name__.endswith("Norm")]
    return [(path, child) for path, child in named if getattr(child, "weight", None) is not None]


def _refused(name: str, config: Any, why: str) -> UsageError:
    return UsageError(f"model {name!r} ({config.model_type}) cannot be counted from its config.json: {why}")
