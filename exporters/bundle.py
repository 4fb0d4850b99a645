"""Write a bundle: attach, trace, check against torch, and only then put the folder in its place."""

import importlib.metadata
import logging
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from safetensors.numpy import save

from .._version import __version__
from ..devices import load_chip
from ..errors import EdgeAdaptError, UsageError
from ..folders import whole_folder, writing
from ..methods import Adaptation, Placement
from ..methods.attaching import plan_on
from ..methods.spec import require_plan_in_bundles
from ..progress import Progress
from ..runtime import manifest as form
from ..runtime.memory import calibrate
from ..runtime.store import create_state
from ..workloads.batches import PAD_ID
from ..workloads.images import ImageReader
from ..workloads.models import Backbone, load_backbone
from ..workloads.pools import Pool, default_pool, load_pool
from ..workloads.task import Task
from . import int4, int4_graph, int8
from .adapters import origin
from .config import ExportConfig, read_task, require_place
from .graph import LABELS, graphs_of, inputs_of, with_defaults
from .layout import optimise
from .parity import check_parity, real_batches
from .probe import require_exportable, require_exportable_family
from .sources import ChipWeights
from .torch_insides import require_proven_torch
from .weights import FILE, write_weights

log = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
SESSIONS: dict[str, dict[str, str]] = {"float32": {}, "int8": int8.SESSION, "int4": int4.SESSION}
"""By the way in which frozen weights are stored: the session configuration that its graphs need."""
VERSIONED = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers", "numpy")


_FEW_BLOCKS = 6
"""A model of so many shows in less than a minute, when it is traced, whether it can be exported: the trial with its
first block alone would take a fifth of that again. Not so where a chip is programmed first.
"""

# Seconds that the stages take for all-MiniLM-L6-v2; for other models and processors in about the same proportions.
_LOADING, _TRYING, _PROGRAMMING, _TRACING = "loading", "trying", "programming", "tracing"
_CHECKING, _MEMORY = "checking", "memory"
_STAGES = {_LOADING: 1.5, _TRYING: 6.0, _PROGRAMMING: 25.0, _TRACING: 34.0, _CHECKING: 10.0, _MEMORY: 6.0}


def export_bundle(
    config: ExportConfig, out: Path, progress: Progress, force: bool = False, task: Task | None = None
) -> dict[str, Any]:
    """Write the bundle to `out` and return a summary: paths, sizes in bytes, parity.

    The folder appears complete or not at all. `force` replaces a bundle that is there. `task`: that of `config`, where
    it is read already.

    Raises:
        UsageError: a name or option that does not fit, or `out` holds something.
        EdgeAdaptError: the graphs do not compute what torch computes, or the folder cannot be written.
    """
    out = require_place(out, force)
    stages = _STAGES if config.chip is not None else {n: s for n, s in _STAGES.items() if n != _PROGRAMMING}
    progress.start({name: (1, seconds) for name, seconds in stages.items()})
    progress.stage("loading model, pool and task")
    chip = chip_of(config)
    backbone, task = load_inputs(config, task)
    added = config.method.extra_tokens
    cut = backbone.cut_message(config.max_tokens, added)
    config = replace(config, max_tokens=backbone.within(config.max_tokens, added))
    progress.advance(1, _LOADING)
    if chip is not None or backbone.blocks > _FEW_BLOCKS:
        progress.stage("trying with the first block whether torch can make graphs of the model")
        require_exportable(backbone)
    progress.advance(1, _TRYING)
    codes = int4.round_backbone(backbone) if config.weights == "int4" else None
    adaptation = attach(config, backbone, len(task.labels))
    source: Any = "exact"
    if chip is not None:
        progress.stage(f"programming {chip.chip.name}, seed {chip.seed}")
        source = chip.apply(adaptation, backbone)
        progress.advance(1, _PROGRAMMING)
    if out.exists() and any(out.iterdir()):  # all inputs are checked
        progress.say(f"the bundle in {out} will be replaced when the new one is ready, with its trained state")
    progress.stage("tracing the graphs of training and inference")
    models = trace(adaptation, config.weights, codes)
    progress.advance(1, _TRACING)
    with writing(out), whole_folder(out) as folder:
        progress.stage("writing, and checking that onnxruntime computes what torch computes")
        manifest = fill(folder, config, adaptation, backbone, task, models, source)
        progress.advance(1, _CHECKING)
        progress.stage("measuring the memory that training takes")
        tokens = config.max_tokens if manifest.images is None else manifest.images.tokens
        plan = calibrate(folder, tokens, fixed=manifest.images is not None)
        manifest = seal(folder, replace(manifest, plan=plan))
        progress.advance(1, _MEMORY)
    return {
        "out": str(out),
        "method": adaptation.method,
        "model": backbone.name,
        "task": task.name,
        "labels": list(task.labels),
        "trained_numbers": adaptation.trained_parameters + adaptation.head_parameters,
        "files": {name: digest.bytes for name, digest in manifest.files.items()},
        "bytes": sum(digest.bytes for digest in manifest.files.values()),
        "weights": dict(manifest.weights),
        "parity": dict(manifest.parity),
        "messages": [*backbone.messages, *([cut] if cut else []), *task.messages],
    }


