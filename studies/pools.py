"""Train a pool of LoRA modules, one after the other, so that a kill costs at most the module under way."""

import json
import math
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from .._version import __version__
from ..errors import EdgeAdaptError, UsageError
from ..inputs import NotJsonError, read_json
from ..methods import Adaptation, Placement, Recipe, get_method
from ..methods.plan import DEFAULT_TARGETS
from ..methods.spec import HEAD_OF_IMAGES
from ..methods.training.trainer import evaluate, train
from ..paths import expanded
from ..runtime.examples import Reading
from ..workloads.models import Backbone, load_backbone
from ..workloads.pools import POOL_FILE, LoraModule, save_module, save_pool_info
from ..workloads.shapes import parse_roles
from ..workloads.task import Task
from ..workloads.tasks import load_task, without_effect
from .encoding import Encoded

SCHEMA = "edge-adapt/pool/1"
_READING = ("text_column", "label_column", "encoding", "on_error")  # fields of `Reading`, by the same names
_TRAINING, _TESTING = "training", "testing"  # kinds of work, for the progress


@dataclass(frozen=True)
class PoolConfig:
    """What makes a pool: the same values give the same modules.

    `learning_rate` is that of A and B; the head's is `head_learning_rate`. `max_examples` of a task's training part are
    used, each cut to `max_tokens`. `targets`: the linears that are adapted, by role. text_column, label_column,
    encoding, on_error: how files of the user's own are read (`runtime.examples.Reading`). All modules start from the
    same random A (B starts at zero): what they learn then lies in a common frame, and the products B_j A_k of a fusion
    are meaningful.
    """

    model: str
    tasks: tuple[str, ...]
    rank: int = 16
    alpha: float = 32.0
    epochs: int = 3
    seed: int = 0
    max_examples: int = 2500
    max_tokens: int = 64
    batch_size: int = 32
    learning_rate: float = 1e-3
    head_learning_rate: float = 2e-3
    targets: str = ",".join(DEFAULT_TARGETS)
    dtype: Literal["float32", "float16"] = "float16"
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = ""
    on_error: str = "fail"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for `pool.json`; how files are read stands in it where it is not as usual."""
        usual = {field.name: field.default for field in fields(self) if field.name in _READING}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}

    def readings(self) -> dict[str, Reading]:
        """How each task is read: as the options that mean something for it say.

        Raises:
            UsageError: an option of reading that cannot be, or that means nothing for any of the tasks.
        """
        reading = Reading(self.text_column, self.label_column, self.encoding or None, self.on_error)
        useless = {task: without_effect(task, reading) for task in self.tasks}
        if everywhere := set.intersection(*map(set, useless.values())):
            name = min(everywhere).replace("_", "-")
            raise UsageError(f"--{name} has no effect on any of the tasks {', '.join(self.tasks)}")
        usual = {name: getattr(Reading(), name) for name in _READING}
        return {task: replace(reading, **{name: usual[name] for name in without}) for task, without in useless.items()}

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""
        if not self.tasks:
            raise UsageError("no tasks to train a pool on; name them with --tasks a,b,...")
        if twice := sorted({task for task in self.tasks if self.tasks.count(task) > 1}):
            raise UsageError(f"task {twice[0]!r} is named twice; a pool holds one module per task")
        for name in ("rank", "epochs", "max_examples", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.alpha <= 0 or self.learning_rate <= 0:
            raise UsageError("alpha and the learning rate must be above 0")
        parse_roles(self.targets, "--targets")
        self.readings()

    def command(self, out: str) -> str:
        """The command line that trains this pool."""
        options: dict[str, object] = {"model": self.model, "tasks": ",".join(self.tasks)}
        options |= {key.replace("_", "-"): value for key, value in self.as_dict().items() if key not in options}
        words = [word for key, value in options.items() for word in (f"--{key}", f"{value}")]
        return shlex.join(["edge-adapt", "pool", "train", *words, "--out", out])


class Progress(Protocol):
    """Told how the training goes: `start` with the work (`studies.progress.Work`), `stage` with what is done now."""

    def start(self, work: Mapping[str, tuple[float, float | None]]) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...


def train_pool(config: PoolConfig, out: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train one LoRA module per task into the folder `out` and return what `pool.json` then holds.

    Each finished module is written at once (atomically, in peft format) with its entry in `pool.json`. Called again
    with the same config, finished modules are kept and the others trained: one that was cut off starts anew.

    Raises:
        UsageError: a value of the config, or `out` holds a pool of another config or something else.
        EdgeAdaptError: a task or model cannot be fetched, the folder cannot be written.
    """
    config.check()
    out = expanded(out)
    record = _open_folder(config, out)
    tasks = [load_task(task, reading=reading) for task, reading in config.readings().items()]
    if twice := sorted({task.name for task in tasks if [t.name for t in tasks].count(task.name) > 1}):
        raise UsageError(f"two of the tasks are called {twice[0]!r}; rename one of the files")
    finished = {entry["name"] for entry in record["modules"] if (out / entry["name"]).is_dir()}
    waiting = [task for task in tasks if task.name not in finished]
    backbone = load_backbone(config.model)
    if record["base_fingerprint"] not in (None, backbone.fingerprint):
        raise UsageError(f"{out} holds modules of a model with other weights; give another --out")
    record |= {"base_model": backbone.name, "base_fingerprint": backbone.fingerprint}
    said = [*(f"task {task.name}: {message}" for task in waiting for message in task.messages),
            *(message for task in waiting for message in backbone.reading(task).messages),
            backbone.cut_message(config.max_tokens)]  # fmt: skip
    record["messages"] = list(dict.fromkeys([*record.get("messages", ()), *(message for message in said if message)]))
    record["modules"] = [entry for entry in record["modules"] if entry["name"] in finished]
    if progress is not None:
        # A step is forward and back over a batch; a held-out example is forward alone.
        steps, held_out = sum(_steps(config, task) for task in waiting), sum(len(task.test) for task in waiting)
        progress.start({_TRAINING: (steps, None), _TESTING: (held_out / config.batch_size / 3, None)})
    for number, task in enumerate(waiting, 1):
        if progress is not None:
            progress.stage(f"training module {task.name}, {number} of {len(waiting)}")
        module, entry = _train_module(config, backbone, task, progress)
        save_module(out / task.name, module, config.dtype)
        record["modules"].append(entry)
        save_pool_info(out, record)
    order = {task.name: place for place, task in enumerate(tasks)}
    record["modules"].sort(key=lambda entry: order[entry["name"]])
    save_pool_info(out, record)
    return record


