"""What an encoder is like, found by running it on a few made-up tokens: its blocks, its positions, its width.

Model families differ in ways that no list keeps up with. What the rest of the package relies on is therefore asked of
the module itself, in three short passes when it is loaded, and a model that does not hold to it is refused with the
reason: every block is one entry of one list and runs once; every matrix of a block is an `nn.Linear` of its own that
every token passes; the tokens of a text see each other; its hidden states do not depend on what else is in the batch,
and come out the same twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .batches import PAD_ID
from .model_folders import one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHORT, _LONG = 6, 9  # tokens of the two made-up texts
_STRIDE = 7  # from one made-up token to the next: they are not to be mistaken for positions
_TOLERANCE = 1e-3
"""Largest difference of a hidden state, as a share of their root mean square, that rounding can explain."""


@dataclass(frozen=True)
class Traits:
    """Paths of the blocks in their order; width of a hidden state; longest input in tokens (None: any length);
    matrices in front of the blocks, which sit in no cells.
    """

    block_paths: tuple[str, ...]
    hidden_size: int
    max_tokens: int | None
    beside: tuple[str, ...]


@dataclass
class _Seen:
    """What a pass called, in order, and what tables of vectors were asked for."""

    calls: list["nn.Module"]
    asked: list[tuple["nn.Module", Any]]
    hidden: Any


def text_traits(module: Any, name: str) -> Traits:
    """What a text encoder is like.

    Raises:
        UsageError: one that this package cannot put on a chip, or whose answers would depend on the batch.
    """
    import torch

    ids = _made_up(module, _SHORT), _made_up(module, _LONG, start=3)
    width = max(map(len, ids))
    both = torch.tensor([[*row, *[PAD_ID] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    try:
        seen = watched(module, lambda: _hidden(module, torch.tensor([ids[0]]), mask[:1, :_SHORT]))
        alone = [seen.hidden, _hidden(module, torch.tensor([ids[1]]), mask[1:, :_LONG])]
        again = _hidden(module, torch.tensor([ids[0]]), mask[:1, :_SHORT])
        together = _hidden(module, both, mask)
        changed = _hidden(module, torch.tensor([[*ids[0][:-1], ids[1][0]]]), mask[:1, :_SHORT])
    except Exception as error:  # whatever a forward pass of a family raises
        raise refusal(module, name, f"it does not run on token ids and a mask alone: {one_line(error)}") from error
    if seen.hidden.ndim != 3 or tuple(seen.hidden.shape[:2]) != (1, _SHORT):
        raise refusal(module, name, f"it gives {list(seen.hidden.shape)} numbers for 1 text of {_SHORT} tokens")
    if seen.hidden.shape[2] != module.config.hidden_size:
        widths = f"{seen.hidden.shape[2]} numbers, and its blocks are {module.config.hidden_size} wide"
        raise refusal(module, name, f"it gives hidden states of {widths}")
    if not all(bool(torch.isfinite(states).all()) for states in (*alone, together)):
        raise refusal(module, name, "its hidden states are not finite numbers")
    if not _close(again, alone[0]):
        raise refusal(module, name, "it gives other numbers each time: it draws at random")
    if not all(_close(together[row, : len(own)], alone[row][0]) for row, own in enumerate(ids)):
        raise refusal(module, name, "what it says of a text depends on the other texts of the batch")
    if torch.equal(changed[:, 0], alone[0][:, 0]):
        raise refusal(module, name, "its tokens do not see each other, at least on this machine")
    _require_no_other_inputs(module, seen, name)
    blocks, beside = blocks_of(module, seen, name)
    return Traits(blocks, seen.hidden.shape[-1], longest_input(module, seen.asked), beside)


def _require_no_other_inputs(module: "nn.Module", seen: _Seen, name: str) -> None:
    """Raise `UsageError` for a model with tables of vectors that token ids alone do not lead to."""
    from torch import nn

    asked = {id(table) for table, _ in seen.asked}
    for path, table in module.named_modules():
        by_distance = "rel" in path.rsplit(".", 1)[-1]  # read as a whole, not row by row
        if isinstance(table, nn.Embedding) and id(table) not in asked and not by_distance:
            raise refusal(module, name, f"it takes more than token ids: {path} was not asked for anything")


def image_traits(module: "nn.Module", name: str, side: int, tokens: int) -> Traits:
    """What an image encoder is like that is given squares of `side` pixels, `tokens` of them with [CLS].

    Raises:
        UsageError: one that this package cannot put on a chip.
    """
    import torch

    pixels = torch.linspace(-1, 1, 3 * side * side).reshape(1, 3, side, side)
    try:
        seen = watched(module, lambda: module(pixel_values=pixels).last_hidden_state)
    except Exception as error:
        raise refusal(module, name, f"it does not run on pixels alone: {one_line(error)}") from error
    if tuple(seen.hidden.shape[:2]) != (1, tokens):
        raise refusal(module, name, f"it makes {seen.hidden.shape[1]} tokens of an image, not [CLS] and its patches")
    return Traits(blocks_of(module, seen, name)[0], seen.hidden.shape[-1], tokens, ())


def refusal(module: "nn.Module", name: str, why: str) -> UsageError:
    """The error for a model that cannot be used."""
    kind = getattr(getattr(module, "config", None), "model_type", type(module).__name__)
    return UsageError(f"model {name!r} ({kind}) cannot be used: {why}")


def watched(module: "nn.Module", run: Callable[[], "Tensor"]) -> _Seen:
    """Run, and note each call of a block's list entry, a matrix, and a table of vectors."""
    from torch import nn

    seen = _Seen([], [], None)
    entries = [entry for child in module.modules() if isinstance(child, nn.ModuleList) for entry in child]
    noted = {id(child): child for child in (*entries, *(owner for _, owner, _ in matrices(module)))}
    tables = [child for child in module.modules() if isinstance(child, nn.Embedding)]
    hooks = [child.register_forward_pre_hook(lambda one, _: seen.calls.append(one)) for child in noted.values()]
    hooks += [table.register_forward_pre_hook(lambda one, given: seen.asked.append((one, given))) for table in tables]
    try:
        seen.hidden = run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def matrices(module: "nn.Module") -> Iterable[tuple[str, "nn.Module", "nn.Parameter"]]:
    """(path, owner, weight) of everything that hidden states could be multiplied by: parameters of two or more extents,
    tables of vectors left out.
    """
    from torch import nn

    for path, owner in module.named_modules():
        if isinstance(owner, nn.Embedding):
            continue
        for parameter in owner.parameters(recurse=False):
            if parameter.ndim > 1:
                yield path, owner, parameter


