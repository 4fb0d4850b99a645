"""The tokenizer in a model folder, and whether it fits the model and the texts.

A tokenizer without its vocabulary does not fail by itself: every word becomes [UNK], and whatever is computed then
looks like a result. So the vocabulary is looked at before it is used.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .encoder_checks import word_vectors
from .model_folders import one_line, read_json, require_content

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from .task import Example

TOKENIZER = "tokenizer.json"
SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model", "sentencepiece.model")
TIKTOKEN = "tiktoken.model"
FILES = (TOKENIZER, "vocab.txt", "vocab.json", *SENTENCEPIECE, TIKTOKEN)
"""Where a vocabulary may be. `vocab.json` has `merges.txt` beside it."""

_SPECIAL = re.compile(r"\[[A-Za-z_]+\d*\]|<[^<>]+>")  # [CLS], <s>, </s>, <|endoftext|>
_EXAMPLES = 200  # looked at to find out whether a tokenizer knows the words of a task
_TOO_MANY, _MANY = 0.5, 0.1
"""Shares of unknown tokens from which texts are refused, and from which a message says so."""


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The fast tokenizer of a folder, from `tokenizer.json` or made from the vocabulary of a slow one.

    Raises:
        UsageError: there is no vocabulary, a package to read it with is missing, or it is broken or empty.
    """
    from transformers import AutoTokenizer

    from ..runtime.tokenizer_file import read_tokenizer

    found = [name for name in FILES if (folder / name).is_file()]
    if not found:
        raise UsageError(
            f"{folder} has no vocabulary; looked for {', '.join(FILES)}: save it with save_pretrained of the model's "
            "tokenizer"
        )
    _require_readable(folder, found)
    for name in found:
        require_content(folder / name)
    try:
        if found[0] == TOKENIZER:
            tokenizer = read_tokenizer(folder / TOKENIZER)
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            ).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception, transformers many
        raise UsageError(f"no usable fast tokenizer ({TOKENIZER}) in {folder}: {_why(folder, error)}") from error
    if all(_SPECIAL.fullmatch(word) for word in tokenizer.get_vocab()):
        raise UsageError(
            f"the vocabulary in {folder} ({found[0]}) holds no words, only special tokens: every word would be unknown"
        )
    return tokenizer


def _require_readable(folder: Path, found: Sequence[str]) -> None:
    """Raise `UsageError` where the only vocabularies need a package that is not installed, or a second file."""
    if found[0] in SENTENCEPIECE or found[0] == TIKTOKEN:
        needed = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
        needed = {"tiktoken": "tiktoken"} if found[0] == TIKTOKEN else needed
        if missing := [package for module, package in needed.items() if not _installed(module)]:
            raise UsageError(
                f"{folder / found[0]} can only be read with the package {missing[0]!r}, which is not installed: "
                f"pip install {' '.join(missing)}, or save a {TOKENIZER} where it is"
            )
    if found[0] == "vocab.json" and not (folder / "merges.txt").is_file():
        raise UsageError(f"{folder} has a vocab.json without the merges.txt that belongs to it, and no {TOKENIZER}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it
        return False


def _why(folder: Path, error: Exception) -> str:
    """What went wrong, in words that do not ask for the folder's code to be run."""
    settings = folder / "tokenizer_config.json"
    if "trust_remote_code" in str(error) and settings.is_file() and "auto_map" in read_json(settings):
        return "it needs code of its own (auto_map), which is never run"
    return one_line(error)


def require_rows(tokenizer: "Tokenizer", module: "nn.Module", folder: Path) -> None:
    """Raise `UsageError` for a tokenizer with ids that the model has no vector for."""
    rows = word_vectors(module)
    word, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= rows:
        raise UsageError(
            f"the tokenizer in {folder} gives ids up to {highest} ({word!r}), and the model has vectors for {rows} "
            "(ids below that): call resize_token_embeddings where tokens were added, or take the model's own tokenizer"
        )


def unknown_share(tokenizer: "Tokenizer", examples: "Sequence[Example]") -> float:
    """The share of the tokens of some examples that the tokenizer does not know; a text of which it leaves nothing
    counts as one unknown token.
    """
    texts = [
        text
        for example in examples
        for text in (example.pair or ((" ".join(example.words),) if example.words else (example.text,)))
    ]
    unknown = total = 0
    mark = getattr(tokenizer.model, "unk_token", None)
    for encoding in tokenizer.encode_batch([text for text in texts if text.strip()], add_special_tokens=False):
        # A unigram tokenizer gives an unknown token the letters it stands for, all others its name.
        strange = [
            token == mark or tokenizer.id_to_token(number) != token
            for token, number in zip(encoding.tokens, encoding.ids, strict=True)
        ]
        unknown += sum(strange) if strange else 1
        total += len(strange) or 1
    return unknown / total if total else 0.0


def require_known(tokenizer: "Tokenizer", examples: "Sequence[Example]", model: str, task: str) -> str | None:
    """A message where the tokenizer knows too few tokens of a task; None where it knows enough.

    Raises:
        UsageError: it does not know most of them.
    """
    share = unknown_share(tokenizer, examples[:_EXAMPLES])
    if share > _TOO_MANY:
        raise UsageError(
            f"the tokenizer of model {model!r} does not know {100 * share:.0f} % of the tokens of task {task!r}: is it "
            "the model's own, for this language? Give another --model or --task"
        )
    return f"the tokenizer does not know {100 * share:.0f} % of the tokens of the texts" if share > _MANY else None
