"""Tiny model folders in Hugging Face format, with random numbers in every parameter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import MODEL_MAPPING

ROWS = 60


def write_tokenizer(folder: Path, rows: int = ROWS) -> None:
    """A tokenizer of words w4, w5, ... up to `rows` ids."""
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3} | {f"w{i}": i for i in range(4, rows)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def random_model(config: Any) -> torch.nn.Module:
    """transformers' own model of a configuration, not a row or a bias of it zero."""
    torch.manual_seed(0)
    found = MODEL_MAPPING[type(config)]
    module = (found[0] if isinstance(found, tuple) else found)(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    return module


@pytest.fixture(scope="session")
def write_model() -> Callable[[Any, Path], Path]:
    """write_model(config, folder) -> the folder, with a random model of that configuration and a tokenizer."""

    def make(config: Any, folder: Path) -> Path:
        random_model(config).save_pretrained(folder)
        write_tokenizer(folder)
        return folder

    return make


@pytest.fixture
def model_folder(tmp_path: Path, write_model: Callable[[Any, Path], Path]) -> Callable[[Any], Path]:
    """model_folder(config) -> a folder with that model and a tokenizer."""
    return lambda config: write_model(config, tmp_path / "tiny")
