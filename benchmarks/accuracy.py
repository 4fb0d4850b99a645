"""Accuracy of the methods with their default recipes on exact weights: all seeds and the spread.

    python benchmarks/accuracy.py --task movie --shots 100,400 --seeds 0,1,2,3,4 --out benchmarks/results/movie.json

An entry of --methods is NAME, NAME@OPTIMISER, and either with :option=value,... or :recipe.option=value,... or
:rate.GROUP=value,... (for example lorafusion:magnitude=false, lorafusion@mezo:recipe.epochs=16, pasta:rate.head=0).
With a task that modules of the pool were trained on, those modules are left out. Finished runs are kept in the output
file. Several tasks end with a table of the means. To choose among recipes: --held-out 200 measures on so many training
examples outside the draw, and not on the test split.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from edge_adapt.methods import Method, get_method
from edge_adapt.methods.optimisers import with_optimiser
from edge_adapt.methods.trainer import extract_features, train
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, default_pool, load_pool
from edge_adapt.workloads.tasks import Task, load_task
from recipe_search import skip_padding, without

MAX_TOKENS = 64


def option(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def chosen(entry: str) -> Method:
    """The method of an entry of --methods."""
    named, _, text = entry.partition(":")
    name, _, optimiser = named.partition("@")
    options = dict(option(part) for part in text.split(",") if part)
    method = get_method(name, **{key: value for key, value in options.items() if "." not in key})
    fields = {key.removeprefix("recipe."): value for key, value in options.items() if key.startswith("recipe.")}
    recipe = with_optimiser(method.recipe, optimiser, name) if optimiser else method.recipe
    rates = {key.removeprefix("rate."): value for key, value in options.items() if key.startswith("rate.")}
    fields["learning_rates"] = {**recipe.learning_rates, **rates}
    return replace(method, recipe=replace(recipe, **fields))


def measured_on(task: Task, shots: int, seed: int, held_out: int) -> Sequence[Any]:
    """The test split, or so many examples of the training split that are outside the draw."""
    if not held_out:
        return task.test
    draw = task.few_shot(shots, seed)
    used = {example.text for example in (*draw.train, *draw.validation)}
    others = [example for example in task.train if example.text not in used]
    return [others[n] for n in np.random.default_rng(seed).permutation(len(others))[:held_out]]


def one_run(
    method: Method, backbone: Backbone, task: Task, pool: Pool, shots: int, seed: int, max_tokens: int, held_out: int
) -> dict[str, Any]:
    """Adapt to one draw; accuracy (or the task's own metric) on the test split, or on so many held-out training
    examples; steps, forward pairs, trained numbers without the head.
    """
    start, backbone = time.perf_counter(), backbone.reading(task)
    examples = task.few_shot(shots, seed).train, measured_on(task, shots, seed, held_out)
    few, test = (Encoded.of(backbone, task, e, max_tokens) for e in examples)
    rng = np.random.default_rng([seed, shots])
    adaptation = method.attach(backbone, len(task.labels), rng, pool=pool)
    skip_padding(adaptation)
    log = train(adaptation, few.ids, few.labels, rng)
    features, labels = extract_features(adaptation, test.ids, test.labels)
    answers = adaptation.module.head(features).argmax(1)
    return {
        "accuracy": test.score(task, answers.numpy(), labels.numpy()),
        "metric": task.metric,
        "steps": log.steps,
        "forward_pairs": sum(len(look.weights) for look in log.looks),
        "trained": adaptation.trained_parameters,
        "seconds": round(time.perf_counter() - start, 1),
    }


def means(runs: list[dict[str, Any]], tasks: list[str], entries: list[str], shots: int) -> None:
    """Print accuracy by task and its mean over tasks and seeds, beside the first entry's, and the trained numbers."""
    of = lambda entry, task: [
        run["accuracy"] for run in runs if (run["method"], run["task"], run["shots"]) == (entry, task, shots)
    ]  # fmt: skip
    first = float(np.mean([np.mean(of(entries[0], task)) for task in tasks]))
    print(f"\n{shots} shots, accuracy in %, mean over the seeds; +- is over the first line")
    for entry in entries:
        each = [float(np.mean(of(entry, task))) for task in tasks]
        trained = next((run.get("trained", 0) for run in runs if run["method"] == entry), 0)
        share = next((run.get("share", 0.0) for run in runs if run["method"] == entry), 0.0)
        by_task = "  ".join(f"{task} {100 * value:.1f}" for task, value in zip(tasks, each, strict=True))
        mean = float(np.mean(each))
        print(
            f"{entry:24s} mean {100 * mean:.1f} ({100 * (mean - first):+.1f})  {by_task}  trains {trained:,} numbers, "
            f"{100 * share:.4f} % of the model's"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--pool", help="default: the pool shipped for the model")
    parser.add_argument("--task", default="movie", help="one, or several with commas")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--methods", default="lorafusion;lora;full;probe;frozen", help="separated by semicolons")
    parser.add_argument("--shots", default="100,400")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--modules", help="keep only these modules of the pool")
    parser.add_argument("--held-out", type=int, default=0, help="measure on so many training examples, not on the test")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    backbone = load_backbone(args.model)
    whole = load_pool(args.pool or default_pool(args.model), backbone)
    if args.modules:
        kept = args.modules.split(",")
        whole = replace(whole, modules=tuple(module for module in whole.modules if module.name in kept))
    size = sum(parameter.numel() for parameter in backbone.module.parameters())
    runs = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    tasks, entries = args.task.split(","), args.methods.split(";")
    for shots in (int(text) for text in args.shots.split(",")):
        for name in tasks:
            task, pool = load_task(name), without(whole, name)
            for entry in entries:
                same = {"task": name, "method": entry, "modules": args.modules, "shots": shots}
                if args.max_tokens != MAX_TOKENS:
                    same["max_tokens"] = args.max_tokens
                if args.held_out:
                    same["held_out"] = args.held_out
                for seed in (int(text) for text in args.seeds.split(",")):
                    if any((same | {"seed": seed}).items() <= run.items() for run in runs):
                        continue
                    run = one_run(chosen(entry), backbone, task, pool, shots, seed, args.max_tokens, args.held_out)
                    run["share"] = run["trained"] / size
                    runs.append(same | {"seed": seed} | run)
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    content = {"model": args.model, "pool": [module.name for module in pool.modules], "runs": runs}
                    args.out.write_text(json.dumps(content, indent=1) + "\n")
                found = [run["accuracy"] for run in runs if same.items() <= run.items()]
                spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
                which = f"{entry:32s} {args.modules or 'all modules':20s}"
                line = f"{name} {shots:4d} shots  {which} mean {np.mean(found):.4f}  sd {spread:.4f}  "
                print(line + " ".join(f"{value:.4f}" for value in found), flush=True)
                print(f"{len(runs)} runs kept in {args.out}", file=sys.stderr)
        if len(tasks) > 1:
            means(runs, tasks, entries, shots)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
