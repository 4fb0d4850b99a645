"""Bundles of a tiny random encoder, each exported once for the tests of a process, and what they are made from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.peft_folder import LoraModule, save_module
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "cast", "the", "was", "very", "so"]


class Silent:
    """No progress shown."""

    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` (width 64, one block), `pool` (two random modules of rank 4) and `reviews.csv`."""
    folder = tmp_path_factory.mktemp("inputs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96
        )
        model = BertModel(shape, add_pooling_layer=False)
        for name, parameter in model.named_parameters():  # as in real models, channels differ in size
            if name.endswith("dense.weight"):
                parameter.data *= torch.logspace(-1, 0.5, len(parameter)).unsqueeze(1)
        model.save_pretrained(folder / "model")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    rows = [f"the {WORDS[6 + i % 3]} was {word} {'very ' * (i % 4)}{'so ' * (i // 4)},{label}"
            for word, label in (("good", "up"), ("bad", "down")) for i in range(20)]  # fmt: skip
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    fingerprint = load_backbone(folder / "model").fingerprint
    rng = np.random.default_rng(0)
    targets = [f"encoder.layer.{block}.attention.self.{kind}" for block in (0,) for kind in ("query", "value")]
    for number, scale in enumerate((0.5, 2.0)):
        draw = lambda *shape: rng.normal(0, 0.2, shape).astype(np.float32)
        module = LoraModule(
            f"m{number}", 4, scale, {n: draw(4, 64) for n in targets}, {n: draw(64, 4) for n in targets},
            base_model="model", base_fingerprint=fingerprint,
        )  # fmt: skip
        save_module(folder / "pool" / module.name, module)
    return folder


@pytest.fixture(scope="session")
def config(inputs: Path) -> ExportConfig:
    """LoRA of rank 4, with a task of two labels and one class reserved."""
    return ExportConfig(
        get_method("lora", rank=4), str(inputs / "model"), str(inputs / "reviews.csv"), reserved_classes=1
    )


@pytest.fixture(scope="session")
def exported(config: ExportConfig, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """exported(method, **changes) -> folder of a bundle: the same call gives the same folder, which is not to change.

    How much memory it needs is measured only with `plan=True`: six processes take longer than the rest.
    """
    done: dict[str, Path] = {}

    def export(method: str = "lora", plan: bool = False, options: dict | None = None, **changes: object) -> Path:
        key = repr((method, plan, options, sorted(changes.items())))
        if key not in done:
            options = options or ({"rank": 4} if method == "lora" else {})
            pool = str(inputs / "pool") if "lorafusion" in method else None
            asked = replace(config, method=get_method(method, **options), pool=pool, **changes)
            out = tmp_path_factory.mktemp("out") / "bundle"
            with pytest.MonkeyPatch.context() as patch:
                if not plan:
                    patch.setattr("edge_adapt.exporters.bundle.calibrate", lambda *_, **__: {})
                export_bundle(asked, out, Silent())
            done[key] = out
        return done[key]

    return export


@pytest.fixture(scope="session")
def bundle(exported: Callable[..., Path]) -> Path:
    """The bundle of `config`, with everything an export does."""
    return exported(plan=True)