def blocks_of(module: Any, seen: _Seen, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of the blocks, and of the matrices in front of them.

    Raises:
        UsageError: the matrices of the model are not linear layers of blocks that run once each.
    """
    from torch import nn

    blocks = _list_of_blocks(module, seen, name)
    order = {id(child): place for place, child in enumerate(seen.calls)}
    first, last = (order[id(module.get_submodule(path))] for path in (blocks[0], blocks[-1]))
    beside, weights = [], set()
    for path, owner, weight in matrices(module):
        place = order.get(id(owner), -1)
        if any(path == block or path.startswith(f"{block}.") for block in blocks):
            if why := _not_for_cells(owner, place):
                raise refusal(module, name, f"{path} {why}")
            if weight.data_ptr() in weights:
                raise refusal(module, name, f"{path} shares its weights with another layer")
            weights.add(weight.data_ptr())
        elif place > first and "pooler" not in path.split("."):
            where = "between" if place < last else "behind"
            raise refusal(module, name, f"it multiplies by {path or type(owner).__name__} {where} its blocks")
        elif 0 <= place < first and isinstance(owner, nn.Linear):
            beside.append(path)
    return tuple(blocks), tuple(beside)


def _list_of_blocks(module: Any, seen: _Seen, name: str) -> list[str]:
    """Paths of the entries of the first list with one entry a layer, each of which runs once, in order."""
    from torch import nn

    layers = getattr(module.config, "num_hidden_layers", None)
    calls = [id(child) for child in seen.calls]
    for path, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and len(child) == layers:
            entries = [id(entry) for entry in child]
            if [call for call in calls if call in entries] == entries:
                return [f"{path}.{index}" for index in range(len(child))]
    inside = [owner for path, owner, _ in matrices(module) if _numbered(path)]
    if not any(isinstance(owner, nn.Linear) for owner in inside):
        other = type(inside[0]).__name__ if inside else "nothing"
        raise refusal(module, name, f"its blocks hold no linear layer (nn.Linear), but {other}")
    shared = any(isinstance(child, nn.Linear) and calls.count(id(child)) > 1 for child in seen.calls)
    why = ": its layers share their weights" if shared else ""
    raise refusal(module, name, f"no list of {layers} Transformer blocks found{why}")


def _not_for_cells(owner: "nn.Module", place: int) -> str | None:
    """Why what is multiplied by in a block cannot be read from cells; None where it can."""
    from torch import nn

    if not isinstance(owner, nn.Linear) or type(owner).forward is not nn.Linear.forward:
        return f"is a {type(owner).__name__}: not all matrices of its blocks are linear layers (nn.Linear)"
    return "is not passed by every token, or not read as a layer" if place < 0 else None


def _numbered(path: str) -> bool:
    """Whether a path leads through the entry of a list, as those of blocks do."""
    return any(part.isdigit() for part in path.split("."))


def longest_input(module: Any, asked: list[tuple["nn.Module", Any]]) -> int | None:
    """Tokens that the tables of positions allow; None where there is no such table.

    A table is asked for rows that follow each other, from a first one that differs: RoBERTa's kind begins behind the
    row of padding. One that was not asked so is judged by its name and padding.
    """
    from torch import Tensor, nn

    limits: dict[int, int] = {}
    for path, table in module.named_modules():
        if isinstance(table, nn.Embedding) and "position" in path.rsplit(".", 1)[-1]:
            limits[id(table)] = places_by_name(table, module.config)
    words = module.get_input_embeddings() if asked else None
    for table, given in asked:
        if table is words:
            continue
        rows = given[0] if given and isinstance(given[0], Tensor) else None
        if isinstance(table, nn.Embedding) and rows is not None and rows.numel() == _SHORT:
            places = rows.flatten().tolist()
            if places == list(range(places[0], places[0] + _SHORT)):
                limits[id(table)] = table.num_embeddings - places[0]
    limit = min(limits.values()) if limits else None
    config = module.config
    if limit is not None and getattr(config, "attention_type", "") == "block_sparse":
        # Longer texts are read with sparse attention, whose blocks depend on the padding of the batch.
        limit = min(limit, (5 + 2 * config.num_random_blocks) * config.block_size)
    return limit


def places_by_name(table: "nn.Embedding", config: Any) -> int:
    """Positions in a table, without having seen it used."""
    rows = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    return min(rows, int(getattr(config, "max_position_embeddings", None) or rows))


def word_vectors(module: Any) -> int:
    """How many token ids the table of words has a vector for."""
    table = module.get_input_embeddings()
    return len(getattr(table, "weight", table))


def _made_up(module: Any, tokens: int, start: int = 0) -> list[int]:
    """Token ids that are in the table of words and stand for nothing special."""
    rows = word_vectors(module)
    names = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")
    special = {PAD_ID, *(getattr(module.config, f"{name}_token_id", None) for name in names)}
    usable = [row for row in range(min(rows, 1000)) if row not in special] or [0]
    return [usable[(start + _STRIDE * place) % len(usable)] for place in range(tokens)]


def _hidden(module: "nn.Module", ids: "Tensor", mask: "Tensor") -> "Tensor":
    import torch

    with torch.no_grad():
        hidden: Tensor = module(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden


def _close(found: "Tensor", expected: "Tensor") -> bool:
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.square().mean().sqrt())
