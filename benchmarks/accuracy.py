"""Accuracy of the methods with their default recipes on exact weights: every answer, and paired differences.

    python benchmarks/accuracy.py --task movie --test-examples 5034 --texts 1000 --out benchmarks/results/movie.json

An entry of --methods is NAME, NAME@OPTIMISER, and either with :option=value,... or :recipe.option=value,... or
:rate.GROUP=value,... (for example lorafusion:magnitude=false, lorafusion@mezo:recipe.epochs=16, pasta:rate.head=0).
`lorafusion:recipe.epochs=0` is its start: the modules of the pool fused evenly, under a head of class means.
With a task that modules of the pool were trained on, those modules are left out. Finished runs are kept in the output
file. Several tasks end with a table of the means. To choose among recipes: --held-out 200 measures on so many training
examples outside the draw, and not on the test split.

The output holds `runs`, one record for each method and draw (`seed`): `accuracy` and `right`, one "1" or "0" for each
text (none where the metric is another one than accuracy); with --texts every draw has texts of its own, so many of the
test split, the same for all methods. And `summary`: the mean over the draws and its sample standard deviation, and the
paired differences of every two methods in points with their standard errors, which hold the draws and the texts.
"""

import argparse
import functools
import itertools
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edge_adapt.methods import Method, get_method
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.methods.training.trainer import extract_features, train
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, default_pool, load_pool
from edge_adapt.workloads.task import Task
from edge_adapt.workloads.tasks import load_task
from measure import commit, machine, paired
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
    recipe = with_optimiser(method.recipe, optimiser, method.forward_only) if optimiser else method.recipe
    rates = {key.removeprefix("rate."): value for key, value in options.items() if key.startswith("rate.")}
    fields["learning_rates"] = {**recipe.learning_rates, **rates}
    return replace(method, recipe=recipe.with_options(**fields))


def measured_on(task: Task, shots: int, seed: int, held_out: int, texts: int) -> Sequence[Any]:
    """The test split, so many of it drawn anew for each seed, or so many examples of the training split that are
    outside the draw.
    """
    if not held_out:
        chosen = np.random.default_rng([seed, 11]).permutation(len(task.test))[: texts or None]
        return [task.test[n] for n in chosen] if texts else task.test
    draw = task.few_shot(shots, seed)
    used = {example.text for example in (*draw.train, *draw.validation)}
    others = [example for example in task.train if example.text not in used]
    return [others[n] for n in np.random.default_rng(seed).permutation(len(others))[:held_out]]


@functools.cache
def loaded(model: str, pool: str) -> tuple[Backbone, Pool]:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    backbone = load_backbone(model)
    return backbone, load_pool(pool, backbone)


loaded_task = functools.cache(load_task)


