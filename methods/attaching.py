"""From a method and a backbone to an `Adaptation`: the plan, the layers, and a check of the one against the other."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EdgeAdaptError, UsageError
from ..workloads.families import FAMILIES
from ..workloads.pools import Pool
from ..workloads.shapes import ModelShape
from . import warm_start
from .base import Adaptation, BackboneLike, cell_linears, torch_generator
from .blocks import Levels, Resumption
from .features import LAST, View, chosen
from .heads import HEADS
from .layers import AdaptedModel, CellLinear, LinearFactory, Reader, clone_encoder
from .placement import BackwardNeed, Placement
from .plan import Plan, PoolShape, Size
from .pruning import pruned_linear

if TYPE_CHECKING:
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
        """A copy of the encoder whose linears are `make(name, linear)`; it shares the backbone's weights, but for those
        that the plan prunes: what is made of a pruned linear has zeros there.
        """
        kept = self.plan.kept_weights

        def make_of(name: str, linear: nn.Linear) -> CellLinear:
            return make(name, pruned_linear(linear, kept[name]) if name in kept else linear)

        return clone_encoder(self.backbone.module, self.backbone.linear_names(), make_of)

    def model(self, encoder: nn.Module) -> AdaptedModel:
        """An encoder with its head."""
        return self.model_of(AdaptedModel, encoder)

    def model_of(self, kind: type[A], encoder: nn.Module, *args: Any) -> A:
        """The same, of another kind, with what that one needs beside."""
        model = kind(encoder, self.plan.head[1], self.classes, *args)
        if self.plan.head_kind != "linear":
            model.head = HEADS[self.plan.head_kind].build(self.classes, self.plan.head[1]).to(self.dtype)
        return model

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

    `holds`: what backbone matrices hold that are written without being trained themselves (`TensorPlan.written`): each
    gives the matrix (out, in) that its cells are to hold for the present state. `wrote` is called when cells have been
    written under NVM_TASK.

    `constants`: tensors of two or more extents that are neither trained nor in cells, and never change. Whoever names
    them states that they are held digitally, and that the plan has the work that is done with them.

    `training_reader`: for a method that is trained away from the chip (`Part.off_chip`), what reads the matrices then;
    it is made for each training, and draws from the generator that it is given.
    """

    model: AdaptedModel
    state: Mapping[str, nn.Parameter] = field(default_factory=dict)
    cells: Mapping[str, Tensor] = field(default_factory=dict)
    constants: Collection[Tensor] = ()
    holds: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    training_reader: Callable[[np.random.Generator], Reader] | None = None
    wrote: Callable[[], object] | None = None


