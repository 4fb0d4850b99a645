"""From a method and a backbone to an `Adaptation`: the plan, the layers, and a check of the one against the other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..workloads.families import FAMILIES
from ..workloads.pools import Pool
from ..workloads.shapes import ModelShape
from . import warm_start
from .base import Adaptation, BackboneLike, cell_linears, torch_generator
from .layers import AdaptedModel, CellLinear, LinearFactory, clone_encoder
from .placement import Placement
from .plan import Plan, PoolShape, Size
from .spec import Method

A = TypeVar("A", bound=AdaptedModel)


@dataclass(frozen=True)
class Site:
    """What a method builds on. `rng` draws the initial values of what is trained."""

    backbone: BackboneLike
    plan: Plan
    classes: int
    rng: np.random.Generator
    placement: Placement
    pool: Pool | None

    def encoder(self, make: LinearFactory = CellLinear) -> nn.Module:
        """A copy of the encoder whose linears are `make(name, linear)`; it shares the backbone's weights."""
        return clone_encoder(self.backbone.module, self.backbone.linear_names(), make)

    def model(self, encoder: nn.Module) -> AdaptedModel:
        """An encoder with its head."""
        return self.model_of(AdaptedModel, encoder)

    def model_of(self, kind: type[A], encoder: nn.Module, *args: Any) -> A:
        """The same, of another kind, with what that one needs beside."""
        return kind(encoder, self.backbone.hidden_size, self.classes, *args)

    def generator(self) -> torch.Generator:
        """A torch generator, seeded by the next number of `rng`."""
        return torch_generator(self.rng)

    @property
    def shape(self) -> ModelShape:
        return self.backbone.shape

    @property
    def dtype(self) -> torch.dtype:
        return next(self.backbone.module.parameters()).dtype


@dataclass
class Built:
    """What a method made: the model, its own state by name (all but the head), its matrices in cells beside the
    backbone's. The order of the names is that in which they are trained and programmed.
    """

    model: AdaptedModel
    state: Mapping[str, nn.Parameter] = field(default_factory=dict)
    cells: Mapping[str, Tensor] = field(default_factory=dict)


def attach(
    method: Method,
    backbone: BackboneLike,
    classes: int,
    rng: np.random.Generator,
    placement: Placement | None,
    pool: Pool | None,
) -> Adaptation:
    """See `Method.attach`."""
    plan = plan_on(method, backbone, classes, placement, pool)
    built = method.build(Site(backbone, plan, classes, rng, plan.placement, pool))
    model = built.model
    model.per_token, model.separator, model.pooling = backbone.tagged, backbone.separator, backbone.pooling
    model.front = backbone.shape.front_tokens + plan.extra_tokens
    model.norm = FAMILIES[model.encoder.config.model_type].norm  # type: ignore[union-attr, index]
    state = {**built.state, **dict(model.head.named_parameters(prefix="head"))}
    cells: dict[str, Tensor] = {linear.cell_name: linear.weight for linear in cell_linears(model)}
    cells |= built.cells
    require_as_planned(plan, state, cells)
    adaptation = Adaptation(
        plan=plan,
        module=model,
        state=state,
        groups={group: [name for name in state if plan.tensors[name].group == group] for group in plan.groups},
        cell_tensors=cells,
        placements={name: plan.tensors[name].placement for name in (*state, *cells)},
        recipe=method.recipe,
    )
    if method.warm_start:
        warm_start.load(adaptation, method.warm_start)
    return adaptation


def plan_on(
    method: Method, backbone: BackboneLike, classes: int, placement: Placement | None, pool: Pool | None
) -> Plan:
    """The plan of a method on a backbone with weights.

    Raises:
        UsageError: what `Method.attach` refuses.
    """
    method.choose_placement(placement)
    method.require_kind(backbone.kind, "this model")
    shape = backbone.shape
    size = Size(
        classes=classes,
        pool=_pool_shape(method, pool, shape) if method.needs_pool else None,
        special_tokens=backbone.special_tokens,
        tagged=backbone.tagged,
    )
    return method.plan(shape, size, placement)


def _pool_shape(method: Method, pool: Pool | None, shape: ModelShape) -> PoolShape:
    """Raises `UsageError` for no pool, or one of another model."""
    if pool is None or not pool.modules:
        raise UsageError(f"{method.name} needs a pool of LoRA modules: give one with --pool, or train one (pool train)")
    if strange := sorted(set(pool.target_names) - {linear.name for linear in shape.linears}):
        raise UsageError(f"the pool {pool.path} adapts {strange[0]!r}, which this model does not have")
    return PoolShape({name: tuple(len(module.a[name]) for module in pool.modules) for name in pool.target_names})


def require_as_planned(plan: Plan, state: Mapping[str, Tensor], cells: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` where what was built is not what the plan says: names, shapes, state and cells."""
    for found, kind, wanted in (
        (state, "state", {name: t.shape for name, t in plan.tensors.items() if t.in_state}),
        (cells, "matrices in cells", plan.matrices),
    ):
        built = {name: tuple(tensor.shape) for name, tensor in found.items()}
        if different := sorted(built.items() ^ wanted.items()):
            name = different[0][0]
            raise ValueError(
                f"{plan.method} is not built as planned: {kind} {name!r} has the shape {built.get(name)}, "
                f"planned is {wanted.get(name)}"
            )
