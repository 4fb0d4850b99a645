"""Runs the command in this process, and a local model, task and pool that need no download."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.cli import main
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import LoraModule, save_module
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "plot", "cast", "the", "was", "very", "so"]


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    def assert_refused(self, code: int, *fragments: str) -> None:
        """One line of error, the exit code, nothing on stdout. A slow machine may show progress before."""
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if not line.startswith("[")]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("edge-adapt: error: ")
        assert "Traceback" not in self.err
        for fragment in fragments:
            assert fragment in lines[0]
        assert self.code == code, self.err


@dataclass(frozen=True)
class Local:
    """A random encoder of two blocks and width 16, a task of 40 texts, and a pool of two random adapters."""

    model: Path
    task: Path
    pool: Path

    def words(self, *more: str) -> list[str]:
        """A complete `simulate` command on these inputs."""
        names = {"--model": self.model, "--task": self.task, "--pool": self.pool}
        given = [word for name, path in names.items() if name not in more for word in (name, str(path))]
        return ["simulate", *given, *(() if "--shots" in more else ("--shots", "8")), *more]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, which is where a report would be written."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cli(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """cli("devices", "list"): the outcome of one command, run in an empty working folder."""

    def call(*words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pytest"])  # what main() is given must not come from here
        capfd.readouterr()
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Local:
    folder = tmp_path_factory.mktemp("local")
    model = folder / "small-bert"
    save_model(model, seed=0)
    task = folder / "reviews.csv"
    rows = [f"the {WORDS[4 + i % 3]} was {word} {'very ' * (i % 4)}{'so ' * (i // 4)},{label}"
            for word, label in (("good", "up"), ("bad", "down")) for i in range(20)]  # fmt: skip
    task.write_text("\n".join(["text,label", *rows]) + "\n")
    pool = folder / "pool"
    save_pool(pool, model)
    return Local(model, task, pool)


def save_model(folder: Path, seed: int) -> None:
    """A random encoder in Hugging Face format."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def save_pool(folder: Path, model: Path) -> None:
    """Two random adapters of rank 2 on query and value."""
    backbone = load_backbone(model)
    names = [name for name in backbone.linear_names() if name.endswith(("query", "value"))]
    for k in range(2):
        rng = np.random.default_rng(k)
        a = {name: rng.normal(0, 0.2, (2, 16)).astype(np.float32) for name in names}
        b = {name: rng.normal(0, 0.2, (16, 2)).astype(np.float32) for name in names}
        save_module(
            folder / f"module-{k}",
            LoraModule(f"module-{k}", 2, 2.0, a, b, f"task-{k}", backbone.name, backbone.fingerprint),
        )


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shape with other weights."""
    folder = tmp_path_factory.mktemp("other") / "other-bert"
    save_model(folder, seed=1)
    return folder
