"""Whether a loaded encoder is what the entry of its family says, found by running it on a few made-up tokens.

The table of families says what a model is made of. What the rest of the package relies on is then asked of the module
itself, in a few short passes when it is loaded, and a model that does not hold to it is refused with the reason: every
block runs as often as the entry says, in order; every matrix of a block is read by every token; nothing is multiplied
by between the blocks or behind them; the tokens of a text see each other as the mask of the family has it; positions
begin where the table of positions says; hidden states do not depend on what else is in the batch, and come out the same
twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .batches import PAD_ID
from .families import Family, family
from .family_shapes import first_position, matrices, module_shape
from .model_folders import one_line
from .shapes import ModelShape

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHORT, _LONG = 6, 9  # tokens of the two made-up texts
_STRIDE = 7  # from one made-up token to the next: they are not to be mistaken for positions
_TOLERANCE = 1e-3
"""Largest difference of a hidden state, as a share of their root mean square, that rounding can explain."""


@dataclass(frozen=True)
class Traits:
    """The shape of an encoder, and the matrices in front of its blocks, which sit in no cells."""

    shape: ModelShape
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

    entry, shape = family(module.config.model_type, name), module_shape(module, name)
    ids = _made_up(module, _SHORT), _made_up(module, _LONG, start=3)
    width = max(map(len, ids))
    both = torch.tensor([[*row, *[PAD_ID] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    try:
        seen = watched(module, lambda: _hidden(module, torch.tensor([ids[0]]), mask[:1, :_SHORT]))
        alone = [seen.hidden, _hidden(module, torch.tensor([ids[1]]), mask[1:, :_LONG])]
        again = _hidden(module, torch.tensor([ids[0]]), mask[:1, :_SHORT])
        together = _hidden(module, both, mask)
        last = _hidden(module, torch.tensor([[*ids[0][:-1], _another(module, ids[0][-1])]]), mask[:1, :_SHORT])
        first = _hidden(module, torch.tensor([[_another(module, ids[0][0]), *ids[0][1:]]]), mask[:1, :_SHORT])
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
    if torch.equal(first[:, -1], alone[0][:, -1]) or (entry.mask == "both" and torch.equal(last[:, 0], alone[0][:, 0])):
        raise refusal(module, name, "its tokens do not see each other, at least on this machine")
    _require_no_other_inputs(module, seen, name)
    _require_positions(module, seen, entry, name)
    return Traits(shape, _matrices_beside(module, seen, shape, name))


def _require_positions(module: "nn.Module", seen: _Seen, entry: Family, name: str) -> None:
    """Raise `UsageError` where tokens get other rows of the table of positions than its family says."""
    from torch import Tensor, nn

    paths = {id(child): path for path, child in module.named_modules()}
    words = getattr(module, "get_input_embeddings", lambda: None)()
    for table, given in seen.asked:
        rows = given[0] if given and isinstance(given[0], Tensor) else None
        if table is words or not isinstance(table, nn.Embedding) or rows is None or rows.numel() != _SHORT:
            continue
        places, path = rows.flatten().tolist(), paths[id(table)]
        if places != list(range(places[0], places[0] + _SHORT)):
            continue
        if path != entry.positions:
            raise refusal(module, name, f"it takes positions from {path}, and its family from {entry.positions}")
        if places[0] != first_position(table):
            raise refusal(
                module, name, f"its positions begin at row {places[0]} of {path}, not {first_position(table)}"
            )


def _require_no_other_inputs(module: "nn.Module", seen: _Seen, name: str) -> None:
    """Raise `UsageError` for a model with tables of vectors that token ids alone do not lead to."""
    from torch import nn

    asked = {table.weight.data_ptr() for table, _ in seen.asked}  # type: ignore[operator]
    for path, table in module.named_modules():
        by_distance = "rel" in path.rsplit(".", 1)[-1]  # read as a whole, not row by row
        if isinstance(table, nn.Embedding) and table.weight.data_ptr() not in asked and not by_distance:
            raise refusal(module, name, f"it takes more than token ids: {path} was not asked for anything")


def image_traits(module: "nn.Module", name: str, side: int, tokens: int) -> Traits:
    """What an image encoder is like that is given squares of `side` pixels, `tokens` tokens each.

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
        raise refusal(module, name, f"it makes {seen.hidden.shape[1]} tokens of an image, not {tokens}")
    shape = module_shape(module, name)
    _matrices_beside(module, seen, shape, name)
    return Traits(replace(shape, max_tokens=tokens), ())


def refusal(module: "nn.Module", name: str, why: str) -> UsageError:
    """The error for a model that cannot be used."""
    kind = getattr(getattr(module, "config", None), "model_type", type(module).__name__)
    return UsageError(f"model {name!r} ({kind}) cannot be used: {why}")


def watched(module: "nn.Module", run: Callable[[], "Tensor"]) -> _Seen:
    """Run, and note each call of a block's list entry, a matrix, and a table of vectors."""
    from torch import nn

    seen = _Seen([], [], None)
    entries = [one for child in module.modules() if isinstance(child, nn.ModuleList) for one in child]
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


def _matrices_beside(module: Any, seen: _Seen, shape: ModelShape, name: str) -> tuple[str, ...]:
    """Paths of the matrices in front of the blocks.

    Raises:
        UsageError: the matrices of the model are not those of blocks that run as often as they should, in order.
    """
    from torch import nn

    blocks = {id(module.get_submodule(block.name)): block.name for block in shape.blocks}
    runs = [blocks[id(call)] for call in seen.calls if id(call) in blocks]
    if runs != [block.name for block in shape.blocks for _ in range(shape.runs)]:
        raise refusal(module, name, f"its blocks do not run {shape.runs} times each, in order")
    inside = {linear.name for linear in shape.linears}
    order = {id(child): place for place, child in enumerate(seen.calls)}
    first, last = (order[id(module.get_submodule(shape.blocks[place].name))] for place in (0, -1))
    beside, weights = [], set()
    for path, owner, weight in matrices(module, family(module.config.model_type, name).tables):
        place = order.get(id(owner), -1)
        if path in inside:
            if place < 0:
                raise refusal(module, name, f"{path} is not passed by every token, or not read as a layer")
            if weight.data_ptr() in weights:
                raise refusal(module, name, f"{path} shares its weights with another layer")
            weights.add(weight.data_ptr())
        elif place > first and "pooler" not in path.split("."):
            where = "between" if place < last else "behind"
            raise refusal(module, name, f"it multiplies by {path or type(owner).__name__} {where} its blocks")
        elif 0 <= place < first and isinstance(owner, nn.Linear):
            beside.append(path)
    return tuple(beside)


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


def _another(module: Any, token: int) -> int:
    """A made-up token that is not this one, be the table of words ever so small."""
    return next((row for row in _made_up(module, _LONG) if row != token), PAD_ID)


def _hidden(module: "nn.Module", ids: "Tensor", mask: "Tensor") -> "Tensor":
    import torch

    with torch.no_grad():
        hidden: Tensor = module(input_ids=ids, attention_mask=mask).last_hidden_state
    return hidden


def _close(found: "Tensor", expected: "Tensor") -> bool:
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.square().mean().sqrt())
