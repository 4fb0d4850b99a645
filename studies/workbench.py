"""Everything a simulation needs before its first trial: chip, backbone, task, pool, methods, and the programmed
chip.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..devices import Chip, load_chip
from ..errors import UsageError, unknown_name
from ..methods import Placement
from ..methods.attaching import plan_on
from ..methods.plan import Plan
from ..methods.spec import require_in_bundles, require_plan_in_bundles
from ..simulator import ProgrammedModel, program
from ..simulator.writing import require_programmable
from ..workloads.image_tasks import IMAGE_TASKS
from ..workloads.models import Backbone, load_backbone
from ..workloads.pools import Pool, default_pool, load_pool
from ..workloads.task import Example, Task
from ..workloads.tasks import TASKS, load_task
from .config import DEFAULT_METHODS, SimulateConfig
from .encoding import Encoded
from .method_settings import require_numbers, require_readable
from .test_sets import TestSet, draw, with_pool
from .variants import Variant, choose_variants


@dataclass
class Workbench:
    """The loaded parts of one simulation; `program` writes them to a chip."""

    config: SimulateConfig
    chip: Chip
    backbone: Backbone
    task: Task
    pool: Pool | None
    variants: list[Variant]
    test_sets: dict[int, TestSet]
    """Of each seed."""
    _encoded: dict[int, Encoded] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def tests(self, seed: int) -> Encoded:
        """The test examples of a run."""
        if seed not in self._encoded:
            self._encoded[seed] = self.encode(self.test_sets[seed].examples)
        return self._encoded[seed]

    @property
    def test(self) -> Encoded:
        """The test examples of the first run."""
        return self.tests(self.config.first_seed)

    def encode(self, examples: tuple[Example, ...]) -> Encoded:
        """Token ids, or images, and labels of examples."""
        return Encoded.of(self.backbone, self.task, examples, self.max_tokens)

    @property
    def max_tokens(self) -> int:
        """Tokens that texts are cut to: those of the config, or what the model takes beside the prompts of methods."""
        return self.backbone.within(self.config.max_tokens, prompts_of(self.variants))

    @property
    def classes(self) -> int:
        return len(self.task.labels)

    @cached_property
    def frozen_tensors(self) -> dict[str, np.ndarray]:
        """Every matrix that is programmed once: the backbone's, then what methods keep beside it (the pool's LoRA
        modules, VeRA's random matrices). (out, in) float32.
        """
        linears = dict(self.backbone.module.named_modules())
        tensors = {name: linears[name].weight.detach().numpy() for name in self.backbone.linear_names()}
        for beside in self._beside.values():
            tensors |= beside
        return tensors

    def plan(self, variant: Variant) -> Plan:
        """The plan of one of the variants."""
        return plan_on(variant.method, self.backbone, self.classes, variant.placement, self.pool)

    def tensors_of(self, method: str) -> list[str]:
        """Names of what a method reads of `frozen_tensors`: the backbone, and what it keeps beside it."""
        return [*self.backbone.linear_names(), *self._beside.get(method, ())]

    @cached_property
    def _beside(self) -> dict[str, dict[str, np.ndarray]]:
        """For each method, the matrices it keeps beside the backbone and that are programmed once."""
        kept: dict[str, dict[str, np.ndarray]] = {}
        backbone = set(self.backbone.linear_names())
        for variant in self.variants:
            plan = self.plan(variant)
            if set(plan.extra) - set(plan.rewritten):
                attached = variant.method.attach(
                    self.backbone, self.classes, np.random.default_rng(0), placement=variant.placement, pool=self.pool
                )
                kept[variant.method.name] = {
                    name: tensor.detach().numpy()
                    for name, tensor in attached.cell_tensors.items()
                    if attached.placements[name] is Placement.NVM_FROZEN and name not in backbone
                }
        return kept

    def pool_tensor_names(self) -> list[str]:
        """Names of the frozen matrices that hold the pool's modules."""
        pooled = [v.method.name for v in self.variants if v.method.needs_pool]
        return list(dict.fromkeys(name for method in pooled for name in self._beside[method]))

    def program(self, chip_seed: int, on_matrix: Callable[[str, Any], None] | None = None) -> ProgrammedModel:
        """Write backbone and pool to a fresh chip, pulse by pulse; same number of the chip, same cells."""
        rng = np.random.default_rng([chip_seed, 0xC41])
        return program(self.chip, self.frozen_tensors, rng, self.config.fidelity, on_matrix)


