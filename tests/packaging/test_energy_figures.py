"""Figures that pages state from records: docs/energy.md, docs/repair.md, the advice of docs/choosing.md."""

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


def of_record(record: dict[str, Any]) -> dict[str, str]:
    """The numbers of a record of sensitivity, as the page writes them."""
    digital, stepped = record["rankings"]
    assert (digital["methods"], stepped["methods"][1]) == (["lorafusion:DIGITAL", "lora:DIGITAL"], "lora:NVM_STEP")
    at = {turn["key"].partition(".")[2]: turn["at"] for turn in digital["turns"]}
    two = lambda value, unit: si(value, unit, 2).replace("\u00a0", " ")
    (share,) = record["write_shares"]
    idle, mac = at["leakage.power"], at["digital.mac_energy"]
    return {
        "joules": " and ".join(f"{1e3 * joules:.0f}" for joules in digital["joules"]),
        "idle": f"{two(idle, 'W')} an array, {two(idle * record['arrays'], 'W')}" if idle else "nowhere",
        "mac": f"below {mac * 1e12:.2f} pJ" if mac else "nowhere",
        "conducting": f"from {at.get('read.time', 0) * 1e9 or at.get('integration_time', 0) * 1e6:.2g}",
        "conversion": f"above {two(at['adc.energy'], 'J')}",
        "share": f"{share['share']:.1%}".replace("%", " %"),
        "cell": f"{share['joules_per_cell'] * 1e9:.2f} nJ",
        "writing": f"10 % at {two(share['at']['0.1'], 'J')}, half at {share['at']['0.5'] * 1e6:.2f} µJ",
        "answers": f"after {stepped['writes_eaten']:.0f}",
    }


def test_the_six_numbers_are_those_of_the_record() -> None:
    record, text = recorded("sensitivity.json"), page("energy.md")
    now, before = of_record(record), of_record(record["before"])
    one, other = now["joules"].split(" and ")
    assert f"LoRAFusion takes {one} mJ and LoRA held digitally {other} mJ; before it was {before['joules']} mJ." in text
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / "docs" / "energy.md").read_text("utf-8").splitlines()
        if line.count("|") == 5 and "|---" not in line
    ]
    found = {row[0].split(",")[0]: row for row in rows if len(row) == 4}
    for name, key in (
        ("power of an array while it waits", "idle"), ("energy of a digital multiply-add", "mac"),
        ("time that cells conduct in a read", "conducting"), ("energy of a conversion", "conversion"),
        ("energy of a written cell", "writing"), ("energy of a written cell", "share"),
        ("answers between two adaptations", "answers"),
    ):  # fmt: skip
        assert before[key] in found[name][2], (name, before[key])
        assert now[key] in found[name][3], (name, now[key])
    assert found["energy of a written cell"][1] == now["cell"]
    first = next(turn for turn in record["rankings"][0]["turns"] if turn["inside"])
    assert first["key"] == "periphery.adc.energy"


def test_the_steps_of_the_cost_model_are_those_of_the_record() -> None:
    steps, text = recorded("cost_model.json")["steps"], page("energy.md")
    accuracies = {tuple(run["accuracy_chip"] for run in step["methods"]) for step in steps}
    assert len(accuracies) == 1, "prices do not change answers"
    for step in steps:
        energies = " | ".join(f"{1e3 * run['adaptation_energy_joules']:.1f} mJ" for run in step["methods"])
        times = " / ".join(f"{1e3 * run['adaptation_time_seconds']:.3g}" for run in step["methods"])
        answers = " / ".join(f"{1e6 * run['inference_energy_joules']:.1f}" for run in step["methods"])
        assert f"| {energies} | {times} | {answers} |" in text, step["step"]


def test_the_run_of_repair_is_that_of_the_record() -> None:
    summary, text = recorded("repair.json")["summary"], page("repair.md").replace("**", "")
    rows = {(round(row["age_seconds"] / 86400), row["way"]): row for row in summary}
    words = {
        "nothing": "as it is", "compensation": "drift compensation", "prepared": "prepared vectors",
        "repaired": "repaired without labels", "again": "adapted again, with labels",
    }  # fmt: skip
    for way, title in words.items():
        cells = []
        for day in (30, 3652):
            row = rows[day, way]
            change = f"{row['change_points']:+.1f} ± {row['change_error_points']:.1f} " if way != "nothing" else ""
            cells.append(f"{100 * row['score']:.1f} % | {change}|")
        assert f"| {title} | {' '.join(cells)} " in text, title
    assert f"LoRAFusion scores {100 * rows[0, 'fresh']['score']:.1f} % as adapted." in text
    shares = [f"{rows[day, 'repaired']['regained_share']:.0%}".replace("%", " %") for day in (30, 3652)]
    assert f"gives back {shares[0]} of what 30 days took and {shares[1]} of what 10 years took" in text
    kept = rows[3652, "prepared"]["score"] / rows[0, "fresh"]["score"]
    assert f"vectors keep {100 * kept:.0f} % here" in text


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
