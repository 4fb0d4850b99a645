"""Do visual prompts beat a linear probe? Accuracy on image tasks with exact weights, beside a regression on raw pixels.

    python benchmarks/vision.py                  # results on the test images, seeds 0 and 1
    python benchmarks/vision.py search           # how the recipes were found: held-out training images, seed 100
    python benchmarks/vision.py --pool DIR       # and LoRAFusion on a pool, its modules of the same task left out

16 examples of each class (64 for the solar cells, which have two), 200 test images (half of the stamps), `vit-s` at 98
pixels: 49 patches, the table of positions resized. Beside the registered methods: "pixels", a logistic regression on
the raw pixels, and "regression", one on the frozen features (standardised, its penalty chosen by validation, run to
convergence): the best linear probe there is. Finished runs are kept in the output file and never done again.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from edge_adapt.methods import METHODS, Method, get_method
from edge_adapt.methods.training.trainer import evaluate, extract_features, train
from edge_adapt.studies.raw_pixels import PENALTIES, accuracy, fit, raw_pixel_accuracy
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, load_pool
from edge_adapt.workloads.task import Example, Task
from edge_adapt.workloads.tasks import load_task
from recipe_search import without

OUT = Path(__file__).parent / "results" / "vision.json"
MODEL, IMAGE_SIZE, TEST_EXAMPLES = "vit-s", 98, 200
PER_CLASS = {"elpv-poly": 64, "elpv-mono": 64, "mnist": 16, "stamps": 16, "fashion-mnist": 16}
TRAIN_SHARE = 0.8  # the rest of a draw is for validation
SEARCH_SEED = 100
SEARCH_TASKS = ("elpv-poly", "mnist", "stamps")
"""Tasks of the search, and the first of the results."""
FUSED = ("elpv-mono", "elpv-poly", "mnist", "stamps")
"""Tasks of the method that fuses the pool."""


@dataclass(frozen=True)
class Draw:
    """A draw of examples, and the images that accuracy is measured on."""

    task: Task
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    seed: int

    @staticmethod
    def of(task: Task, seed: int, held_out: bool = False) -> "Draw":
        """`held_out`: tested on 150 training images that are not in the draw."""
        classes = len(task.labels)
        few = task.few_shot(round(PER_CLASS[task.name] * classes / TRAIN_SHARE), seed)
        used = {example.text for example in (*few.train, *few.validation)}
        others = tuple(example for example in task.train if example.text not in used)[:150]
        return Draw(task, few.train, few.validation, others if held_out else task.test, seed)


def labels(examples: tuple[Example, ...]) -> list[int]:
    return [example.label for example in examples]


def pixels(backbone: Backbone, draw: Draw) -> float:
    """A regression on the raw pixels."""
    return raw_pixel_accuracy(draw.train, draw.validation, draw.test, len(draw.task.labels))


def regression(backbone: Backbone, draw: Draw) -> float:
    """A regression on the frozen features, converged."""
    classes, parts = len(draw.task.labels), (draw.train, draw.validation, draw.test)
    frozen = get_method(Method.start).attach(backbone, classes, np.random.default_rng(0))
    found = [extract_features(frozen, backbone.encode(p, 0, draw.task.augment), labels(p)) for p in parts]
    mean, spread = found[0][0].mean(0), found[0][0].std(0)
    rows = [(((x - mean) / spread / math.sqrt(x.shape[1])).double(), y) for x, y in found]
    fits = [fit(*rows[0], classes, penalty) for penalty in sorted(PENALTIES, reverse=True)]
    return accuracy(max(fits, key=lambda one: accuracy(one, *rows[1])), *rows[2])


PLAIN: Mapping[str, Callable[[Backbone, Draw], float]] = {"pixels": pixels, "regression": regression}
"""What no method is needed for."""


def adapted(
    backbone: Backbone, draw: Draw, name: str, rates: dict[str, float] | None = None, pool: Pool | None = None
) -> float:
    """A registered method with its recipe for images; `rates` replace learning rates."""
    method = get_method(name).image_form()
    recipe = replace(method.recipe, learning_rates={**method.recipe.learning_rates, **(rates or {})})
    rng = np.random.default_rng([draw.seed, len(draw.train)])
    adaptation = method.attach(backbone, len(draw.task.labels), rng, pool=pool and without(pool, draw.task.name))
    encode: Callable[[Any], Any] = lambda examples: backbone.encode(examples, 0, draw.task.augment)
    train(adaptation, encode(draw.train), labels(draw.train), rng, recipe=recipe)
    return evaluate(adaptation, encode(draw.test), labels(draw.test))


def main() -> int:
    """Do what is not done yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("results", "search"), default="results")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no run after so many")
    parser.add_argument("--pool", help="LoRA modules of the model, for LoRAFusion")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    backbone = load_backbone(MODEL, IMAGE_SIZE)
    pool = load_pool(args.pool, backbone) if args.pool else None
    tasks = {name: load_task(name, TEST_EXAMPLES) for name in PER_CLASS}
    record = json.loads(args.out.read_text()) if args.out.exists() else {
        "model": MODEL, "image_size": IMAGE_SIZE, "examples_per_class": PER_CLASS, "label": "measured, exact weights",
        "results": [], "search": [],
    }  # fmt: skip
    start, runs = time.monotonic(), record[args.what]
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for key in fused(pool, seeds) if pool else wanted(args.what, seeds):
        if any(key.items() <= run.items() for run in runs) or time.monotonic() - start > 60 * args.minutes:
            continue
        begun, name = time.perf_counter(), key["method"]
        draw = Draw.of(tasks[key["task"]], key["seed"], held_out=args.what == "search")
        plain = PLAIN.get(name)
        found = plain(backbone, draw) if plain else adapted(backbone, draw, name, key.get("rates"), pool)
        used = {"train": len(draw.train), "test": len(draw.test), "seconds": round(time.perf_counter() - begun, 1)}
        runs.append(key | {"accuracy": round(found, 4)} | used)
        args.out.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps(runs[-1]), flush=True)
    table(runs)
    return 0


