"""Find each method's recipe with the same budget for all, on exact weights, and ask that training loses to no start.

    python benchmarks/recipe_search.py --out benchmarks/results/recipe_search.json

Each search task is treated as the unseen one: the modules of the pool that saw it are left out, `shots` examples are
drawn from its training part, and the answers are those to other texts of the training part, new ones for each draw. The
task that reports are about (movie) is not touched, nor is any test split.

For every method there is the start (its modules fused evenly, or the frozen model, under a head of class means), the
recipe it had before, and the same number of candidates (`Method.candidates`, or `usual`). All of them see the draws
`--seeds`; the best `--keep` and the recipe it had see `--more-seeds`, too.

The recipe to take loses to the start on no task by more than one standard error, and neither does its head where it is
trained alone (`head_rates.py`: more draws for less). Of these it is the one with the largest mean gain, or, where one
of fewer epochs is within one standard error of it, that one: steps cost energy. Errors hold the draws and the texts
(`measure.paired`).

Every answer is kept in the output file, so that any two configurations can be compared pair by pair, and a run that was
stopped goes on.
"""

import argparse
import functools
import json
import os
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edge_adapt.methods import METHODS, Adaptation, Method, get_method
from edge_adapt.methods.training.trainer import extract_features, train
from edge_adapt.simulator.autograd import ExactReader
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.models import Backbone, load_backbone
from edge_adapt.workloads.pools import Pool, default_pool, load_pool
from edge_adapt.workloads.task import Task
from edge_adapt.workloads.tasks import load_task
from measure import RESULTS, commit, machine, paired

HEADS = RESULTS / "head_rates.json"
UNSEEN = "movie"
MAX_TOKENS = 64
START, HAD = 0, 1
"""Numbers of the first two configurations: no training, and the recipe that the method had before the search."""

# Less trust in few examples: the head starts from class means and moves little, or not as much.
STEADY: dict[str, Any] = {"rate.head": 3e-4, "recipe.head_margin": 0.5}
MIDDLE: dict[str, Any] = {"rate.head": 1e-3}


def usual(method: Method) -> list[dict[str, Any]]:
    """Candidates of a method that names none: its own rates half a decade aside, and more epochs."""
    own = {group: rate for group, rate in method.recipe.learning_rates.items() if group != "head"}
    aside = [{f"rate.{group}": float(f"{rate * by:.0e}") for group, rate in own.items()} for by in (10**-0.5, 10**0.5)]
    return [{}, *aside, {"recipe.epochs": 16}, MIDDLE]


def configurations(name: str) -> list[dict[str, Any]]:
    """The start, the recipe that the method has, and its candidates: as many for each, all with a steady head where
    they name no other.
    """
    method = get_method(name)
    return [{"recipe.epochs": 0}, {}, *(STEADY | own for own in (method.candidates or usual(method)))]


def configured(name: str, config: dict[str, Any]) -> Method:
    """The method with a configuration in its recipe and options."""
    method = get_method(name, **{key: value for key, value in config.items() if "." not in key})
    fields = {key.removeprefix("recipe."): value for key, value in config.items() if key.startswith("recipe.")}
    rates = {key.removeprefix("rate."): value for key, value in config.items() if key.startswith("rate.")}
    fields["learning_rates"] = {**method.recipe.learning_rates, **rates}
    return replace(method, recipe=method.recipe.with_options(**fields))


def without(pool: Pool, task: str) -> Pool:
    """The pool as if it had been trained without seeing the task."""
    return replace(pool, modules=tuple(m for m in pool.modules if task not in (m.task or "").split("+")))


def skip_padding(adaptation: Adaptation) -> None:
    """Compute no products for padding: same results, about half the time."""
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)


def answers(
    method: Method, backbone: Backbone, task: Task, pool: Pool, few: Encoded, texts: Encoded, shots: int, seed: int
) -> str:
    """Which of the texts are answered right after adapting to a draw, "1", and which are not, "0"."""
    rng = np.random.default_rng([seed, shots])
    adaptation = method.attach(backbone, len(task.labels), rng, pool=pool)
    skip_padding(adaptation)
    train(adaptation, few.ids, few.labels, rng)
    features, labels = extract_features(adaptation, texts.ids, texts.labels)
    return "".join("01"[int(right)] for right in adaptation.module.head(features).argmax(1) == labels)