def load_inputs(config: ExportConfig, task: Task | None = None) -> tuple[Backbone, Task]:
    """Model and task, unless that is read already, of which everything is refused that can be refused before any work.

    Raises:
        UsageError: a model, a task or a method that do not go together, or that no bundle takes.
        EdgeAdaptError: a family of models that cannot be exported.
    """
    task = read_task(config) if task is None else task
    backbone = load_backbone(config.model, config.image_size)
    if backbone.kind != task.kind:
        raise UsageError(
            f"model {backbone.name!r} reads {backbone.kind}s, and task {task.name!r} holds {task.kind}s; give "
            f"a --model of {task.kind}s or a --task of {backbone.kind}s"
        )
    require_proven_torch()
    require_exportable_family(backbone)
    config.method.require_kind(backbone.kind, backbone.name)
    if config.weights == "int4":
        int4.require_fitting(backbone)
    if not config.method.needs_pool:  # what a pool fits is known when it is read
        require_plan_in_bundles(plan_on(config.method, backbone, len(task.labels), Placement.DIGITAL, None))
    return backbone.reading(task), task


def trace(adaptation: Adaptation, weights: str = "float32", codes: int4.Codes | None = None) -> dict[str, ir.Model]:
    """The graphs of an adaptation: "train", where more than class means is trained, and "infer". `codes`: those of the
    backbone, for int4.
    """
    models = graphs_of(adaptation)
    for model in models.values():
        optimise(model)
        if weights == "int8":
            int8.store_codes(model)
        elif weights == "int4":
            int4_graph.store_codes(model, codes or {})
    with_defaults(models["infer"], adaptation)
    return models


def fill(
    folder: Path,
    config: ExportConfig,
    adaptation: Adaptation,
    backbone: Backbone,
    task: Task,
    models: dict[str, ir.Model],
    source: Any = "exact",
) -> form.Manifest:
    """Make an empty folder a bundle that works, all but the memory plan. `config` describes `adaptation`.

    Raises:
        EdgeAdaptError: the graphs do not compute what torch computes.
    """
    graphs = write_graphs(folder, models, inputs_of(adaptation), session_settings(config))
    state = {name: value.numpy() for name, value in adaptation.state_dict().items()}
    (folder / form.INITIAL_STATE).write_bytes(save(state))  # save_file would make it readable by its owner only
    vocabulary = 0
    if backbone.kind == "text":
        backbone.tokenizer.save(str(folder / TOKENIZER))
        vocabulary = backbone.tokenizer.get_vocab_size()
    encoded = backbone.encode(task.train[:16], config.max_tokens)
    real = real_batches(encoded, [example.label for example in task.train[:16]])
    parity = check_parity(folder, graphs, adaptation, real, vocabulary, len(task.labels))
    return seal(folder, describe(config, adaptation, backbone, task, graphs, models["infer"], parity.as_dict(), source))


def chip_of(config: ExportConfig) -> ChipWeights | None:
    """The simulated chip whose weights are exported, if one is."""
    if config.chip is None:
        return None
    return ChipWeights(load_chip(config.chip, config.chip_settings), config.seed, config.age_seconds)


def pool_of(config: ExportConfig, backbone: Backbone) -> Pool | None:
    """The LoRA pool of the method, if it needs one."""
    return load_pool(config.pool or default_pool(backbone.name), backbone) if config.method.needs_pool else None


def attach(config: ExportConfig, backbone: Backbone, labels: int) -> Adaptation:
    """The adaptation to export, reserved classes included, in its initial state. int8 rounds `backbone` in place."""
    pool = pool_of(config, backbone)
    for message in () if pool is None else pool.messages:
        log.warning("pool: %s", message)
    if config.weights == "int8":
        int8.round_backbone(backbone)
        pool = int8.round_pool(pool) if pool is not None else None
    adaptation = config.method.attach(
        backbone,
        labels + config.reserved_classes,
        np.random.default_rng(config.seed),
        placement=Placement.DIGITAL,
        pool=pool,
    )
    require_plan_in_bundles(adaptation.plan)
    with torch.no_grad():
        adaptation.module.head.bias[labels:] = form.UNTAUGHT_BIAS
    if config.weights == "int8":
        int8.round_beside(adaptation)
    return adaptation


