"""Accuracy of the methods with their default recipes on exact weights: all seeds and the spread.

    python benchmarks/accuracy.py --task movie --shots 100,400 --seeds 0,1,2,3,4 --out benchmarks/results/movie.json

An entry of --methods is NAME or NAME:option=value,... (for example lorafusion:magnitude=false). With a task that
modules of the pool were trained on, those modules are left out. Finished runs are kept in the output file.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from edge_adapt.methods import get_method
from edge_adapt.methods.trainer import evaluate, train
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import default_pool, load_pool
from edge_adapt.workloads.tasks import load_task
from recipe_search import skip_padding, without


def option(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, json.loads(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--pool", help="default: the pool shipped for the model")
    parser.add_argument("--task", default="movie")
    parser.add_argument("--methods", default="lorafusion;lora;full;probe;frozen", help="separated by semicolons")
    parser.add_argument("--shots", default="100,400")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--modules", help="keep only these modules of the pool")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    backbone, task = load_backbone(args.model), load_task(args.task)
    pool = without(load_pool(args.pool or default_pool(args.model), backbone), task.name)
    if args.modules:
        kept = args.modules.split(",")
        pool = replace(pool, modules=tuple(module for module in pool.modules if module.name in kept))
    test, labels = encode(backbone.tokenizer, [e.text for e in task.test], 64), [e.label for e in task.test]
    runs = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    seeds = [int(seed) for seed in args.seeds.split(",")]
    for shots in (int(text) for text in args.shots.split(",")):
        for entry in args.methods.split(";"):
            name, _, options = entry.partition(":")
            method = get_method(name, **dict(option(text) for text in options.split(",") if text))
            for seed in seeds:
                key = {"task": args.task, "method": entry, "modules": args.modules, "shots": shots, "seed": seed}
                if any(key.items() <= run.items() for run in runs):
                    continue
                start, few = time.perf_counter(), task.few_shot(shots, seed).train
                rng = np.random.default_rng([seed, shots])
                adaptation = method.attach(backbone, len(task.labels), rng, pool=pool)
                skip_padding(adaptation)
                ids = encode(backbone.tokenizer, [e.text for e in few], 64)
                log = train(adaptation, ids, [e.label for e in few], rng)
                found = evaluate(adaptation, test, labels)
                seconds = round(time.perf_counter() - start, 1)
                runs.append(key | {"accuracy": found, "steps": log.steps, "seconds": seconds})
                args.out.parent.mkdir(parents=True, exist_ok=True)
                modules = [module.name for module in pool.modules]
                args.out.write_text(json.dumps({"model": args.model, "pool": modules, "runs": runs}, indent=1) + "\n")
            same = {"task": args.task, "method": entry, "modules": args.modules, "shots": shots}
            found = [run["accuracy"] for run in runs if same.items() <= run.items()]
            spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
            which = f"{entry:32s} {args.modules or 'all modules':20s}"
            line = f"{args.task} {shots:4d} shots  {which} mean {np.mean(found):.4f}  sd {spread:.4f}  "
            print(line + " ".join(f"{value:.4f}" for value in found), flush=True)
            print(f"{len(runs)} runs kept in {args.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
