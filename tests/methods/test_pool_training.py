"""Pool training on a tiny model folder and tasks of its own: resumable, refuses a mismatch, readable by peft."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from edge_adapt import cli
from edge_adapt.errors import UsageError
from edge_adapt.studies import pools
from edge_adapt.studies.pools import PoolConfig, inspect_pool, train_pool
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import load_pool
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[UNK]", *(f"w{i}" for i in range(30))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random two-block encoder in Hugging Face format and two labelled files."""
    root = tmp_path_factory.mktemp("workload")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(root / "model")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "model" / "tokenizer.json"))
    rng = np.random.default_rng(0)
    for task in ("first", "second"):
        lines = ["text,label"]
        for i in range(60):
            words = rng.integers(0, 15, size=5) + 15 * (i % 2)
            lines.append(" ".join(f"w{n}" for n in words) + f",{'yes' if i % 2 else 'no'}")
        (root / f"{task}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def config(folder):
    tasks = (str(folder / "first.csv"), str(folder / "second.csv"))
    return PoolConfig(str(folder / "model"), tasks, rank=2, alpha=4.0, epochs=2, max_tokens=8, learning_rate=1e-2)


def test_trains_one_module_per_task_that_loads_again(config, tmp_path):
    record = train_pool(config, tmp_path / "pool")
    assert [entry["name"] for entry in record["modules"]] == ["first", "second"]
    assert json.loads((tmp_path / "pool" / "pool.json").read_text()) == record
    backbone = load_backbone(config.model)
    pool = load_pool(tmp_path / "pool", backbone)
    assert record["base_fingerprint"] == backbone.fingerprint
    assert [module.task for module in pool.modules] == ["first", "second"]
    assert {module.rank for module in pool.modules} == {2}
    assert {module.scale for module in pool.modules} == {2.0}
    assert pool.target_names == tuple(n for n in backbone.linear_names() if n.endswith(("query", "value")))
    assert all(np.abs(module.b[name]).max() > 0 for module in pool.modules for name in pool.target_names)


def test_files_are_read_as_asked(config, folder, tmp_path):
    """The reader of `simulate` and `train`: other columns, an encoding, and wrong lines that are left out and said."""
    rows = (folder / "first.csv").read_text().splitlines()[1:]
    own = tmp_path / "own.csv"
    lines = ["größe;body", *(";".join(reversed(row.split(","))) for row in rows), "x"]
    own.write_bytes("\n".join(lines).encode("cp1252"))
    options = {"text_column": "body", "label_column": "größe", "encoding": "cp1252", "on_error": "skip"}
    mine = replace(config, tasks=(str(own),), **options)
    record = train_pool(mine, tmp_path / "mine")
    assert f"task own: {own}: 1 line left out; the first, line 62: 1 fields" in record["messages"][0]
    assert {key: record["config"][key] for key in options} == options
    assert "--text-column body" in record["command"]
    plain = train_pool(replace(config, tasks=config.tasks[:1]), tmp_path / "plain")
    assert not options.keys() & plain["config"].keys(), "pools of earlier versions go on"
    modules = [load_pool(tmp_path / name).modules[0] for name in ("mine", "plain")]
    assert all(np.array_equal(modules[0].b[name], modules[1].b[name]) for name in modules[0].b)


def test_options_of_reading_that_mean_nothing(config, tmp_path):
    with pytest.raises(UsageError, match="--encoding has no effect on any of the tasks movie, tweets"):
        train_pool(replace(config, tasks=("movie", "tweets"), encoding="latin-1"), tmp_path / "new")
    with pytest.raises(UsageError, match="unknown encoding 'klingon'"):
        train_pool(replace(config, encoding="klingon"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_same_seed_same_pool(config, tmp_path):
    first, second = (load_pool_after(config, tmp_path / name) for name in ("a", "b"))
    for one, two in zip(first.modules, second.modules, strict=True):
        for name in first.target_names:
            np.testing.assert_array_equal(one.a[name], two.a[name])
            np.testing.assert_array_equal(one.b[name], two.b[name])


def load_pool_after(config, out):
    train_pool(config, out)
    return load_pool(out)


def test_goes_on_after_a_kill_and_gives_the_same_pool(config, tmp_path, monkeypatch):
    whole = load_pool_after(config, tmp_path / "whole")
    trained = []
    original = pools._train_module

    def killed_at_second(config, backbone, task, progress):
        if task.name == "second" and "second" not in trained:
            trained.append("second")
            raise KeyboardInterrupt
        trained.append(f"done {task.name}")
        return original(config, backbone, task, progress)

    monkeypatch.setattr(pools, "_train_module", killed_at_second)
    with pytest.raises(KeyboardInterrupt):
        train_pool(config, tmp_path / "cut")
    assert [entry["name"] for entry in json.loads((tmp_path / "cut" / "pool.json").read_text())["modules"]] == ["first"]
    record = train_pool(config, tmp_path / "cut")
    assert trained == ["done first", "second", "done second"]
    assert [entry["name"] for entry in record["modules"]] == ["first", "second"]
    for one, two in zip(whole.modules, load_pool(tmp_path / "cut").modules, strict=True):
        for name in whole.target_names:
            np.testing.assert_array_equal(one.b[name], two.b[name])


def test_another_config_or_a_foreign_folder_is_refused(config, tmp_path):
    from dataclasses import replace

    train_pool(config, tmp_path / "pool")
    with pytest.raises(UsageError, match="seed is 0 there and 3 here"):
        train_pool(replace(config, seed=3), tmp_path / "pool")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds no pool"):
        train_pool(config, tmp_path / "full")
    with pytest.raises(UsageError, match="named twice"):
        train_pool(replace(config, tasks=config.tasks * 2), tmp_path / "new")
    with pytest.raises(UsageError, match="epochs must be at least 1"):
        train_pool(replace(config, epochs=0), tmp_path / "new")


@pytest.mark.filterwarnings("ignore")
def test_peft_reads_the_modules(config, tmp_path):
    peft = pytest.importorskip("peft")
    train_pool(config, tmp_path / "pool")
    backbone = load_backbone(config.model)
    ids = torch.arange(10).reshape(2, 5) + 2
    mask = torch.ones_like(ids)
    plain = backbone.module(input_ids=ids, attention_mask=mask).last_hidden_state.detach()
    module = load_pool(tmp_path / "pool", backbone).modules[0]
    weights = {
        f"{name}.weight": backbone.module.get_parameter(f"{name}.weight") + torch.from_numpy(module.delta(name))
        for name in module.a
    }
    inputs = {"input_ids": ids, "attention_mask": mask}
    expected = torch.func.functional_call(backbone.module, weights, (), inputs).last_hidden_state
    model = peft.PeftModel.from_pretrained(backbone.module, tmp_path / "pool" / "first").eval()
    got = model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert (got - plain).abs().max() > 1e-3


def test_command_line(config, tmp_path, capsys):
    options = ["--rank", "2", "--alpha", "4", "--epochs", "1", "--max-tokens", "8"]
    words = ["pool", "train", "--model", config.model, "--tasks", ",".join(config.tasks), *options]
    assert cli.main([*words, "--out", str(tmp_path / "pool"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert cli.main(["pool", "inspect", str(tmp_path / "pool"), "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen == json.loads(json.dumps(inspect_pool(tmp_path / "pool")))
    assert seen["command"] == record["command"]
    assert [module["name"] for module in seen["modules"]] == ["first", "second"]
    assert cli.main(["pool", "inspect", str(tmp_path / "pool")]) == 0
    assert "first" in capsys.readouterr().out
    assert (
        cli.main(["pool", "train", "--model", config.model, "--tasks", "nonsense", "--out", str(tmp_path / "x")]) == 2
    )
    assert "unknown task 'nonsense'" in capsys.readouterr().err


def test_recorded_command_trains_the_same_pool(config, tmp_path, monkeypatch, capsys):
    import shlex

    first = load_pool_after(config, tmp_path / "one" / "pool")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(str(first.metadata["command"]))
    assert words[0] == "edge-adapt"
    assert cli.main(words[1:]) == 0
    capsys.readouterr()
    again = load_pool(tmp_path / "pool")
    for one, two in zip(first.modules, again.modules, strict=True):
        for name in first.target_names:
            np.testing.assert_array_equal(one.b[name], two.b[name])


def test_commands_are_light_to_describe():
    """Describing the commands imports none of the heavy packages."""
    import subprocess

    code = (
        "import sys; from edge_adapt.commands import methods, pool; from edge_adapt.commands.parser import Parser;"
        "s = Parser().add_subparsers(); methods.add_parser(s); pool.add_parser(s);"
        "print(sorted({'torch', 'rich', 'transformers', 'numba'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
