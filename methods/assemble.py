"""What all methods share when they are attached: backbone matrices in cells, the head, attention and head work."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from ..workloads.families import FAMILIES
from . import warm_start
from .base import Adaptation, BackboneLike, BackwardNeed, Method, Placement, cell_linears
from .cells import AdaptedModel, patch_projection
from .costs import (
    DigitalWork,
    attention_backward,
    attention_forward,
    head_backward,
    head_forward,
    lengthened,
    patches_forward,
)

NO_WORK = DigitalWork()


def assemble(
    method: Method,
    backbone: BackboneLike,
    model: AdaptedModel,
    *,
    groups: Mapping[str, Mapping[str, nn.Parameter]],
    placements: Mapping[str, Placement],
    held: Mapping[str, nn.Parameter] | None = None,
    extra_cells: Mapping[str, Tensor] | None = None,
    train_head: bool = True,
    inference_work: DigitalWork = NO_WORK,
    training_work: DigitalWork | None = None,
    backward_work: DigitalWork = NO_WORK,
    extra_tokens: int = 0,
    trained_linears: Collection[str] | None = None,
) -> Adaptation:
    """An `Adaptation` from a model whose linears are `CellLinear`s.

    Args:
        groups: the method's own trained parameters by group and name; the group "head" is added.
        placements: placement of the method's own tensors. Backbone matrices not named there are NVM_FROZEN, state not
            named there is DIGITAL.
        held: state that is not trained, by name.
        extra_cells: matrices in cells beside the backbone's.
        train_head: False when the head is set from class means and left so.
        inference_work, training_work, backward_work: digital work beside attention and head; training_work is that of
            a training forward pass, by default the same as inference.
        extra_tokens: tokens that the method adds to every sequence; attention works on them too.
        trained_linears: the linears that the method trains or changes, when nothing is trained in front of the first
            block: queries, keys and values that come from frozen embeddings alone then need no gradient.
    """
    model.per_token, model.separator, model.pooling = backbone.tagged, backbone.separator, backbone.pooling
    model.front = backbone.shape.front_tokens + extra_tokens
    model.norm = FAMILIES[model.encoder.config.model_type].norm  # type: ignore[union-attr, index]
    head = dict(model.head.named_parameters(prefix="head"))
    trained = {name: parameter for group in groups.values() for name, parameter in group.items()}
    state = {**trained, **(held or {}), **head}
    cells: dict[str, Tensor] = {linear.cell_name: linear.weight for linear in cell_linears(model)}
    cells |= extra_cells or {}
    default = dict.fromkeys(state, Placement.DIGITAL) | dict.fromkeys(cells, Placement.NVM_FROZEN)
    hidden, classes = model.head.in_features, model.head.out_features
    through = method.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    shape = backbone.shape
    # What a method does in a block, it does as often as the block runs.
    inference_work, backward_work = inference_work.times(shape.runs), backward_work.times(shape.runs)
    training_work = inference_work if training_work is None else training_work.times(shape.runs)
    forward = lengthened(attention_forward(1, shape.attention_numbers), extra_tokens)
    forward += head_forward(hidden, classes, backbone.tagged)
    if backbone.kind == "image":
        forward += patches_forward(patch_projection(model.encoder).weight.numel(), shape.front_tokens)
    if train_head:
        backward_work += head_backward(hidden, classes, through, backbone.tagged)
    if through:
        numbers, spared = shape.attention_numbers, 0
        if trained_linears is not None:
            front = shape.front(trained_linears)
            numbers, spared = numbers - front.skipped, front.spared
        backward_work += lengthened(attention_backward(1, numbers, spared), extra_tokens)
    adaptation = Adaptation(
        method=method.name,
        module=model,
        state=state,
        groups={group: list(members) for group, members in groups.items()} | {"head": list(head) if train_head else []},
        cell_tensors=cells,
        placements=default | dict(placements),
        backward_need=method.backward_need,
        recipe=method.recipe,
        inference_work=forward + inference_work,
        training_work=forward + training_work,
        backward_work=backward_work,
        extra_tokens=extra_tokens,
        block_paths=tuple(block.name for block in shape.blocks),
    )
    if method.warm_start:
        warm_start.load(adaptation, method.warm_start)
    return adaptation
