"""Find each method's recipe with the same budget for all: random search on exact weights, never on the unseen task.

    python benchmarks/recipe_search.py --out benchmarks/results/recipe_search.json

Each search task is treated as the unseen one: the pool's modules that saw it are left out, `shots` examples are drawn
from its training part, and the accuracy is taken on its test split. The task that the report is about (movie) is not
touched. Every method gets the same number of configurations, drawn from its space by the same seed, on the same
draws. Finished configurations are kept in the output file, so a run that was stopped goes on.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from edge_adapt.methods import Adaptation, Method, get_method
from edge_adapt.methods.optimisers import with_optimiser
from edge_adapt.methods.trainer import evaluate, train
from edge_adapt.simulator.autograd import ExactReader
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, default_pool, load_pool
from edge_adapt.workloads.tasks import Task, load_task

HEAD = (3e-4, 1e-3, 3e-3)
MARGIN = (0.5, 1.0, 2.0)

# NAME@OPTIMISER is a method trained by another optimiser than its own.
# What is searched: "rate.GROUP" is a learning rate, "recipe.FIELD" a field of the recipe, others options of the method.
SPACES: dict[str, dict[str, tuple[Any, ...]]] = {
    "lorafusion": {
        "rate.coefficients": (0.003, 0.01, 0.02, 0.05),
        "rate.magnitudes": (0.0, 0.001, 0.003, 0.01),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "recipe.l1": (0.0, 0.0005, 0.05),
        "initial": (1.0, 1.5, 2.0, 3.0),
    },
    "lorafusion@mezo": {
        "rate.coefficients": (0.01, 0.02, 0.05, 0.1),
        "rate.magnitudes": (0.0, 0.003),
        "rate.head": (0.0, 0.003),
        "recipe.head_margin": MARGIN,
        "recipe.epsilon": (0.01, 0.1),
        "recipe.epochs": (8, 16),
    },
    "lora": {
        "rate.matrices": (3e-4, 1e-3, 2e-3, 4e-3),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "recipe.weight_decay": (0.0, 0.01, 0.1),
        "alpha": (16.0, 32.0, 64.0),
    },
    "full": {
        "rate.matrices": (2e-5, 5e-5, 1e-4, 2e-4),
        "rate.biases": (5e-5, 2e-4, 1e-3),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "recipe.weight_decay": (0.0, 0.01, 0.1),
    },
    "pasta": {
        "rate.vectors": (1e-3, 3e-3, 1e-2, 3e-2),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "recipe.epochs": (8, 16),
        "initial_spread": (0.0, 0.02),
    },
    "bitfit": {"rate.biases": (3e-4, 1e-3, 3e-3, 1e-2), "rate.head": HEAD, "recipe.head_margin": MARGIN},
    "ln-tuning": {
        "rate.gains": (3e-4, 1e-3, 3e-3, 1e-2),
        "rate.biases": (3e-4, 1e-3, 3e-3, 1e-2),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
    },
    "ia3": {"rate.vectors": (1e-3, 3e-3, 1e-2, 3e-2), "rate.head": HEAD, "recipe.head_margin": MARGIN},
    "vera": {
        "rate.inner": (1e-3, 3e-3, 1e-2, 3e-2),
        "rate.outer": (1e-3, 3e-3, 1e-2, 3e-2),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "initial": (0.1, 1.0),
    },
    "prompt-tuning": {
        "rate.prompts": (1e-3, 3e-3, 1e-2, 3e-2),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
        "prompts": (4, 8, 16),
    },
    "pasta+lorafusion": {
        "rate.coefficients": (0.003, 0.01, 0.02, 0.05),
        "rate.magnitudes": (0.0, 0.001, 0.003, 0.01),
        "rate.vectors": (1e-3, 3e-3, 1e-2, 3e-2),
        "rate.head": HEAD,
        "recipe.head_margin": MARGIN,
    },
    "probe": {
        "rate.head": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        "recipe.head_margin": MARGIN,
        "recipe.epochs": (4, 8, 16, 32),
        "recipe.weight_decay": (0.0, 0.01, 0.1, 1.0),
    },
}


def draw(space: dict[str, tuple[Any, ...]], rng: np.random.Generator) -> dict[str, Any]:
    return {key: values[rng.integers(len(values))] for key, values in space.items()}


def configured(name: str, config: dict[str, Any]) -> Method:
    """The method with a drawn configuration in its recipe and options."""
    name, _, optimiser = name.partition("@")
    method = get_method(name, **{key: value for key, value in config.items() if "." not in key})
    method = replace(method, recipe=with_optimiser(method.recipe, optimiser or method.recipe.optimiser))
    rates = {key.removeprefix("rate."): value for key, value in config.items() if key.startswith("rate.")}
    fields = {key.removeprefix("recipe."): value for key, value in config.items() if key.startswith("recipe.")}
    return replace(method, recipe=replace(method.recipe, learning_rates=rates, **fields))


def without(pool: Pool, task: str) -> Pool:
    """The pool as if it had been trained without seeing the task."""
    return replace(pool, modules=tuple(m for m in pool.modules if task not in (m.task or "").split("+")))


def skip_padding(adaptation: Adaptation) -> None:
    """Compute no products for padding: same results, about half the time."""
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)


def accuracy(method: Method, backbone: Backbone, task: Task, pool: Pool, shots: int, seed: int) -> float:
    """Accuracy on the test split after adapting to one draw."""
    few = task.few_shot(shots, seed).train
    rng = np.random.default_rng([seed, shots])
    adaptation = method.attach(backbone, len(task.labels), rng, pool=pool)
    skip_padding(adaptation)
    train(adaptation, encode(backbone.tokenizer, [e.text for e in few], 64), [e.label for e in few], rng)
    test = encode(backbone.tokenizer, [e.text for e in task.test], 64)
    return evaluate(adaptation, test, [e.label for e in task.test])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--pool", help="default: the pool shipped for the model")
    parser.add_argument("--methods", default="lorafusion,lora,full,probe")
    parser.add_argument("--tasks", default="amazon,nyt")
    parser.add_argument("--shots", type=int, default=100)
    parser.add_argument("--seeds", default="100,101")
    parser.add_argument("--configs", type=int, default=12, help="configurations for each method")
    parser.add_argument("--search-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    tasks, seeds = args.tasks.split(","), [int(seed) for seed in args.seeds.split(",")]
    methods = args.methods.split(",")
    budget = len(tasks) * len(seeds) * args.configs
    print(f"budget: {args.configs} configurations = {budget} adaptations for each of {methods}", file=sys.stderr)
    protocol = {
        "model": args.model,
        "tasks": tasks,
        "shots": args.shots,
        "seeds": seeds,
        "configs": args.configs,
        "search_seed": args.search_seed,
        "adaptations_per_method": budget,
    }
    record = json.loads(args.out.read_text()) if args.out.exists() else {"protocol": protocol, "trials": []}
    if record["protocol"] != protocol:
        parser.error(f"{args.out} holds a search with another protocol; give another --out")
    backbone = load_backbone(args.model)
    pool = load_pool(args.pool or default_pool(args.model), backbone)
    loaded = {name: load_task(name) for name in tasks}
    for name in methods:
        rng = np.random.default_rng(args.search_seed)
        for number in range(args.configs):
            config = draw(SPACES[name], rng)
            if any(t["method"] == name and t["number"] == number for t in record["trials"]):
                continue
            start = time.perf_counter()
            method = configured(name, config)
            found = {
                task: [accuracy(method, backbone, loaded[task], without(pool, task), args.shots, s) for s in seeds]
                for task in tasks
            }
            mean = float(np.mean([value for values in found.values() for value in values]))
            trial = {"method": name, "number": number, "mean": mean, "accuracies": found, "config": config}
            record["trials"].append(trial | {"seconds": round(time.perf_counter() - start, 1)})
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{name} {number + 1}/{args.configs}: {mean:.4f} {config}", file=sys.stderr, flush=True)
    for name in methods:
        best = max((t for t in record["trials"] if t["method"] == name), key=lambda t: t["mean"])
        print(f"best {name}: {best['mean']:.4f} {best['config']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
