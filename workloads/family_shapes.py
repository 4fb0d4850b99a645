"""The shape of a model, from the entry of its family and the module itself, which may be without numbers."""

import inspect
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .families import Family, family
from .shapes import BlockShape, LinearShape, ModelShape, NormShape

if TYPE_CHECKING:
    from torch import nn


def module_shape(module: Any, name: str, source: str = "the model") -> ModelShape:
    """The shape of a module of transformers: every matrix of its blocks with the role that its family gives it.

    Raises:
        UsageError: a family that is not known, or a model that is not what its entry says.
    """
    from torch import nn

    config = module.config
    entry = family(config.model_type, name)
    width = int(getattr(config, "hidden_size", 0) or config.d_model)
    stacks = [(stack, path) for stack in entry.blocks for path in _paths(module, stack)]
    if not stacks:
        raise _refused(module, name, f"it has no blocks in {' or '.join(entry.blocks)}")
    blocks = tuple(_block(module, path, stack, entry, name) for stack, path in stacks)
    norms = norms_of(module)
    outside = [norm for path, norm in norms if not any(path.startswith(f"{block.name}.") for block in blocks)]
    projection = next((child for child in module.modules() if isinstance(child, nn.Conv2d)), None)
    return ModelShape(
        name=name,
        title=f"{name} ({config.model_type})",
        source=source,
        hidden_size=width,
        blocks=blocks,
        norms_outside=len(outside),
        norm_bias=any(getattr(norm, "bias", None) is not None for _, norm in norms),
        patch_weights=0 if projection is None else int(projection.weight.numel()),
        max_tokens=None if projection is not None else longest_input(module, entry),
        front_tokens=1 if projection is None else entry.front_tokens(config),
        fixed_tokens=_takes_no_more(module, entry),
        runs=_runs(module, entry, len(blocks), name),
        named_norms=tuple(
            NormShape(path, norm.weight.numel(), getattr(norm, "bias", None) is not None) for path, norm in norms
        ),
        chained=entry.chained,
        word_size=_word_size(module, width) if entry.reads == "text" else None,
    )


def _takes_no_more(module: Any, entry: Family) -> bool:
    """Whether no tokens can be added to those of an example: each pair has a bias, or texts are ids of words alone."""
    if entry.reads == "text":
        return "inputs_embeds" not in inspect.signature(module.forward).parameters
    return any(path.rpartition(".")[2] in entry.tables for path, _ in module.named_parameters())


def _word_size(module: Any, width: int) -> int | None:
    """Numbers of a word's embedding, where they are not as many as a hidden state has."""
    size = int(module.get_input_embeddings().embedding_dim)
    return None if size == width else size


def longest_input(module: Any, entry: Family) -> int | None:
    """Tokens that the table of positions allows; None where there is none. The rows up to its padding index are left
    out: RoBERTa's kind counts from behind them.
    """
    from torch import nn

    table = dict(module.named_modules()).get(entry.positions or "")
    if not isinstance(table, nn.Embedding):
        return None
    config = module.config
    limit = table.num_embeddings - first_position(table)
    limit = min(limit, int(getattr(config, "max_position_embeddings", None) or limit))
    if getattr(config, "attention_type", "") == "block_sparse":
        # Longer texts are read with sparse attention, whose blocks depend on the padding of the batch.
        limit = min(limit, (5 + 2 * config.num_random_blocks) * config.block_size)
    return limit


def first_position(table: "nn.Embedding") -> int:
    """The row of a table of positions that the first token gets."""
    return 0 if table.padding_idx is None else table.padding_idx + 1


def matrices(module: "nn.Module", tables: tuple[str, ...] = ()) -> "list[tuple[str, nn.Module, nn.Parameter]]":
    """(path, owner, weight) of everything that hidden states could be multiplied by: parameters of two or more extents,
    tables of vectors and those called `tables` left out.
    """
    from torch import nn

    return [
        (path, owner, parameter)
        for path, owner in module.named_modules()
        if not isinstance(owner, nn.Embedding)
        for own, parameter in owner.named_parameters(recurse=False)
        if parameter.ndim > 1 and own not in tables
    ]


def _paths(module: "nn.Module", stack: str) -> list[str]:
    """Paths of the blocks of a stack, in order; none where the model lacks it."""
    from torch import nn

    lists = dict(module.named_modules())
    found = [""]
    for part in stack.split(".*."):
        wanted = [f"{path}.{part}".removeprefix(".") for path in found]
        entries = [(path, lists.get(path)) for path in wanted]
        found = [
            f"{path}.{n}" for path, child in entries if isinstance(child, nn.ModuleList) for n in range(len(child))
        ]
    return found


def _block(module: "nn.Module", path: str, stack: str, entry: Family, name: str) -> BlockShape:
    from torch import nn

    block = module.get_submodule(path)
    found: dict[str, LinearShape] = {}
    for inner, owner, weight in matrices(block, entry.tables):
        if not isinstance(owner, nn.Linear) or type(owner).forward is not nn.Linear.forward:
            raise _refused(module, name, f"{path}.{inner} is no linear layer, but a {type(owner).__name__}")
        if inner not in entry.linears:
            raise _refused(module, name, f"what {path}.{inner} does in its block is not known here")
        out, inputs = weight.shape
        found[inner] = LinearShape(f"{path}.{inner}", entry.linears[inner], out, inputs, owner.bias is not None)
    ordered = tuple(found[inner] for inner in entry.linears if inner in found)
    return BlockShape(path, ordered, len(norms_of(block)), stack if "*" in stack else "")


def _runs(module: "nn.Module", entry: Family, blocks: int, name: str) -> int:
    """How often every block runs in one pass."""
    config: Any = module.config
    if not entry.shared:
        return 1
    groups = int(getattr(config, entry.shared))
    if config.num_hidden_layers % groups:
        layers = f"{config.num_hidden_layers} layers are shared among {groups} groups"
        raise _refused(module, name, f"its {layers}, not the same number in each")
    return int(config.num_hidden_layers) // groups


def norms_of(module: "nn.Module") -> list[tuple[str, Any]]:
    """LayerNorms and RMSNorms, of whatever class, with a gain."""
    named = [(path, child) for path, child in module.named_modules() if type(child).__name__.endswith("Norm")]
    return [(path, child) for path, child in named if getattr(child, "weight", None) is not None]


def _refused(module: Any, name: str, why: str) -> UsageError:
    return UsageError(f"model {name!r} ({module.config.model_type}) cannot be used: {why}")