def load_workbench(config: SimulateConfig) -> Workbench:
    """Load and check every part, the cheap ones first, so that a wrong name ends the run at once."""
    methods = choose_variants(config.method, config.method_settings())
    require_readable([variant.method for variant in methods])
    require_chosen(config.readapt, methods)
    require_trainer(config, methods)
    chip = load_chip(config.device, config.chip_settings())
    require_programmable(chip.cell)
    require_numbers([(v.method.name, v.method.recipe) for v in methods], chip, simulated=True)
    uses_pool = any(variant.method.needs_pool for variant in methods)
    if uses_pool and config.pool is not None:
        load_pool(config.pool)  # a broken file is found before a model is fetched
    task = load_task(config.task, config.test_examples, config.reading())
    if task.kind == "image":
        methods = choose_variants(config.method, config.method_settings(), images=True)
    methods = [variant for variant in methods if fits(variant, task, config)]
    size = len(task.test)
    task = with_pool(task, config.shots)
    for shots in config.shots:
        few = task.few_shot(shots, config.first_seed)
        for variant in methods:
            variant.method.recipe.schedule(len(few.train))
        task = dataclasses.replace(task, messages=(*task.messages, *task.scarce(shots)))
    backbone = load_backbone(config.model, config.image_size or None)
    if backbone.kind != task.kind:
        raise UsageError(
            f"model {backbone.name!r} reads {backbone.kind}s, and task {task.name!r} holds {task.kind}s; give a --task "
            f"of {backbone.kind}s: {', '.join(TASKS if backbone.kind == 'text' else IMAGE_TASKS)}, or your own"
        )
    backbone = backbone.reading(task)
    said = (*backbone.messages, backbone.cut_message(config.max_tokens, prompts_of(methods)))
    task = dataclasses.replace(task, messages=(*task.messages, *(message for message in said if message)))
    if config.trainer == "onnxruntime":
        from ..exporters.probe import require_exportable  # onnx takes a second to import

        require_exportable(backbone)
    pool = load_pool(config.pool or default_pool(backbone.name), backbone) if uses_pool else None
    if pool is not None:
        pool, task = unseen(pool, task)
    methods, left_out = planned(methods, backbone, task, pool, config)
    task = dataclasses.replace(task, messages=(*task.messages, *left_out))
    if config.trainer == "onnxruntime":
        for method in (v.method for v in methods if Placement.DIGITAL in v.method.placements):
            require_plan_in_bundles(plan_on(method, backbone, len(task.labels), Placement.DIGITAL, pool))
    test_sets = draw(task, size, config.seed_numbers)
    return Workbench(config, chip, backbone, task, pool, methods, test_sets)


def require_chosen(readapt: tuple[str, ...], variants: list[Variant]) -> None:
    """Raise `UsageError` for a method that shall adapt again and does not run."""
    names = list(dict.fromkeys(variant.method.name for variant in variants))
    for name in readapt:
        if name not in (*names, "all", "none"):
            raise UsageError(unknown_name("method of this run to adapt again", name, [*names, "all", "none"]))
    if "none" in readapt and len(readapt) > 1:
        raise UsageError(f"readapt takes names, all, or none alone; got {' '.join(readapt)}")


def require_trainer(config: SimulateConfig, variants: list[Variant]) -> None:
    """Raise `UsageError` where methods are to be trained in bundles, and these cannot hold their recipes."""
    for method in (v.method for v in variants if config.trainer == "onnxruntime"):
        if Placement.DIGITAL in method.placements:
            try:
                require_in_bundles(method)
            except UsageError as error:
                raise UsageError(f"{error}; or take --trainer torch") from None


def prompts_of(variants: list[Variant]) -> int:
    """The most tokens that one of the methods puts in front of a text."""
    return max((variant.method.extra_tokens for variant in variants), default=0)


def unseen(pool: Pool, task: Task) -> tuple[Pool, Task]:
    """The pool without the modules that were trained on this very task, and the task with a message that says so. The
    pool tells which modules do not say what they were trained on.
    """
    known = [module.name for module in pool.modules if module.task == task.name]
    if unknown := [module.name for module in pool.modules if module.task is None]:
        message = f"unknown whether these modules of the pool were trained on this task: {', '.join(unknown)}"
        pool = dataclasses.replace(pool, messages=(*pool.messages, message))
    if not known:
        return pool, task
    if len(known) == len(pool.modules):
        raise UsageError(f"the pool {pool.path} was trained on nothing but the task {task.name!r}; give another --pool")
    kept = tuple(module for module in pool.modules if module.name not in known)
    message = f"left out of the pool, being trained on this task: {', '.join(known)}"
    return dataclasses.replace(pool, modules=kept), dataclasses.replace(task, messages=(*task.messages, message))


def fits(variant: Variant, task: Task, config: SimulateConfig) -> bool:
    """Whether a method is for what the task holds; raises `UsageError` for one that is not and was named."""
    name, kinds = variant.method.name, variant.method.kinds
    if task.kind not in kinds and name in {entry.partition(":")[0] for entry in config.method}:
        raise UsageError(f"method {name!r} is for {' and '.join(kinds)}s, and task {task.name!r} holds {task.kind}s")
    return task.kind in kinds


def planned(
    variants: list[Variant], backbone: Backbone, task: Task, pool: Pool | None, config: SimulateConfig
) -> tuple[list[Variant], tuple[str, ...]]:
    """The variants that have a plan on the model for the task, and a message for each method without one. Raises
    `UsageError` for one that was named: a method with features of whole texts cannot tag words, for instance.
    """
    named = {entry.partition(":")[0] for entry in config.method or DEFAULT_METHODS}
    fitting, left_out = [], {}
    for variant in variants:
        try:
            plan_on(variant.method, backbone, len(task.labels), variant.placement, pool)
        except UsageError as error:
            if variant.method.name in named:
                raise
            left_out[variant.method.name] = f"left out: {error}"
        else:
            fitting.append(variant)
    return fitting, tuple(left_out.values())