def outside(task: Task, shots: int, seed: int, number: int) -> list[Any]:
    """So many examples of the training part, drawn anew for each seed, that the draw has not taken."""
    drawn = task.few_shot(shots, seed)
    used = {example.text for example in (*drawn.train, *drawn.validation)}
    others = [example for example in task.train if example.text not in used]
    return [others[n] for n in np.random.default_rng([seed, 7]).permutation(len(others))[:number]]


@functools.cache
def loaded(model: str, pool: str) -> tuple[Backbone, Pool]:
    torch.set_num_threads(1)
    backbone = load_backbone(model)
    return backbone, load_pool(pool, backbone)


@functools.cache
def examples(model: str, pool: str, name: str, shots: int, seed: int, number: int) -> tuple[Task, Encoded, Encoded]:
    """The task, the draw, and the texts to answer."""
    backbone, task = loaded(model, pool)[0], load_task(name)
    few = task.few_shot(shots, seed).train
    few_and_texts = (Encoded.of(backbone, task, e, MAX_TOKENS) for e in (few, outside(task, shots, seed, number)))
    return task, *few_and_texts


def one_run(model: str, pool: str, run: dict[str, Any], shots: int, number: int) -> dict[str, Any]:
    """The run with its answers and the seconds of processor time it took."""
    start, (backbone, whole) = time.process_time(), loaded(model, pool)
    task, few, texts = examples(model, pool, run["task"], shots, run["seed"], number)
    method = configured(run["method"], run["config"])
    right = answers(method, backbone, task, without(whole, run["task"]), few, texts, shots, run["seed"])
    return {**run, "accuracy": right.count("1") / len(right), "right": right, "recipe": method.recipe.recorded(),
            "processor_seconds": round(time.process_time() - start, 1)}  # fmt: skip


def gains(
    runs: list[dict[str, Any]], method: str, number: int, task: str = "", over: int = START
) -> list[tuple[str, str]]:
    """(answers of a configuration, answers of another) on each draw of a task, or of all, that both have seen."""
    kept = {
        (run["number"], run["task"], run["seed"]): run["right"]
        for run in runs
        if run["method"] == method and task in ("", run["task"])
    }
    return [(right, kept[over, name, seed]) for (n, name, seed), right in kept.items()
            if n == number and (over, name, seed) in kept]  # fmt: skip


