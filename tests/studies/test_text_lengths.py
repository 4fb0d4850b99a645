"""One rule for texts that are longer than a model takes: cut, with a message, beside the prompts of a method."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.studies.config import SimulateConfig
from edge_adapt.studies.workbench import load_workbench
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import MPNetConfig, MPNetModel


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., SimulateConfig]:
    """An encoder of 32 positions, the first two of its 34 rows kept for padding, and texts of 50 words."""
    torch.manual_seed(0)
    shape = MPNetConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=34,
    )  # fmt: skip
    MPNetModel(shape, add_pooling_layer=False).save_pretrained(tmp_path / "model")
    known = {"<s>": 0, "<pad>": 1, "[UNK]": 2} | {f"w{i}": i for i in range(3, 40)}
    tokenizer = Tokenizer(WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    drawn = np.random.default_rng(0).integers(3, 40, (60, 50))
    rows = [f"{' '.join(f'w{word}' for word in words)},{'ab'[i % 2]}" for i, words in enumerate(drawn)]
    (tmp_path / "long.csv").write_text("\n".join(["text,label", *rows]) + "\n")

    def make(*methods: str, max_tokens: int = 64) -> SimulateConfig:
        return SimulateConfig(
            model=str(tmp_path / "model"), task=str(tmp_path / "long.csv"), method=methods, shots=(8,),
            max_tokens=max_tokens,
        )  # fmt: skip

    return make


@pytest.mark.parametrize(("methods", "cut"), [(("probe",), 32), (("probe", "prompt-tuning"), 24)])
def test_cut_to_what_the_model_takes(config: Callable[..., SimulateConfig], methods: tuple[str, ...], cut: int) -> None:
    bench = load_workbench(config(*methods))
    assert bench.max_tokens == cut
    assert {len(ids) for ids in bench.test.ids} == {cut}
    assert any(f"cut to {cut} tokens, not 64" in message for message in bench.task.messages)


def test_nothing_is_said_where_nothing_is_cut(config: Callable[..., SimulateConfig]) -> None:
    bench = load_workbench(config("probe", max_tokens=20))
    assert bench.max_tokens == 20
    assert not [message for message in bench.task.messages if "cut to" in message]
