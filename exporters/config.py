"""What is to be exported, and what of it can be refused before torch and onnx are imported, which takes seconds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from ..devices import load_chip
from ..errors import UsageError, unknown_name
from ..folders import nearest, try_place, writing
from ..methods import Method
from ..methods.spec import require_in_bundles
from ..paths import expanded
from ..runtime import manifest as form
from ..runtime.examples import Reading
from ..runtime.schema import build, plain
from ..workloads.models import MIN_TOKENS, require_model
from ..workloads.peft_layout import adapter_folders
from ..workloads.task import Task
from ..workloads.tasks import load_task

WEIGHT_TYPES = ("float32", "int8", "int4")
"""How frozen weights may be stored."""


@dataclass(frozen=True)
class ExportConfig:
    """What is exported.

    reserved_classes: rows of the head beyond the task's labels, taught on the device later. chip: name or file of a
    chip, simulated with `seed`, whose cells' weights at `age_seconds` take the place of the exact ones;
    `chip_settings` changes single numbers of it. weights: how frozen weights are stored. image_size: side of the images
    in pixels, for a model that sees images. reading: how a user's own file of the task is read.
    """

    method: Method
    model: str = "minilm"
    task: str = "movie"
    pool: str | None = None
    reserved_classes: int = 0
    max_tokens: int = 64
    seed: int = 0
    weights: str = "float32"
    chip: str | None = None
    age_seconds: float = 0.0
    chip_settings: Mapping[str, str] = field(default_factory=dict)
    image_size: int | None = None
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        for option, value, least, most in (
            ("--reserve-classes", self.reserved_classes, 0, form.MOST_RESERVED),
            ("--max-tokens", self.max_tokens, MIN_TOKENS, form.MOST_TOKENS),
            ("--image-size", self.image_size, 1, form.MOST_SIDE),
            ("--seed", self.seed, 0, None),
        ):
            if value is not None and value < least:
                raise UsageError(f"{option} must be {_least(least)}; got {value}")
            if value is not None and most is not None and value > most:
                raise UsageError(f"{option} must be at most {most}; got {value}")
        if not math.isfinite(self.age_seconds):
            raise UsageError("--age is too long: no number holds it")
        if self.weights not in WEIGHT_TYPES:
            raise UsageError(unknown_name("type of weights", self.weights, WEIGHT_TYPES))
        if self.chip is None and (self.age_seconds or self.chip_settings):
            given = [*(["--age"] if self.age_seconds else []), *(f"--set {key}" for key in self.chip_settings)]
            raise UsageError(f"no effect without a chip: {', '.join(given)}; add --chip NAME, or leave that out")
        if self.chip is not None and self.weights != "float32":
            raise UsageError(
                f"--chip with --weights {self.weights}: the weights of a chip are those that its cells hold, and "
                "rounded they would be another device's; leave one of the two out"
            )
        require_in_bundles(self.method)
        _require_recipe(self.method)


def _least(least: int) -> str:
    return "0 or more" if least == 0 else f"at least {least}"


def _require_recipe(method: Method) -> None:
    """Raise `UsageError` for a recipe that no manifest may hold."""
    recipe = {field.name: getattr(method.recipe, field.name) for field in fields(form.Recipe)}
    try:
        build(form.Recipe, plain(recipe), "recipe")
    except ValueError as error:
        raise UsageError(f"the recipe of {method.name}: {error}") from error


def check_names(config: ExportConfig) -> None:
    """Raise `UsageError` where the chip, one of its settings, or the folder of the pool is none."""
    if config.chip is not None:
        load_chip(config.chip, config.chip_settings)
    if config.pool is not None and config.method.needs_pool:
        adapter_folders(expanded(config.pool))


def read_task(config: ExportConfig) -> Task:
    """The task. Raises `UsageError` for one that no bundle takes, or that does not go with the options."""
    task = load_task(config.task, reading=config.reading)
    require_single_texts(task)
    if config.image_size is not None and task.kind != "image":
        raise UsageError(f"--image-size is for images, and task {task.name!r} holds {task.kind}s; leave it out")
    return task


def require_single_texts(task: Task) -> None:
    """Raise `UsageError` for a task of pairs of texts, or of tagged words."""
    if task.paired or task.tagged:
        raise UsageError(
            f"a bundle classifies one text, or one image, at a time so far, and task {task.name!r} holds "
            f"{'pairs of texts' if task.paired else 'words with tags'}; adapt to it with: edge-adapt simulate"
        )


def check_model(config: ExportConfig) -> None:
    """Raise `UsageError` where the model is neither a name, nor a folder of a model, nor an id of the hub."""
    require_model(config.model)


def require_place(out: Path, force: bool) -> Path:
    """The folder to write, absolute.

    Raises:
        UsageError: it holds what is no bundle, or a bundle without `force`.
        EdgeAdaptError: no folder can be made there.
    """
    out = expanded(out).absolute()
    _check_destination(out, force)
    with writing(nearest(out)):
        try_place(out)
    return out


def _check_destination(out: Path, force: bool) -> None:
    """Raise `UsageError` when `out` holds something: what is no bundle, or a bundle without `force`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / form.MANIFEST).is_file():
        raise UsageError(f"{out} holds something that is no bundle; give another --out")
    if not force:
        raise UsageError(f"{out} holds a bundle already; give another --out, or --force to replace it and its state")
