"""Figures that pages state from records: the five numbers of docs/energy.md, the advice of docs/choosing.md."""

import json
from pathlib import Path
from typing import Any

from edge_adapt.methods import get_method
from edge_adapt.reports.values import si
from edge_adapt.workloads.named_shapes import load_shape

ROOT = Path(__file__).parents[2]


def recorded(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def page(name: str) -> str:
    return " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())


def test_the_five_numbers_are_those_of_the_record() -> None:
    record, text = recorded("sensitivity.json"), page("energy.md")
    digital, stepped = record["rankings"]
    assert (digital["methods"], stepped["methods"][1]) == (["lorafusion:DIGITAL", "lora:DIGITAL"], "lora:NVM_STEP")
    at = {turn["key"]: turn["at"] for turn in digital["turns"]}
    idle = at["periphery.leakage.power"]
    two = lambda value, unit: si(value, unit, 2).replace("\u00a0", " ")
    assert f"up to {two(idle, 'W')} an array, {two(idle * record['arrays'], 'W')} for the chip" in text
    assert f"below {at['periphery.digital.mac_energy'] * 1e12:.2f} pJ" in text
    assert f"from {two(at['cell.read.time'], 's')} on" in text
    (share,) = record["write_shares"]
    assert (
        f"| {share['joules_per_cell'] * 1e9:.2f} nJ | writing at every step is {share['share']:.1%}".replace("%", " %")
        in text
    )
    assert f"10 % at {two(share['at']['0.1'], 'J')}, half at {share['at']['0.5'] * 1e6:.2f} µJ" in text
    assert f"after {stepped['writes_eaten']:.0f} answers LoRAFusion's dearer answers" in text


def test_the_advice_has_the_recorded_gains() -> None:
    text = page("choosing.md")
    few = [line for line in (ROOT / "docs" / "results.md").read_text("utf-8").split("\n") if line[:5] in
           ("| 32 ", "| 50 ", "| 64 ")]  # fmt: skip
    cells = [[float(cell.strip(" *")) for cell in line.split("|")[2:5]] for line in few]
    assert len(cells) == 3, "frozen, LoRA, pool"
    lora, pool = ([row[n] - row[0] for row in cells] for n in (1, 2))
    assert f"LoRA was {min(lora):.0f} to {max(lora):.0f} points above" in text
    assert f"the untrained pool {min(pool):.0f} to {max(pool):.0f}." in text
    taken = next(r for r in recorded("recipe_search.json")["summary"] if (r["method"], r["number"]) == ("lora", 1))
    assert f"LoRA gained {taken['gain']:.0f} ± {taken['error']:.0f} points" in text
    kept = 4 * get_method("pasta").plan(load_shape("minilm")).kept_outputs * 64 * 16
    assert f"about {kept / 1e6:.0f} MB" in text