def attach(
    method: "Method",
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
    model.separator = backbone.separator
    model.apart = plan.backward_need is BackwardNeed.SIDE
    front = backbone.shape.front_tokens + plan.extra_tokens + plan.late_tokens
    model.view = View(backbone.pooling, model.of_images, front)
    model.feature = chosen(plan.features, model.view, backbone.tagged)
    if plan.levels != LAST:
        model.levels = Levels(model.encoder, plan.block_paths, plan.levels)
    if plan.resumes:
        model.resumption = Resumption(model.encoder, plan.block_paths, plan.resumes)
    model.norm = FAMILIES[model.encoder.config.model_type].norm  # type: ignore[union-attr, index]
    state = {**built.state, **dict(model.head.named_parameters(prefix="head"))}
    cells: dict[str, Tensor] = {linear.cell_name: linear.weight for linear in cell_linears(model)}
    cells |= built.cells
    require_as_planned(plan, state, cells, built.holds)
    require_pruned(plan, cells)
    require_declared(plan, backbone.module, built, [*state.values(), *cells.values()])
    adaptation = Adaptation(
        plan=plan,
        module=model,
        state=state,
        groups={group: [name for name in state if plan.tensors[name].group == group] for group in plan.groups},
        cell_tensors=cells,
        placements={name: plan.tensors[name].placement for name in (*state, *cells)},
        recipe=method.recipe,
        holds=built.holds,
        training_reader=built.training_reader,
        wrote=built.wrote,
    )
    if method.warm_start:
        warm_start.load(adaptation, method.warm_start)
    return adaptation


def plan_on(
    method: "Method", backbone: BackboneLike, classes: int, placement: Placement | None, pool: Pool | None
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


def _pool_shape(method: "Method", pool: Pool | None, shape: ModelShape) -> PoolShape:
    """Raises `UsageError` for no pool, or one of another model."""
    if pool is None or not pool.modules:
        raise UsageError(f"{method.name} needs a pool of LoRA modules: give one with --pool, or train one (pool train)")
    if strange := sorted(set(pool.target_names) - {linear.name for linear in shape.linears}):
        raise UsageError(f"the pool {pool.path} adapts {strange[0]!r}, which this model does not have")
    return PoolShape({name: tuple(len(module.a[name]) for module in pool.modules) for name in pool.target_names})


def require_as_planned(
    plan: Plan, state: Mapping[str, Tensor], cells: Mapping[str, Tensor], holds: Collection[str] = ()
) -> None:
    """Raise `EdgeAdaptError` where what was built is not what the plan says: names, shapes, state and cells, and the
    names of the matrices that hold what follows from the state.
    """
    following = {name for name, tensor in plan.tensors.items() if tensor.written and not tensor.group}
    if disputed := sorted(following ^ set(holds)):
        raise EdgeAdaptError(
            f"{plan.method} is not built as planned: the cells of {disputed[0]!r} are "
            f"{'' if disputed[0] in following else 'not '}to be written in the plan, and Built.holds says the opposite"
        )
    for found, kind, wanted in (
        (state, "state", {name: t.shape for name, t in plan.tensors.items() if t.in_state}),
        (cells, "matrices in cells", plan.matrices),
    ):
        built = {name: tuple(tensor.shape) for name, tensor in found.items()}
        if different := sorted(built.items() ^ wanted.items()):
            name = different[0][0]
            raise EdgeAdaptError(
                f"{plan.method} is not built as planned: {kind} {name!r} has the shape {built.get(name)}, "
                f"planned is {wanted.get(name)}"
            )


def require_pruned(plan: Plan, cells: Mapping[str, Tensor]) -> None:
    """Raise `EdgeAdaptError` where a matrix was built of more weights than the plan has the chip programmed with."""
    for name, kept in plan.kept_weights.items():
        if (found := int(torch.count_nonzero(cells[name]))) > kept:
            raise EdgeAdaptError(
                f"{plan.method} is not built as planned: {name!r} has {found} weights that are not zero, planned are "
                f"{kept}; build on what Site.encoder hands to `make`"
            )


def require_declared(plan: Plan, backbone: nn.Module, built: Built, declared: Collection[Tensor]) -> None:
    """Raise `EdgeAdaptError` for a matrix in the built model that is not the backbone's, and that the plan does not
    know: it would be multiplied exactly and for nothing. Linear layers of the digital unit need their work, too.

    `declared`: state and matrices in cells. What a function holds without registering it with a module is not seen
    here; the tests compare the products of every method with its plan (tests/methods/test_declared_work.py).
    """
    own = {_memory(tensor) for tensor in (*backbone.parameters(), *backbone.buffers())}
    known = own | {_memory(tensor) for tensor in (*declared, *built.constants)}
    digital, head = 0, set(built.model.head.modules())
    for path, module in built.model.named_modules():
        for name, tensor in _tensors(module):
            if tensor.ndim > 1 and _memory(tensor) not in known:
                raise EdgeAdaptError(
                    f"{plan.method} multiplies by {f'{path}.{name}'.lstrip('.')!r} {tuple(tensor.shape)}, which its "
                    "plan does not know; put it into cells by a name of the plan (CellLinear), or into the state as a "
                    "DIGITAL tensor of the plan with its work, or name it in Built.constants"
                )
        if isinstance(module, nn.Linear) and module not in head and _memory(module.weight) not in own:
            digital += module.weight.numel()
    work = plan.own_work
    if digital > work.per_token + max(0, work.per_sequence) + work.per_pass:  # below 0: tokens that are left out
        raise EdgeAdaptError(
            f"{plan.method} has linear layers of {digital} numbers in the digital unit, and its plan has no such work; "
            "add costs.matrix_forward to inference_work, and the gradients to backward_work"
        )


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Everything that a module holds itself: parameters, buffers, and tensors that are neither."""
    held = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return held + [(name, value) for name, value in vars(module).items() if isinstance(value, Tensor)]


def _memory(tensor: Tensor) -> int:
    """Where a tensor's numbers are: the same for all that share them."""
    return tensor.untyped_storage().data_ptr()