def one_run(args: argparse.Namespace, name: str, entry: str, shots: int, seed: int) -> dict[str, Any]:
    """Adapt to one draw; accuracy (or the task's own metric) and answers on the test split, on some of it, or on so
    many held-out training examples; steps, forward pairs, trained numbers without the head, and their share.
    """
    start, task = time.process_time(), loaded_task(name, args.test_examples)
    whole, pool = loaded(args.model, args.pool or default_pool(args.model))
    size, backbone = sum(parameter.numel() for parameter in whole.module.parameters()), whole.reading(task)
    if args.modules:
        kept = args.modules.split(",")
        pool = replace(pool, modules=tuple(module for module in pool.modules if module.name in kept))
    examples = task.few_shot(shots, seed).train, measured_on(task, shots, seed, args.held_out, args.texts)
    few, test = (Encoded.of(backbone, task, e, args.max_tokens) for e in examples)
    rng = np.random.default_rng([seed, shots])
    adaptation = chosen(entry).attach(backbone, len(task.labels), rng, pool=without(pool, name))
    skip_padding(adaptation)
    log = train(adaptation, few.ids, few.labels, rng)
    features, labels = extract_features(adaptation, test.ids, test.labels)
    answers = adaptation.module.head(features).argmax(1)
    right = "".join("01"[int(one)] for one in answers == labels)
    return {
        "accuracy": test.score(task, answers.numpy(), labels.numpy()),
        "metric": task.metric,
        **({"right": right} if task.metric == "accuracy" else {}),
        "steps": log.steps,
        "forward_pairs": sum(len(look.weights) for look in log.looks),
        "trained": adaptation.trained_parameters,
        "share": adaptation.trained_parameters / size,
        "processor_seconds": round(time.process_time() - start, 1),
    }


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each task, number of shots and choice of modules the mean and spread of each method, and the difference of
    every two.
    """
    found = []
    key = lambda run: (run["task"], run["shots"], run["modules"])
    for task, shots, modules in dict.fromkeys(map(key, runs)):
        here = [run for run in runs if key(run) == (task, shots, modules)]
        what = {"task": task, "shots": shots} | ({"modules": modules} if modules else {})
        of = {
            name: {r["seed"]: r for r in here if r["method"] == name}
            for name in dict.fromkeys(r["method"] for r in here)
        }
        for name, mine in of.items():
            values = [run["accuracy"] for run in mine.values()]
            spread = statistics.stdev(values) if len(values) > 1 else None
            found.append(what | {"method": name, "draws": len(values), "mean": statistics.fmean(values),
                                 "standard_deviation": spread})  # fmt: skip
        for first, second in itertools.combinations(of, 2):
            both = [seed for seed in of[first] if seed in of[second] and "right" in of[first][seed]]
            if both:
                points, error = paired([(of[first][seed]["right"], of[second][seed]["right"]) for seed in both])
                found.append(what | {"method": first, "minus": second, "draws": len(both), "points": points,
                                     "standard_error": error})  # fmt: skip
    return found


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
    parser.add_argument(
        "--methods", default="lorafusion;lorafusion:recipe.epochs=0;lora;probe;frozen", help="separated by semicolons"
    )
    parser.add_argument("--shots", default="100")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--modules", help="keep only these modules of the pool")
    parser.add_argument("--held-out", type=int, default=0, help="measure on so many training examples, not on the test")
    parser.add_argument("--test-examples", type=int, default=400, help="size of the test split")
    parser.add_argument("--texts", type=int, default=0, help="so many of the test split, drawn anew for each seed")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    runs = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    tasks, entries = args.task.split(","), args.methods.split(";")
    numbers, seeds = ([int(text) for text in given.split(",")] for given in (args.shots, args.seeds))
    common: dict[str, Any] = {"modules": args.modules}
    for option, usual in (("max_tokens", MAX_TOKENS), ("held_out", 0), ("test_examples", 400), ("texts", 0)):
        if getattr(args, option) != usual:
            common[option] = getattr(args, option)

    def save() -> None:
        runs.sort(key=lambda run: (run["task"], run["shots"], run["method"], run["seed"]))
        content = {"model": args.model, "command": shlex.join(["python", *sys.argv]), "commit": commit(),
                   "machine": machine(), "summary": summary(runs), "runs": runs}  # fmt: skip
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(content, indent=1) + "\n")

    with ProcessPoolExecutor(args.processes) as executor:
        jobs = {}
        for shots, seed, name, entry in itertools.product(numbers, seeds, tasks, entries):
            same = {"task": name, "method": entry, **common, "shots": shots, "seed": seed}
            if not any(same.items() <= run.items() for run in runs):
                jobs[executor.submit(one_run, args, name, entry, shots, seed)] = same
        for job in as_completed(jobs):
            runs.append(run := jobs[job] | job.result())
            save()
            print(f"{run['task']} {run['shots']} {run['method']} {run['seed']}: {run['accuracy']:.4f}", file=sys.stderr)
    save()
    for row in summary([run for run in runs if common.items() <= run.items()]):
        where = f"{row['task']} {row['shots']:4d} shots {row['draws']:3d} draws  {row['method']:32s}"
        if "minus" in row:
            print(f"{where} - {row['minus']:32s} {row['points']:+.2f} +- {row['standard_error']:.2f}")
        else:
            print(f"{where} {100 * row['mean']:.2f} %  sd {100 * (row['standard_deviation'] or 0.0):.2f}")
    if len(tasks) > 1:
        for shots in numbers:
            means(runs, tasks, entries, shots)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
