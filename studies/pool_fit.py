"""Fit a pool to a task: train LoRAFusion's coefficients and magnitudes with exact weights, and write one peft adapter.

What is trained is in the adapter, and its head lies beside it. How far a simpler adapter would be is said by matrix:
without the cross terms of the fusion, and without the magnitudes, which only DoRA has.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._version import __version__
from ..defaults import DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from ..errors import UsageError
from ..exporters.adapters import module_of, write_with_head
from ..folders import whole_folder, write_synced, writing
from ..inputs import json_text
from ..methods import Adaptation, Method, get_method
from ..methods.fusion import FusedLinear, FusionModel
from ..methods.lora_form import LoraForm, fused_pool
from ..methods.training.trainer import extract_features, train
from ..paths import expanded
from ..progress import Progress
from ..runtime.examples import Reading
from ..workloads.families import POOLING_WORDS
from ..workloads.merging import relative_distance
from ..workloads.models import Backbone, load_backbone
from ..workloads.peft_folder import LoraModule
from ..workloads.pools import Pool, load_pool
from ..workloads.task import FewShot, Task
from ..workloads.tasks import load_task
from .encoding import Encoded, Graded
from .pool_merge import require_new
from .workbench import unseen

SCHEMA = "edge-adapt/pool-fit/1"
RECORD_FILE = "fit.json"
BEFORE: Mapping[str, str] = {"model": "frozen", "pool": "pool"}
"""What the fit is held against, and the method that computes it: the model alone, the pool fused evenly; both with
class means of the same examples as their head."""
_TRAINING, _TESTING = "training", "testing"  # kinds of work, for the progress


@dataclass(frozen=True)
class FitConfig:
    """What is fitted to what. All `shots` labelled examples are trained on; accuracy is that on the task's test split,
    of `test_examples`. cross_terms, magnitude: options of `lorafusion`. reading: how a user's own file is read.
    """

    pool: tuple[str, ...]
    task: str
    model: str = "minilm"
    shots: int = DEFAULT_SHOTS
    seed: int = 0
    test_examples: int = DEFAULT_TEST_EXAMPLES
    max_tokens: int = 64
    cross_terms: bool = True
    magnitude: bool = True
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Fit:
    """A trained fusion, the adapter that is written for it, and what it was trained on."""

    adaptation: Adaptation
    state: Mapping[str, np.ndarray]
    module: LoraModule
    magnitudes: Mapping[str, np.ndarray]


def fit_pool(config: FitConfig, out: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Write the adapter, its head and the record into the new folder `out`; returns the record.

    Raises:
        UsageError: `out` is there already, or a value, pool, task or model that cannot be.
        EdgeAdaptError: a task or model cannot be fetched, the folder cannot be written.
    """
    progress = progress or Progress()
    out = expanded(out)
    require_new(out)
    task, shots, backbone, pool = _inputs(config, progress)
    method = get_method("lorafusion", cross_terms=config.cross_terms, magnitude=config.magnitude)
    others = {name: get_method(other) for name, other in BEFORE.items()}
    if task.kind == "image":
        method, others = method.image_form(), {name: other.image_form() for name, other in others.items()}
    data = Encoded.of(backbone, task, (*shots.train, *shots.validation), config.max_tokens)
    test = Encoded.of(backbone, task, task.test, config.max_tokens)
    steps = method.recipe.schedule(len(data.ids)).steps
    batches = len(test.ids) / method.recipe.batch_size
    progress.start({_TRAINING: (steps, None), _TESTING: (batches * (1 + len(others)) / 3, None)})

    def graded(method: Method, what: str) -> tuple[Adaptation, Graded]:
        progress.stage(what)
        rng = np.random.default_rng([config.seed, config.shots])
        adaptation = method.attach(backbone, len(task.labels), rng, pool=pool if method.needs_pool else None)
        train(adaptation, data.ids, data.labels, rng, on_step=lambda _: progress.advance(1, _TRAINING))
        with torch.no_grad():
            features, labels = extract_features(adaptation, test.ids, test.labels)
            answers = adaptation.module.head(features).argmax(1)
        progress.advance(batches / 3, _TESTING)
        return adaptation, test.grade(task, answers.numpy(), labels.numpy())

    before = {name: graded(other, f"testing the {name} before")[1] for name, other in others.items()}
    adaptation, after = graded(method, "training coefficients and magnitudes")
    progress.stage("writing the adapter")
    fit = _fit(method, adaptation, pool, backbone, task, out.name)
    record = {
        **_origins(config, pool, backbone, task),
        "format": "DoRA" if fit.magnitudes else "LoRA",
        "rank": fit.module.rank,
        "trained_numbers": adaptation.trained_parameters,
        "coefficients": fit.state["coefficients"].tolist(),
        "test": _tested(task, before, after, len(test.ids)),
        "merge_error": merge_error(fit, pool, backbone, config),
        "messages": _messages(config, pool, backbone, task),
    }
    with writing(out), whole_folder(out) as folder:
        write_with_head(folder, fit.module, fit.magnitudes, fit.state, task.labels, POOLING_WORDS[backbone.pooling])
        write_synced(folder / RECORD_FILE, json_text(record, indent=2) + "\n")
    return record


def _inputs(config: FitConfig, progress: Progress) -> tuple[Task, FewShot, Backbone, Pool]:
    """Task without what the pool has seen, its labelled examples, model and pool; refused is what does not fit."""
    if config.seed < 0:
        raise UsageError(f"--seed must be 0 or more; got {config.seed}")
    load_pool(list(config.pool))  # a broken file is found before a model is fetched
    progress.stage("loading model, task and pool")
    task = load_task(config.task, config.test_examples, config.reading)
    shots = task.few_shot(config.shots, config.seed)
    backbone = load_backbone(config.model)
    if backbone.kind != task.kind:
        raise UsageError(
            f"model {backbone.name!r} reads {backbone.kind}s, and task {task.name!r} holds {task.kind}s; give another "
            "--model or --task"
        )
    backbone = backbone.reading(task)
    pool, task = unseen(load_pool(list(config.pool), backbone), task)
    return task, shots, backbone, pool


