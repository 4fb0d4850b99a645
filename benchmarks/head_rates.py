"""What training the head alone does to the start: how far it may move before it loses what class means give.

    python benchmarks/head_rates.py --out benchmarks/results/head_rates.json

The features of `--texts` training texts of each search task are those of the modules of the pool fused evenly (the
task's own left out), and of the frozen model. From them `--draws` times as many examples are drawn as a run with
`shots` trains on, evenly by class; the head starts at their class means and is trained by the trainer's own steps; the
answers are those to all other texts. Features are computed once, so that many draws cost little.
"""

import argparse
import json
import math
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edge_adapt.methods import METHODS, Recipe, get_method
from edge_adapt.methods.class_means import set_class_mean_head
from edge_adapt.methods.training.trainer import extract_features
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import default_pool, load_pool
from edge_adapt.workloads.tasks import load_task
from measure import commit, machine, paired
from recipe_search import MAX_TOKENS, UNSEEN, skip_padding, without

STARTS = {method.start: method.name for method in METHODS.values() if method.rivals or method.family == "head"}
"""Whose untrained features are meant: of what reports are about, and of the head alone."""

RECIPES = [(3e-3, 1.0), (3e-3, 0.5), (1e-3, 0.5), (3e-4, 0.5)]
"""Peak rate of the head, and the margin that it starts with."""


def features_of(model: str, task_name: str, method: str, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (number, hidden_size) of training texts at the start of a method, and their labels."""
    backbone = load_backbone(model)
    pool, task = without(load_pool(default_pool(model), backbone), task_name), load_task(task_name)
    taken = [task.train[n] for n in np.random.default_rng(99).permutation(len(task.train))[:number]]
    adaptation = get_method(method).attach(backbone, len(task.labels), np.random.default_rng(0), pool=pool)
    skip_padding(adaptation)
    ids = backbone.reading(task).encode(taken, MAX_TOKENS, task.augment)
    return extract_features(adaptation, ids, [example.label for example in taken])


def trained_head(features: torch.Tensor, labels: torch.Tensor, recipe: Recipe, rng: np.random.Generator) -> Any:
    """(head at class means, the same trained): AdamW with clipping, its rate falling linearly to zero."""
    heads = [torch.nn.Linear(features.shape[1], int(labels.max()) + 1) for _ in range(2)]
    for head in heads:
        set_class_mean_head(head, features, labels, recipe.head_margin)
    parameters = list(heads[1].parameters())
    steps = math.ceil(len(features) / recipe.batch_size)
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rates["head"], weight_decay=recipe.weight_decay)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1.0 - done / (steps * recipe.epochs))
    for _ in range(recipe.epochs):
        for rows in np.array_split(rng.permutation(len(features)), steps):
            optimiser.zero_grad()
            recipe.objective.loss(heads[1](features[rows]), labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
            optimiser.step()
            falling.step()
    return heads


def gain(features: torch.Tensor, labels: torch.Tensor, recipe: Recipe, examples: int, draws: int) -> dict[str, Any]:
    """Accuracy of the start, and what training the head adds to it in points, with its standard error."""
    answers = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        classes = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        few = np.concatenate([rng.permutation(own)[: examples // len(classes)] for own in classes])
        others = np.setdiff1d(np.arange(len(labels)), few)
        heads = trained_head(features[few], labels[few], recipe, rng)
        start, end = ("".join("01"[int(x)] for x in h(features[others]).argmax(1) == labels[others]) for h in heads)
        answers.append((end, start))
    points, error = paired(answers)
    reached = float(np.mean([start.count("1") / len(start) for _, start in answers]))
    return {"start": reached, "points": points, "standard_error": error}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--tasks", default="amazon,nyt,tweets,election")
    parser.add_argument("--examples", type=int, default=80, help="what is left of 100 shots for training")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if UNSEEN in args.tasks.split(","):
        parser.error(f"recipes are never chosen on {UNSEEN}: it stays unseen")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = []
    for task in args.tasks.split(","):
        for start, method in STARTS.items():
            features, labels = features_of(args.model, task, method, args.texts)
            for rate, margin in RECIPES:
                recipe = replace(Recipe(learning_rates={"head": rate}), head_margin=margin)
                found = gain(features, labels, recipe, args.examples, args.draws)
                rows.append({"task": task, "start_of": start, "head_rate": rate, "head_margin": margin, **found})
                print(rows[-1], file=sys.stderr, flush=True)
    record = {"command": shlex.join(["python", *sys.argv]), "commit": commit(), "machine": machine(), "rows": rows}
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