def fused(pool: Pool, seeds: list[int]) -> list[dict[str, Any]]:
    """The runs with the pool fused: on tasks that no module was trained on first, then the others without theirs."""
    own = [module.name for module in pool.modules]
    subject = next(name for name, method in METHODS.items() if method.rivals)
    tasks = sorted(FUSED, key=lambda task: task in own)
    return [
        {"task": task, "method": subject, "seed": seed, "modules": [name for name in own if name != task]}
        for task in tasks
        for seed in seeds
    ]


def wanted(what: str, seeds: list[int]) -> list[dict[str, Any]]:
    """The runs, as they are recorded."""
    if what == "search":
        return [
            {"task": task, "method": name, "seed": SEARCH_SEED, "rates": rates}
            for name in searched()
            for rates in tries(name)
            for task in SEARCH_TASKS
        ]
    others = tuple(task for task in PER_CLASS if task not in SEARCH_TASKS)
    return [
        {"task": task, "method": name, "seed": seed}
        for tasks in (SEARCH_TASKS, others)
        for name in (*PLAIN, *searched())
        for seed in seeds
        for task in tasks
    ]


def searched() -> list[str]:
    """The methods with a recipe for images."""
    return [name for name, method in METHODS.items() if method.for_images]


def tries(name: str) -> list[dict[str, float]]:
    """The rates of what the method trains beside the head, or of the head where that is all, as they are for images and
    a half decade aside: 1e-4, 3e-4, 1e-3. The same number for each method.
    """
    rates = get_method(name).image_form().recipe.learning_rates
    own = {group: rate for group, rate in rates.items() if group != "head"} or rates
    half = lambda rate, by: float(f"{10 ** (round(2 * math.log10(rate) + by) / 2):.0e}")
    return [{group: half(rate, by) for group, rate in own.items()} for by in (-1, 0, 1)]


def table(runs: list[dict[str, Any]]) -> None:
    """Mean accuracy over the seeds, a line for each task and method."""
    kinds = {(run["task"], run["method"], json.dumps(run.get("rates"))): None for run in runs}
    for task, method, rates in sorted(kinds):
        found = [
            run["accuracy"]
            for run in runs
            if (run["task"], run["method"], json.dumps(run.get("rates"))) == (task, method, rates)
        ]
        spread = f" ± {100 * np.std(found, ddof=1):.1f}" if len(found) > 1 else ""
        what = "" if rates == "null" else f"  {rates}"
        print(f"{task:14s} {method:12s} {100 * np.mean(found):5.1f}{spread}  ({len(found)} seeds){what}")


if __name__ == "__main__":
    raise SystemExit(main())
