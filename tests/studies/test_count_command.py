"""`edge-adapt count` as a command: its options, files of options and of shapes, and what it prints and writes."""

import json
import re
import subprocess
import sys

import pytest
from edge_adapt import cli, load_report
from edge_adapt.errors import UsageError
from edge_adapt.reports import ReportError
from edge_adapt.studies.count import choose, count
from edge_adapt.studies.count_config import CountConfig, read_count_config
from edge_adapt.studies.variants import choose_variants
from edge_adapt.workloads.named_shapes import load_shape


def test_it_needs_no_torch():
    code = (
        "import sys; from edge_adapt.cli import main; "
        "assert main(['count', '--model', 'minilm', '--json']) == 0; "
        "print([m for m in ('torch', 'transformers', 'matplotlib', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert json.loads(done.stdout)["schema"] == "edge-adapt/count/1"


def test_the_command_prints_and_writes(capsys, tmp_path):
    words = ["count", "--model", "bert-tiny", "--method", "lora:nvm_step", "--changed-share", "0.2"]
    assert cli.main([*words, "--out", str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    for text in ("BERT tiny", "pulses a cell (estimated", "LoRA", "every step", "20 % of the weights"):
        assert text in " ".join(out.replace("\u00a0", " ").split())
    report = json.loads((tmp_path / "c" / "report.json").read_text(encoding="utf-8"))
    assert report["command"].startswith("edge-adapt count --model bert-tiny")
    assert cli.main([*words, "--out", str(tmp_path / "c")]) == 0, "a former report is replaced"
    assert cli.main(["explain", str(tmp_path / "c"), "write_energy_joules"]) == 0


def test_simulate_with_fidelity_count(capsys):
    base = ["simulate", "--fidelity", "count", "--model", "bert-tiny", "--method", "probe", "--json"]
    assert cli.main([*base, "--shots", "100", "--max-tokens", "32"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert (config["examples"], config["tokens"], config["method"]) == (80, 32, ["probe"])
    assert cli.main([*base, "--seeds", "3"]) == 2
    assert "--seeds has no effect with --fidelity count" in capsys.readouterr().err
    assert cli.main([*base, "--shots", "10", "20"]) == 2
    assert "one number of shots" in capsys.readouterr().err


def test_shapes_and_options_from_files(tmp_path, capsys):
    shape = tmp_path / "mine.yaml"
    shape.write_text(
        "title: Mine\nsource: me\nhidden_size: 64\ngroups:\n  - repeat: 3\n    path: 'layer.{i}'\n    linears:\n"
        "      q: {role: query, out: 64, in: 64}\n      down: {role: ffn_down, out: 64, in: 64}\n", encoding="utf-8"
    )  # fmt: skip
    config = tmp_path / "count.yaml"
    config.write_text(
        f"model: {shape}\nmethod: [frozen]\nbatch-size: 4\nchanged_share: 1\nset: {{adc.bits: 6}}\n", encoding="utf-8"
    )
    assert cli.main(["count", "--config", str(config), "--tokens", "5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"]["weights_in_cells"] == 3 * 2 * 64 * 64
    assert report["config"]["batch_size"] == 4 and report["config"]["settings"] == {"adc.bits": "6"}
    assert report["results"][0]["inference_event_counts"]["read_conversions"] == 5 * 7 * 6 * 64


@pytest.mark.parametrize(("text", "message"), [
    ("tokns: 3", "unknown option 'tokns'; did you mean 'tokens'"), ("tokens: many", "`tokens` takes a whole number"),
    ("changed-share: yes", "`changed-share` takes a number"), ("method: 3", "`method` takes a text; got 3"),
    ("- a", "expected `option: value` lines"), ("set: 3", "`set` holds"), ("a: [", "not valid YAML"),
])  # fmt: skip
def test_wrong_config_files(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_count_config(path)


@pytest.mark.parametrize(("options", "message"), [
    ({"tokens": 0}, "tokens must be at least 1"), ({"changed_share": 1.5}, "changed-share must lie in 0..1"),
    ({"epochs": -1}, "epochs must not be negative"), ({"batch_size": 0}, "batch-size must be at least 1"),
])  # fmt: skip
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        CountConfig(**options)


def test_options_of_methods_by_the_command(capsys):
    """MeZO moves lorafusion's coefficients alone, by forward passes; the probe's epochs are its own."""
    words = ["count", "--model", "minilm", "--method", "lorafusion", "probe", "--examples", "32", "--json"]
    sets = [
        "lorafusion.recipe.optimiser=mezo",
        "lorafusion.recipe.queries=2",
        "probe.recipe.batch_size=8",
        "adc.bits=7",
    ]
    assert cli.main([*words, *(word for pair in sets for word in ("--set", pair))]) == 0
    report = json.loads(capsys.readouterr().out)
    fused, probe = report["results"]
    assert (fused["trained_parameters"], fused["train_steps"], probe["train_steps"]) == (36, 16 * 2, 4 * 4)
    matrices = report["model"]["matrices"] + 2 * 12
    # Features of every example for the head, then 16 epochs of two passes along each of two directions.
    assert fused["adaptation_event_counts"]["reads"] == matrices * 64 * 32 * (1 + 16 * 2 * 2)
    assert fused["adaptation_event_counts"]["transposed_reads"] == 0
    assert report["config"]["settings"]["adc.bits"] == "7"
    assert cli.main([*words, "--set", "lorafusion.recipe.optimiser=mezo", "--batch-size", "32"]) == 0
    assert [r["train_steps"] for r in json.loads(capsys.readouterr().out)["results"]] == [16, 4]


@pytest.mark.parametrize(("pair", "message"), [
    ("lora.rnak=3", "unknown option 'rnak' of lora; did you mean 'rank'"),
    ("lora.recipe.optimiser=meso", "unknown optimiser 'meso'; did you mean 'mezo'"),
    ("lorra.rank=3", "lorra"),
])  # fmt: skip
def test_wrong_options_of_methods(capsys, pair, message):
    assert cli.main(["count", "--model", "bert-tiny", "--set", pair]) == 2
    assert message in capsys.readouterr().err


def test_what_cells_cannot_do_is_not_counted():
    settings = (("lora.recipe.optimiser", "mezo"), ("lora.recipe.estimate", "forward-gradient"))
    with pytest.raises(UsageError, match="forward-gradient needs exact reads"):
        count(CountConfig(model="bert-tiny", method=("lora",), settings=settings))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("results", 0, "adaptation_energy_joules"), None, r"results\[0\]\.adaptation_energy_joules is null"),
        (
            ("results", 0, "inference_energy_joules"),
            1.0,
            r"results\[0\]\.inference_energy_by_component_joules adds up to",
        ),
        (("programming", "backbone"), [], r"programming\.backbone is \[\]"),
        (("device", "costs", 0, "counts"), "x", r"device\.costs\[0\]\.counts is 'x'"),
        (("results",), [], "results has 0 entries"),
        (("unheard",), 1, "'unheard'"),
    ],
)
def test_a_count_that_was_changed_by_hand_is_refused(path, value, said, tmp_path, capsys):
    report = count(CountConfig(model="bert-tiny", method=("probe", "lora")))
    *way, last = path
    holder = report
    for step in way:
        holder = holder[step]
    holder[last] = value
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report), encoding="utf-8")
    assert cli.main(["explain", str(file)]) == 1
    assert re.search(said, capsys.readouterr().err)
    with pytest.raises(ReportError, match=said):
        load_report(file)


def test_the_usual_methods_are_those_of_a_simulation() -> None:
    counted = [(plan.method, plan.placement) for plan in choose(CountConfig(), load_shape("minilm"))]
    assert counted == [(variant.method.name, variant.placement) for variant in choose_variants((), {})]
