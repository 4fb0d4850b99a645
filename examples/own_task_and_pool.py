"""Adapts BERT-tiny to a task of your own with a pool of your own, on a simulated chip.

Trains two small LoRA modules on shipped tasks (any folder of `peft` adapters would do), writes a task as a CSV file
with `text` and `label`, runs the job on them with three methods, and prints one line a method. Needs the model and the
texts (`edge-adapt fetch`).
"""

import csv
import tempfile
from pathlib import Path

from edge_adapt.reports import write_report
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.pools import PoolConfig, train_pool
from edge_adapt.studies.simulate import simulate

THINGS = ("battery", "screen", "camera", "speaker", "keyboard", "charger", "case", "cable", "lens", "dock")
WORDS = {
    "praise": ("is great", "works very well", "is better than I hoped", "never let me down", "is a joy"),
    "complaint": ("is broken", "stopped working", "is worse than I feared", "was a waste of money", "is a pain"),
}


def write_task(path: Path) -> None:
    """A hundred short reviews in two classes."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["text", "label"])
        for label, endings in WORDS.items():
            table.writerows([f"The {thing} {ending}", label] for thing in THINGS for ending in endings)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = folder / "pool"
        train_pool(PoolConfig("bert-tiny", ("tweets", "amazon"), rank=4, epochs=1, max_examples=200), pool)
        write_task(folder / "reviews.csv")
        config = SimulateConfig(
            model="bert-tiny", pool=str(pool), task=str(folder / "reviews.csv"), shots=(16,), test_examples=40,
            method=("lorafusion", "lora:NVM_TASK", "probe"),
        )  # fmt: skip
        report = simulate(config)
        paths = write_report(report, folder / "report")
        print(f"{paths.html.name}: {paths.html.stat().st_size / 1e3:.0f} kB with {len(paths.figures)} figures\n")
    print("method      placement  trained  cells written  on exact weights  on the chip  energy")
    for r in report["results"]:
        print(
            f"{r['method']:<11} {r['placement']:<9}  {r['trained_parameters']:>7}  {r['cells_written']:>13}  "
            f"{r['accuracy_exact']:>16.0%}  {r['accuracy_chip']:>11.0%}  {r['adaptation_energy_joules'] * 1e3:.2f} mJ"
        )


if __name__ == "__main__":
    main()