def _fit(
    method: Method, adaptation: Adaptation, pool: Pool, backbone: Backbone, task: Task, name: str
) -> Fit:  # fmt: skip
    state = {name: value.numpy() for name, value in adaptation.state_dict().items()}
    form = method.lora_form(state, pool, backbone.shape)
    module = module_of(
        form, name, task=task.name, base_model=backbone.name, base_fingerprint=backbone.fingerprint
    )  # fmt: skip
    return Fit(adaptation, state, module, form.magnitudes)


def _origins(config: FitConfig, pool: Pool, backbone: Backbone, task: Task) -> dict[str, Any]:
    """The part of the record that says what was fitted to what."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pool": pool.path,
        "modules": [one.name for one in pool.modules],
        "base_model": backbone.name,
        "base_fingerprint": backbone.fingerprint,
        "task": task.name,
        "source": task.source,
        "labels": list(task.labels),
        "shots": config.shots,
        "seed": config.seed,
        "cross_terms": config.cross_terms,
        "magnitudes": config.magnitude,
    }


def _messages(config: FitConfig, pool: Pool, backbone: Backbone, task: Task) -> list[str]:
    cut = backbone.cut_message(config.max_tokens)
    said = (*pool.messages, *task.messages, *task.scarce(config.shots), *backbone.messages)
    return [*said, *([cut] if cut else [])]


def merge_error(fit: Fit, pool: Pool, backbone: Backbone, config: FitConfig) -> dict[str, Any]:
    """Relative Frobenius distances by matrix, their mean and the largest, None for what was not trained.

    written: of the change of the weight by the adapter, from the change that was trained.
    cross_terms: of the update B A without its cross terms, sum_k c_k^2 s_k B_k A_k, from the update.
    magnitudes: of the change by a plain LoRA of the same A and B, from the change that was trained.
    """
    found: dict[str, dict[str, float]] = {"written": {}, "cross_terms": {}, "magnitudes": {}}
    own = _without_cross_terms(fit, pool, backbone)
    trained = trained_weights(fit.adaptation)
    for name in pool.target_names:
        weight = backbone.module.get_parameter(f"{name}.weight").detach().double().numpy()
        update = fit.module.scale * (fit.module.b[name].astype(np.float64) @ fit.module.a[name])
        changed = weight + update
        if name in fit.magnitudes:
            changed = (fit.magnitudes[name] / np.linalg.norm(changed, axis=1))[:, None] * changed
        change = trained[name] - weight
        found["written"][name] = relative_distance(changed - weight, change)
        if config.cross_terms:
            found["cross_terms"][name] = relative_distance(own.b[name] @ own.a[name], update)
        if fit.magnitudes:
            found["magnitudes"][name] = relative_distance(update, change)
    return {kind: _summary(errors) for kind, errors in found.items()}


def trained_weights(adaptation: Adaptation) -> dict[str, np.ndarray]:
    """The weight (out, in) that each linear with a pool beside it computes with: what it makes of the unit vectors."""
    model, weights = adaptation.module, {}
    assert isinstance(model, FusionModel)
    model.handover.coefficients = model.coefficients
    try:
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, FusedLinear):
                    unit = torch.eye(layer.weight.shape[1], dtype=layer.weight.dtype)
                    made: torch.Tensor = layer(unit)
                    weights[layer.cell_name] = (made if layer.bias is None else made - layer.bias).T.double().numpy()
    finally:
        model.handover.coefficients = None
    return weights


def _without_cross_terms(fit: Fit, pool: Pool, backbone: Backbone) -> LoraForm:
    """Every module with the square of its coefficient, side by side."""
    squared = {"coefficients": fit.state["coefficients"].astype(np.float64) ** 2}
    return fused_pool(squared, backbone.shape, pool, cross_terms=False, magnitude=False)


def _summary(errors: Mapping[str, float]) -> dict[str, Any] | None:
    if not errors:
        return None
    worst = max(errors, key=lambda name: errors[name])
    return {"mean": sum(errors.values()) / len(errors), "largest": errors[worst], "largest_at": worst}


def _tested(task: Task, before: Mapping[str, Graded], after: Graded, examples: int) -> dict[str, Any]:
    """Scores before and after. Standard errors are those of a share of right answers to this many examples, and of the
    difference of two such shares on the same examples; None where words are what is answered.
    """
    return {
        "metric": task.metric,
        "examples": examples,
        "before": {name: _score(graded) for name, graded in before.items()},
        "after": _score(after),
        "gain": {name: _gain(graded, after) for name, graded in before.items()},
    }


def _score(graded: Graded) -> dict[str, float | None]:
    if graded.right is None:
        return {"score": graded.score, "accuracy": None, "standard_error": None}
    share = graded.right.count("1") / len(graded.right)
    error = math.sqrt(share * (1 - share) / len(graded.right))
    return {"score": graded.score, "accuracy": share, "standard_error": error}


def _gain(before: Graded, after: Graded) -> dict[str, float | None]:
    """Accuracy after minus before, with the standard error of the paired difference."""
    if before.right is None or after.right is None:
        return {"accuracy": None, "standard_error": None}
    differences = np.array([int(a) - int(b) for a, b in zip(after.right, before.right, strict=True)])
    error = float(differences.std()) / math.sqrt(len(differences))
    return {"accuracy": float(differences.mean()), "standard_error": error}
