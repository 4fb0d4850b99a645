"""What an adaptation method is: its options, its plan, and how it is built; and the register of all methods.

A method is one file in `library/` that ends with `register(...)`. `part` says, without torch, what it adds to a model;
`build` makes the layers. All else follows: counts, placements, reads, digital work, documentation, figures.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ..errors import UsageError, unknown_name
from ..workloads.shapes import LinearShape, ModelShape, parse_roles
from .completing import completed
from .formats import DEFAULT
from .heads import HEADS
from .placement import BackwardNeed, Placement
from .plan import Part, Plan, Size, target_linears
from .recipes import KEYS, NO_HOOKS, Recipe
from .regularisers import Regulariser

if TYPE_CHECKING:
    import numpy as np

    from ..workloads.pools import Pool
    from .attaching import Built, Site
    from .base import Adaptation, BackboneLike
    from .lora_form import LoraForm, State

FAMILIES = {
    "none": "No training",
    "head": "The head alone",
    "all": "Everything",
    "fusion": "Fused modules",
    "low-rank": "Low-rank updates",
    "updates": "Dense and sparse updates",
    "side": "Side networks",
    "vectors": "Vectors and biases",
    "token-vectors": "Vectors at special tokens",
    "prompts": "Prompts",
}
"""What kinds of methods there are: key -> name in print. Figures give each a colour (`reports.canvas`)."""

HEAD_RATE_OF_IMAGES = 3e-4
HEAD_OF_IMAGES: Mapping[str, Any] = {"head_margin": 2.0, "head_shrinkage": 0.5}
"""Fields of every recipe for images: how the head starts (`Method.image_form`)."""


@dataclass(frozen=True)
class ParameterCount:
    """Numbers a method trains on a model, without the classifier head, and the weights it keeps in cells.

    `trained` maps a kind of state ("coefficients", "magnitudes", ...) to how many numbers of it are trained;
    `cells_frozen` are weights beside the backbone that are programmed once; `cells_trained` are weights in cells that
    are rewritten under NVM_TASK or NVM_STEP.
    """

    trained: Mapping[str, int]
    cells_frozen: int = 0
    cells_trained: int = 0

    @property
    def trained_parameters(self) -> int:
        return sum(self.trained.values())


@dataclass(frozen=True)
class Method(ABC):
    """One way to adapt a frozen backbone. Options of a method are its dataclass fields.

    `title` is its name in print, `family` one of `FAMILIES`, `groups` the optimiser's groups of what it trains beside
    the head. `warm_start` is a file with the state to start from, trained on other tasks ("" for none): see
    `warm_start.load`.

    `start` names the method that trains nothing and answers as this one does before its first step (prompts and side
    networks, which start at random, aside); "" for one that trains nothing. `untrained` names the method that this one
    is the start of, and whose options it shares.

    `rivals` are the methods that it is held against, the nearest first: reports are about a method that names some.
    Those of a method are not those of one that is made from it.

    `candidates` are what a search of the method's recipe tries (`benchmarks/recipe_search.py`), five of them: each maps
    `rate.GROUP` to a learning rate, `recipe.FIELD` to a field of the recipe, or an option to a value; () for the usual
    ones, its own rates half a decade aside. They are not those of a method that is made from it.

    `searched` names the record of the search that chose the recipe for texts, in `benchmarks/results`; "" for a recipe
    that nobody has searched for. It is not that of a method that is made from this one.

    `for_images` holds what the recipe for images has other than that for texts (`image_form`), `forward_only` what was
    found for training by forward passes alone; recipes without an entry keep the rates of the method's gradient steps.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    placements: ClassVar[tuple[Placement, ...]] = (Placement.DIGITAL,)
    backward_need: ClassVar[BackwardNeed] = BackwardNeed.THROUGH
    groups: ClassVar[tuple[str, ...]] = ()
    needs_pool: ClassVar[bool] = False
    start: ClassVar[str] = "frozen"
    untrained: ClassVar[str] = ""
    rivals: ClassVar[tuple[str, ...]] = ()
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    searched: ClassVar[str] = ""
    kinds: ClassVar[tuple[Literal["text", "image"], ...]] = ("text", "image")
    other_kind: ClassVar[str] = ""
    """For a method of one kind of model: what to take for the other kind."""
    for_images: ClassVar[Mapping[str, Any]] = {}
    forward_only: ClassVar[Mapping[str, Any]] = {}
    is_lora: ClassVar[bool] = False
    """Whether what is trained can be written as a LoRA of other libraries: `lora_form`."""
    shares_training: ClassVar[bool] = True
    """Whether a training under NVM_TASK is that under DIGITAL, product by product: one then serves both."""

    recipe: Recipe = field(kw_only=True)
    warm_start: str = field(default="", kw_only=True)

    def __init_subclass__(cls) -> None:
        cls.rivals = cls.__dict__.get("rivals", ())
        cls.candidates = cls.__dict__.get("candidates", ())
        cls.searched = cls.__dict__.get("searched", "")

    @abstractmethod
    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        """What the method adds to a model, from shapes alone."""

    @abstractmethod
    def build(self, site: "Site") -> "Built":
        """The model with the method's layers and tensors, as the plan names them. torch is imported in here."""

    @property
    def regularisers(self) -> tuple[Regulariser, ...]:
        """What the method adds to the loss."""
        return ()

    @property
    def extra_tokens(self) -> int:
        """Tokens that the method puts into every sequence."""
        return 0

    @property
    def gradient(self) -> BackwardNeed:
        """How far a gradient travels when the method is trained by its recipe."""
        return self.backward_need if self.recipe.optimiser.by_gradient else BackwardNeed.NONE

    @property
    def no_bundle(self) -> str:
        """Why no bundle can train what the method trains, as the end of a sentence about it; "" where one can.

        A bundle holds what is trained digitally, and has no cells to write to.
        """
        if self.backward_need is BackwardNeed.SIDE:
            return "trains a network beside the backbone"
        if Placement.DIGITAL in self.placements:
            return ""
        return f"trains matrices that sit in cells ({', '.join(self.placements)})"

    def lora_form(self, state: "State", pool: "Pool | None", shape: ModelShape | None) -> "LoraForm":
        """What has been trained, as a LoRA, for methods that say so (`is_lora`).

        A method that needs a pool is given the pool, and the shape of its model; others are given neither.
        """
        raise NotImplementedError(f"{self.name} is no LoRA")

    def plan(self, shape: ModelShape, size: Size | None = None, placement: Placement | str | None = None) -> Plan:
        """What the method trains, reads and computes on a model; `placement` None is the first one it offers.

        Raises:
            UsageError: a placement that the method does not offer, a model that it is not for, or a recipe that
                cannot train it.
        """
        self.require_kind("image" if shape.patch_weights else "text", shape.name)
        chosen, size = self.choose_placement(placement), size or Size()
        plan = completed(self, chosen, shape, size, self.part(shape, chosen, size))
        if plan.moving and self.recipe.epochs:
            self.recipe.require_fit(plan)
        return plan

    def count(self, shape: ModelShape, *, rank: int | None = None, pool_size: int = 6) -> ParameterCount:
        """Count from shapes alone. `rank` is that of the method, or of each module of the pool."""
        options: dict[str, Any] = {"rank": rank} if rank is not None and "rank" in self.__dataclass_fields__ else {}
        sized = replace(self, **options)
        plans = [
            sized.plan(shape, Size(rank=16 if rank is None else rank, modules=pool_size), place)
            for place in self.placements
        ]
        written = max(sum(plan.tensors[name].rewritable for name in plan.rewritten) for plan in plans)
        frozen = sum(plans[-1].tensors[name].numbers for name in plans[-1].extra if name not in plans[-1].rewritten)
        return ParameterCount(plans[0].trained_by_group, frozen, written)

    def attach(
        self,
        backbone: "BackboneLike",
        classes: int,
        rng: "np.random.Generator",
        *,
        placement: Placement | None = None,
        pool: "Pool | None" = None,
    ) -> "Adaptation":
        """Make `backbone` (left unchanged, its weights shared) ready for a task with `classes` classes.

        Args:
            rng: draws the initial values of what is trained.
            placement: where the trained matrices live, one of `placements`; default the first.
            pool: LoRA pool, for the methods that need one.

        Raises:
            UsageError: a placement the method does not offer, no pool where one is needed, or one of another model.
        """
        from .attaching import attach

        return attach(self, backbone, classes, rng, placement, pool)

    def choose_placement(self, placement: Placement | str | None) -> Placement:
        """`placement`, or the default one. Raises `UsageError` for one that the method does not offer."""
        if placement is None:
            return self.placements[0]
        if placement not in self.placements:
            raise UsageError(unknown_name(f"placement for {self.name}", str(placement), map(str, self.placements)))
        return Placement(placement)

    def require_kind(self, kind: str, model: str) -> None:
        """Raise `UsageError` where the method is not for models of texts, or of images."""
        if kind not in self.kinds:
            raise UsageError(
                f"{self.name} is for models of {self.kinds[0]}s, and {model} reads {kind}s; for {kind}s take "
                f"{self.other_kind}"
            )

    def image_form(self: "M") -> "M":
        """The method with its recipe for images.

        The features of a vision Transformer's [CLS] are far from round: distances to class means mislead, and the head
        starts from discriminant analysis instead, with a lower rate.
        """
        changes = dict(self.for_images)
        rates = {**self.recipe.learning_rates, **changes.pop("learning_rates", {})}
        if "head" in rates:
            rates["head"] = HEAD_RATE_OF_IMAGES
        return replace(self, recipe=self.recipe.with_options(learning_rates=rates, **HEAD_OF_IMAGES, **changes))