def _open_folder(config: PoolConfig, out: Path) -> dict[str, Any]:
    """The record of the pool in `out`, or a new one; refuses a folder that holds something else."""
    wanted = json.loads(json.dumps(config.as_dict()))
    file = out / POOL_FILE
    if not file.is_file():
        if out.exists() and (not out.is_dir() or any(item for item in out.iterdir() if not item.name.startswith("."))):
            raise UsageError(f"{out} is not empty and holds no pool; give a new folder with --out")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeAdaptError(f"cannot make the folder {out}: {error.strerror}") from error
        versions = {"edge-adapt": __version__, "python": platform.python_version()}
        versions |= {package: version(package) for package in ("torch", "transformers", "tokenizers", "numpy")}
        return {
            "schema": SCHEMA,
            "command": config.command(out.name),
            "base_model": config.model,
            "base_fingerprint": None,
            "config": wanted,
            "versions": versions,
            "modules": [],
        }
    record = read_record(out)
    before = {"targets": PoolConfig.targets, **record.get("config", {})}  # an older pool has no targets
    if different := sorted(key for key in wanted.keys() | before.keys() if wanted.get(key) != before.get(key)):
        key = different[0]
        raise UsageError(
            f"{out} holds a pool of another config: {key} is {before.get(key)!r} there and {wanted.get(key)!r} here; "
            "give another --out, or the same options to go on"
        )
    return record


def read_record(folder: str | Path) -> dict[str, Any]:
    """What `pool.json` in a pool's folder holds. Raises `UsageError` when there is none, or a broken one."""
    file = Path(folder) / POOL_FILE
    try:
        record = read_json(file)
    except (OSError, NotJsonError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"{file} is not a JSON object")
    return record