def write_graphs(
    folder: Path, models: dict[str, ir.Model], data: tuple[str, ...], settings: form.SessionSettings
) -> dict[str, form.Graph]:
    """Write the graphs with their shared weights, and check them."""
    write_weights(folder, models.values())
    graphs = {}
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        ir.save(model, path)
        check_graph(path)
        inputs = (*data, LABELS) if name == "train" else data
        outputs = tuple(str(value.name) for value in model.graph.outputs)
        graphs[name] = form.Graph(path.name, inputs, outputs, settings)
    return graphs


def session_settings(config: ExportConfig) -> form.SessionSettings:
    """How onnxruntime is to open the graphs. With patterns of memory it would allocate all activations twice: once
    while it learns the pattern, once by it.
    """
    return form.SessionSettings(SESSIONS[config.weights], memory_pattern=False)


def check_graph(path: Path) -> None:
    """Raise `EdgeAdaptError` for a graph that is not valid ONNX, uses operators of one runtime only, or adds up in an
    order that depends on threads.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EdgeAdaptError(f"the exported {path.name} is not valid: {' '.join(str(error).split())}") from error
    for node in ir.load(path).graph.all_nodes():
        if node.domain not in ("", "ai.onnx"):
            raise EdgeAdaptError(f"{path.name} uses {node.domain}.{node.op_type}, which not every runtime has")
        reduction = node.attributes.get("reduction")
        if node.op_type.startswith("Scatter") and reduction is not None and reduction.as_string() != "none":
            # onnxruntime's threads race for repeated indices: other gradients on every run.
            raise EdgeAdaptError(
                f"the model or the method looks vectors up by an index ({node.op_type} in {path.name}), and "
                "onnxruntime's threads add their gradients in any order: two trainings would differ; simulate it "
                "instead, with --trainer torch (a method of your own can look vectors up by a one-hot product)"
            )


def seal(folder: Path, manifest: form.Manifest) -> form.Manifest:
    """Write the manifest, and the first state, which names the manifest's digest."""
    manifest = form.write_manifest(folder, manifest)
    shutil.rmtree(folder / form.STATE_FOLDER, ignore_errors=True)
    create_state(folder, manifest)
    return manifest


def images_of(backbone: Backbone, task: Task) -> form.ImageInfo | None:
    """How the device is to prepare images of a task; None for a model of texts."""
    reader = backbone.preprocessor
    if not isinstance(reader, ImageReader):
        return None
    crop_from = reader.stored(task.augment)
    return form.ImageInfo(
        reader.side, reader.mean, reader.deviation, reader.tokens, reader.resample,
        crop_from if crop_from != reader.side else None,
    )  # fmt: skip


def describe(
    config: ExportConfig,
    adaptation: Adaptation,
    backbone: Backbone,
    task: Task,
    graphs: dict[str, form.Graph],
    model: ir.Model,
    parity: dict[str, Any],
    source: Any,
) -> form.Manifest:
    """The manifest, all but digests and memory plan."""
    group_of = {name: group for group, names in adaptation.groups.items() for name in names}
    order = [*adaptation.trained_names, *(name for name in adaptation.state if name not in group_of)]
    recipe = {field.name: getattr(adaptation.recipe, field.name) for field in fields(form.Recipe)}
    recipe["learning_rates"] = {
        group: rate for group, rate in adaptation.recipe.learning_rates.items() if adaptation.groups.get(group)
    }
    notes = int8.described() if config.weights == "int8" else {}
    if config.weights == "int4":
        notes = {**int4.described(), **int4_graph.count(model)}
    versions = {name: importlib.metadata.version(name) for name in VERSIONED}
    return form.Manifest(
        method=adaptation.method,
        model=form.ModelInfo(backbone.name, backbone.fingerprint, backbone.hidden_size, backbone.blocks, backbone.kind),
        task=task.name,
        labels=task.labels,
        reserved_classes=config.reserved_classes,
        state=tuple(form.StateTensor(n, tuple(adaptation.state[n].shape), group_of.get(n)) for n in order),
        l1_names=adaptation.plan.l1_names,
        recipe=form.Recipe(**recipe),
        tokenizer=form.TokenizerInfo(TOKENIZER, config.max_tokens, PAD_ID) if backbone.kind == "text" else None,
        images=images_of(backbone, task),
        graphs=graphs,
        opset=model.opset_imports[""],
        ir_version=model.ir_version,
        versions={"edge-adapt": __version__} | versions,
        weights={"dtype": config.weights, "source": source, "file": FILE, **notes},
        parity=parity,
        origin=origin(config.method, config.model, pool_of(config, backbone), backbone.pooling),
    )