class Targeted:
    """What methods share that have an option `targets`: the linears that they change, by role."""

    name: ClassVar[str]
    targets: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the linears that are changed. Raises `UsageError` for targets that are no roles."""
        return parse_roles(self.targets, f"targets of {self.name}")

    def linears(self, shape: ModelShape) -> tuple[LinearShape, ...]:
        """The linears of a shape that are changed. Raises `UsageError` where there are none."""
        return target_linears(shape, self.roles)


METHODS: dict[str, Method] = {}
M = TypeVar("M", bound=Method)


def register(method: M) -> M:
    """Make a method known by its name. Raises `ValueError` for a name that is taken, or a family that is not known."""
    if method.name in METHODS:
        raise ValueError(f"a method named {method.name!r} is already registered")
    if method.family not in FAMILIES:
        raise ValueError(f"{method.name} is of an unknown family {method.family!r}")
    METHODS[method.name] = method
    return method


def in_order() -> None:
    """Sort the register by name: a file may import another, whose method then comes before it."""
    if list(METHODS) != sorted(METHODS):
        ordered = sorted(METHODS.items())
        METHODS.clear()
        METHODS.update(ordered)


def get_method(name: str, **options: Any) -> Method:
    """The registered method, with some of its fields replaced. Raises `UsageError` for an unknown name or option."""
    if name not in METHODS:
        raise UsageError(unknown_name("method", name, METHODS))
    method = METHODS[name]
    if unknown := options.keys() - method.__dataclass_fields__.keys():
        raise UsageError(unknown_name("option", min(unknown), method.__dataclass_fields__, f"of {name}"))
    return replace(method, **options)


def methods_for(shape: ModelShape) -> list[str]:
    """The methods for what the model reads, texts or images."""
    kind = "image" if shape.patch_weights else "text"
    return [name for name, method in METHODS.items() if kind in method.kinds]


def fits_bundles(method: Method) -> bool:
    """Whether a bundle can hold its training, whichever objective, sampler, optimiser and hooks are chosen."""
    return not method.no_bundle and all(regulariser.in_bundles for regulariser in method.regularisers)


def changes_for_bundles(method: Method) -> dict[str, str]:
    """What of the recipe a bundle cannot hold: keys of it, with the value that a bundle takes instead."""
    strange = [KEYS[strategy.kind] for strategy in method.recipe.strategies if not strategy.in_bundles]
    return {key: usual.name if (usual := getattr(Recipe, key)) else NO_HOOKS for key in strange}


def require_in_bundles(method: Method) -> None:
    """Raise `UsageError` for a method whose training a bundle cannot hold, by the name of the part."""
    if why := method.no_bundle:
        able = sorted(name for name, other in METHODS.items() if fits_bundles(other))
        raise UsageError(f"{method.name} {why}; a bundle trains a state that is held digitally: {', '.join(able)}")
    for regulariser in method.regularisers:
        if not regulariser.in_bundles:
            part = f"regulariser {regulariser.name} of {method.name}"
            raise UsageError(f"a bundle cannot hold the {part}: simulate it instead")
    if method.recipe.numbers != DEFAULT:
        raise UsageError(
            f"a bundle computes in {DEFAULT}, and {method.name} is to compute in {method.recipe.numbers}: leave "
            "recipe.numbers out"
        )
    instead = changes_for_bundles(method)
    for strategy in method.recipe.strategies:
        if not strategy.in_bundles:
            key = KEYS[strategy.kind]
            part = f"{strategy.kind} {strategy.name} of {method.name}"
            later = f", and choose it on the device: {strategy.on_device}" if strategy.on_device else ""
            raise UsageError(f"a bundle cannot hold the {part}: take recipe.{key}={instead[key]}{later}")


def require_plan_in_bundles(plan: Plan) -> None:
    """Raise `UsageError` for a plan with another head, or other features, than a bundle has."""
    if not HEADS[plan.head_kind].in_bundles:
        raise UsageError(f"a bundle cannot hold the head {plan.head_kind} of {plan.method}: simulate it instead")
    if plan.features:
        raise UsageError(
            f"a bundle cannot hold the features {plan.features!r} of {plan.method}, only those that its model is made "
            "for: simulate it instead"
        )