def summary(runs: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """For each configuration, best first: the draws it has seen, accuracy, gain over the start in points with its
    standard error, by task, too, and whether it loses to the start on no task by more than one error."""
    rows = []
    for number in sorted({run["number"] for run in runs if run["method"] == method}):
        mine = [run for run in runs if (run["method"], run["number"]) == (method, number)]
        by_task = {task: paired(gains(runs, method, number, task)) for task in dict.fromkeys(r["task"] for r in mine)}
        gain, error = paired(gains(runs, method, number))
        rows.append({
            "method": method, "number": number, "config": mine[0]["config"], "recipe": mine[0]["recipe"],
            "draws": len(mine),
            "accuracy": float(np.mean([run["accuracy"] for run in mine])),
            "gain": gain, "error": error, "by_task": by_task,
            "loses_nowhere": all(change >= -own for change, own in by_task.values()),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["draws"], row["gain"]), reverse=True)


def steady_heads(start: str) -> set[tuple[float, float]]:
    """(peak rate, margin of the start) of the heads that lose on no task to the class means they start from, by
    `results/head_rates.json`; `start`: "pool" or "frozen", whose features they are trained on."""
    rows = [row for row in json.loads(HEADS.read_text())["rows"] if row["start_of"] == start]
    lost = {(r["head_rate"], r["head_margin"]) for r in rows if r["points"] < -r["standard_error"]}
    return {(row["head_rate"], row["head_margin"]) for row in rows} - lost


def taken(runs: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """The row of the summary with the recipe to take: see above. ValueError where every one loses somewhere."""
    rows = [row for row in summary(runs, method) if row["number"] != START]
    heads = steady_heads(get_method(method).start)
    head = lambda row: (row["recipe"]["learning_rates"]["head"], row["recipe"]["head_margin"])
    most = max(row["draws"] for row in rows)
    still = lambda row: head(row)[0] == 0  # a head that is not trained stays what it starts as
    good = [r for r in rows if r["draws"] == most and r["loses_nowhere"] and (still(r) or head(r) in heads)]
    best = max(good, key=lambda row: row["gain"])

    def as_good(row: dict[str, Any]) -> bool:
        points, error = paired(gains(runs, method, row["number"], over=best["number"]))
        return row is best or points >= -error

    return min(filter(as_good, good), key=lambda row: (row["recipe"]["epochs"], -row["gain"]))


def compared() -> list[str]:
    """The method that reports are about, and those that it is held against."""
    subject = next(method for method in METHODS.values() if method.rivals)
    return [subject.name, *subject.rivals]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--pool", help="default: the pool shipped for the model")
    parser.add_argument("--methods", default=",".join(compared()), help="default: a method with rivals, and these")
    parser.add_argument("--tasks", default="amazon,nyt,tweets,election")
    parser.add_argument("--shots", type=int, default=100)
    parser.add_argument("--texts", type=int, default=200, help="texts to answer, new ones for each draw")
    parser.add_argument("--seeds", default="500")
    parser.add_argument("--more-seeds", default="", help="draws for the best configurations alone")
    parser.add_argument("--keep", type=int, default=2, help="configurations that see --more-seeds")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main() -> int:
    parser = _parser()
    args = parser.parse_args()
    tasks, methods = args.tasks.split(","), args.methods.split(",")
    if UNSEEN in tasks:
        parser.error(f"recipes are never chosen on {UNSEEN}: it stays unseen")
    pool = args.pool or default_pool(args.model)
    protocol = {name: getattr(args, name) for name in ("model", "shots", "texts")}
    record = json.loads(args.out.read_text()) if args.out.exists() else {"protocol": protocol, "runs": []}
    if record["protocol"] != protocol:
        parser.error(f"{args.out} holds a search with another protocol; give another --out")
    runs = record["runs"]
    for run in runs:
        if run["method"] in methods and configurations(run["method"])[run["number"]] != run["config"]:
            parser.error(f"{args.out} holds a search of {run['method']} with other candidates; give another --out")

    def save() -> None:
        found = [row for name in dict.fromkeys(run["method"] for run in runs) for row in summary(runs, name)]
        made = {"command": shlex.join(["python", *sys.argv]), "commit": commit(), "machine": machine()}
        content = {"protocol": protocol, **made, "summary": found, "runs": runs}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(content, indent=1) + "\n")

    def go_on(executor: ProcessPoolExecutor, seeds: str, of: dict[str, list[int]]) -> None:
        """Run what is missing of some configurations of each method on some draws."""
        key = lambda run: (run["method"], run["number"], run["task"], run["seed"])
        done = {key(run) for run in runs}
        wanted = [
            {"method": name, "number": number, "task": task, "seed": int(seed), "config": config}
            for seed in seeds.split(",") if seed
            for task in tasks
            for name in methods
            for number, config in enumerate(configurations(name)) if number in of[name]
        ]  # fmt: skip
        jobs = [
            executor.submit(one_run, args.model, pool, run, args.shots, args.texts)
            for run in wanted
            if key(run) not in done
        ]
        for job in as_completed(jobs):
            runs.append(run := job.result())
            save()
            line = f"{run['method']} {run['number']} {run['task']} {run['seed']}: {run['accuracy']:.3f} {run['config']}"
            print(line, file=sys.stderr, flush=True)

    with ProcessPoolExecutor(args.processes) as executor:
        go_on(executor, args.seeds, {name: list(range(len(configurations(name)))) for name in methods})
        best = {name: [row["number"] for row in summary(runs, name) if row["number"] > HAD] for name in methods}
        go_on(executor, args.more_seeds, {name: [START, HAD, *best[name][: args.keep]] for name in methods})
    save()
    for name in methods:
        for row in summary(runs, name):
            by_task = "  ".join(f"{task} {gain:+.1f}" for task, (gain, _) in row["by_task"].items())
            print(f"{name:12s} {row['number']:2d} {row['draws']:3d} draws {100 * row['accuracy']:.1f} % "
                  f"{row['gain']:+.2f} ± {row['error']:.2f}  {by_task}  {row['config']}")  # fmt: skip
        print(f"{name}: take {taken(runs, name)['number']}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