def _steps(config: PoolConfig, task: Task) -> int:
    return config.epochs * math.ceil(min(config.max_examples, len(task.train)) / config.batch_size)


def _train_module(
    config: PoolConfig, backbone: Backbone, task: Task, progress: Progress | None
) -> tuple[LoraModule, Mapping[str, Any]]:
    """One LoRA module and its entry in `pool.json`. The head that is trained with it is not kept."""
    rates = {"matrices": config.learning_rate, "head": config.head_learning_rate}
    recipe = Recipe(rates, epochs=config.epochs, batch_size=config.batch_size)
    if task.kind == "image":
        recipe = replace(recipe, head_shrinkage=HEAD_OF_IMAGES["head_shrinkage"])
    method = replace(get_method("lora", rank=config.rank, alpha=config.alpha, targets=config.targets), recipe=recipe)
    backbone = backbone.reading(task)
    # The same generator for every module: a common start for A.
    rng = np.random.default_rng([config.seed, 0])
    adaptation = method.attach(backbone, len(task.labels), rng, placement=Placement.DIGITAL)
    examples, held_out = task.train[: config.max_examples], task.test
    encoded = Encoded.of(backbone, task, examples, config.max_tokens)
    log = train(
        adaptation,
        encoded.ids,
        encoded.labels,
        np.random.default_rng([config.seed, 1]),
        on_step=None if progress is None else lambda _: progress.advance(1, _TRAINING),
    )
    if progress is not None:
        progress.stage(f"testing module {task.name}")
    encoded = Encoded.of(backbone, task, held_out, config.max_tokens)
    accuracy = evaluate(adaptation, encoded.ids, encoded.labels)
    if progress is not None:
        progress.advance(len(held_out) / config.batch_size / 3, _TESTING)
    entry = {
        "name": task.name,
        "task": task.name,
        "source": task.source,
        "labels": list(task.labels),
        "train_examples": len(examples),
        "steps": log.steps,
        "held_out_examples": len(held_out),
        "held_out_accuracy": accuracy,
    }
    return _as_module(config, backbone, task, adaptation), entry


def _as_module(config: PoolConfig, backbone: Backbone, task: Task, adaptation: Adaptation) -> LoraModule:
    state = adaptation.state_dict()
    a = {name.removesuffix(".lora_a"): tensor.numpy() for name, tensor in state.items() if name.endswith(".lora_a")}
    b = {name.removesuffix(".lora_b"): tensor.numpy() for name, tensor in state.items() if name.endswith(".lora_b")}
    return LoraModule(
        name=task.name,
        rank=config.rank,
        scale=config.alpha / config.rank,
        a=a,
        b=b,
        task=task.name,
        base_model=backbone.name,
        base_fingerprint=backbone.fingerprint,
    )


def inspect_pool(path: str | Path) -> dict[str, Any]:
    """A JSON-able description of a pool: its modules with rank, scale and relative size of their updates.

    Raises:
        UsageError, EdgeAdaptError: see `workloads.pools.load_pool`.
    """
    from ..workloads.pools import load_pool

    pool = load_pool(path)
    accuracies = {entry["name"]: entry.get("held_out_accuracy") for entry in pool.metadata.get("modules", [])}
    modules = [
        {
            "name": module.name,
            "task": module.task,
            "rank": module.rank,
            "scale": module.scale,
            "weights": sum(matrix.size for part in (module.a, module.b) for matrix in part.values()),
            "update_norm": math.sqrt(sum(float((module.delta(name) ** 2).sum()) for name in pool.target_names)),
            "held_out_accuracy": accuracies.get(module.name),
        }
        for module in pool.modules
    ]
    return {
        "path": str(path),
        "base_model": pool.metadata.get("base_model") or pool.modules[0].base_model,
        "base_fingerprint": pool.metadata.get("base_fingerprint") or pool.modules[0].base_fingerprint,
        "command": pool.metadata.get("command"),
        "targets": list(pool.target_names),
        "weights": pool.weights,
        "modules": modules,
        "messages": list(pool.messages),
    }
