"""Tiny model folders in Hugging Face format, with random numbers in every parameter, of every family."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers as hf
from edge_adapt.methods import Placement, get_method
from edge_adapt.simulator.autograd import ExactReader
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.families import FAMILIES
from edge_adapt.workloads.models import Backbone, load_backbone
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import MODEL_MAPPING, AutoModel

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 34,
}  # fmt: skip
IMAGES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 8,
    "patch_size": 4,
}  # fmt: skip
IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
T5: dict[str, Any] = {"vocab_size": 60, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_kv": 8, "d_ff": 24}


class Sizes(NamedTuple):
    """Fields of tiny configurations: of texts, of images, and of DeBERTa's attention by distance."""

    texts: dict[str, Any] = SIZES
    images: dict[str, Any] = IMAGES
    relative: dict[str, Any] = RELATIVE


@pytest.fixture(scope="session")
def sizes() -> Sizes:
    """How large tiny models are, for tests that make others."""
    return Sizes()


class Tiny(NamedTuple):
    """A model of a family.

    `linears`: in cells. `longest`: input in tokens. The tables of positions have 34 rows, of which RoBERTa's kind
    leaves those up to the padding index out.
    """

    config: Callable[[], Any]
    linears: int
    longest: int | None = None


TEXTS: dict[str, Tiny] = {
    "bert": Tiny(lambda: hf.BertConfig(**SIZES), 12, 34),
    "roberta": Tiny(lambda: hf.RobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "xlm-roberta": Tiny(lambda: hf.XLMRobertaConfig(**SIZES, pad_token_id=1), 12, 32),
    "camembert": Tiny(lambda: hf.CamembertConfig(**SIZES, pad_token_id=1), 12, 32),
    "data2vec-text": Tiny(lambda: hf.Data2VecTextConfig(**SIZES, pad_token_id=1), 12, 32),
    "roberta-prelayernorm": Tiny(lambda: hf.RobertaPreLayerNormConfig(**SIZES, pad_token_id=1), 12, 32),
    "xlm-roberta-xl": Tiny(lambda: hf.XLMRobertaXLConfig(**SIZES, pad_token_id=1), 12, 32),
    "layoutlm": Tiny(lambda: hf.LayoutLMConfig(**SIZES), 12, 34),
    "distilbert": Tiny(
        lambda: hf.DistilBertConfig(
            vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=34
        ), 12, 34,
    ),
    "albert": Tiny(lambda: hf.AlbertConfig(**SIZES, embedding_size=8), 6, 34),
    "albert of two groups": Tiny(lambda: hf.AlbertConfig(**SIZES, embedding_size=8, num_hidden_groups=2), 12, 34),
    "electra": Tiny(lambda: hf.ElectraConfig(**SIZES, embedding_size=8), 12, 34),
    "ernie": Tiny(lambda: hf.ErnieConfig(**SIZES), 12, 34),
    "mpnet": Tiny(lambda: hf.MPNetConfig(**SIZES), 12, 32),
    "deberta": Tiny(lambda: hf.DebertaConfig(**SIZES), 8, 34),
    "deberta, relative": Tiny(lambda: hf.DebertaConfig(**SIZES, **RELATIVE), 12),
    "deberta-v2": Tiny(lambda: hf.DebertaV2Config(**SIZES), 12, 34),
    "deberta-v2, relative": Tiny(lambda: hf.DebertaV2Config(**SIZES, **RELATIVE), 16),
    "deberta-v3": Tiny(
        lambda: hf.DebertaV2Config(
            **SIZES, **RELATIVE, share_att_key=True, norm_rel_ebd="layer_norm", position_buckets=8
        ), 12,
    ),
    "modernbert": Tiny(
        lambda: hf.ModernBertConfig(
            **SIZES | {"num_hidden_layers": 3}, **IDS, local_attention=4, global_attn_every_n_layers=3
        ), 12,
    ),
    "eurobert": Tiny(
        lambda: hf.EuroBertConfig(**SIZES, **IDS, mask_token_id=3, num_key_value_heads=1), 14
    ),
    "nomic_bert": Tiny(lambda: hf.NomicBertConfig(**SIZES, **IDS), 14),
    "esm": Tiny(lambda: hf.EsmConfig(**SIZES, pad_token_id=1, mask_token_id=3), 12, 32),
    "esm-2": Tiny(
        lambda: hf.EsmConfig(
            **SIZES, pad_token_id=1, mask_token_id=3, position_embedding_type="rotary", token_dropout=True
        ), 12,
    ),
    "big_bird": Tiny(lambda: hf.BigBirdConfig(**SIZES), 12, 34),
    "roformer": Tiny(lambda: hf.RoFormerConfig(**SIZES, embedding_size=16), 12, 34),
    "rembert": Tiny(lambda: hf.RemBertConfig(**SIZES, input_embedding_size=8), 12, 34),
    "megatron-bert": Tiny(lambda: hf.MegatronBertConfig(**SIZES), 12, 34),
    "t5": Tiny(lambda: hf.T5Config(**T5), 12),
    "t5, gated": Tiny(lambda: hf.T5Config(**T5, feed_forward_proj="gated-gelu"), 14),
    "mt5": Tiny(lambda: hf.MT5Config(**T5), 14),
    "clip_text_model": Tiny(lambda: hf.CLIPTextConfig(**SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2), 12, 34),
}  # fmt: skip
PICTURES: dict[str, Tiny] = {
    "vit": Tiny(lambda: hf.ViTConfig(**IMAGES), 12),
    "dinov2": Tiny(lambda: hf.Dinov2Config(**IMAGES), 12),
    "dinov2 with SwiGLU": Tiny(lambda: hf.Dinov2Config(**IMAGES, use_swiglu_ffn=True), 14),
    "dinov2_with_registers": Tiny(lambda: hf.Dinov2WithRegistersConfig(**IMAGES), 12),
    "deit": Tiny(lambda: hf.DeiTConfig(**IMAGES), 12),
    "beit": Tiny(lambda: hf.BeitConfig(**IMAGES), 12),
    "beit with biases": Tiny(lambda: hf.BeitConfig(**IMAGES, use_relative_position_bias=True), 12),
    "beit with shared biases": Tiny(lambda: hf.BeitConfig(**IMAGES, use_shared_relative_position_bias=True), 12),
    "siglip_vision_model": Tiny(lambda: hf.SiglipVisionConfig(**IMAGES), 12),
    "clip_vision_model": Tiny(lambda: hf.CLIPVisionConfig(**IMAGES), 12),
}
EVERY = {**TEXTS, **PICTURES}
WORDS = ["w4 w9", "w30 w31 w32 w33 w40 w41", "w50", "w10 w20 w30 w40 w50 w12 w13 w14"]


@dataclass(frozen=True)
class Loaded:
    """A tiny model: its name and entry in the table, its folder, as it is used here, and as transformers has it."""

    name: str
    tiny: Tiny
    folder: Path
    backbone: Backbone
    own: Any

    @property
    def words(self) -> list[str]:
        """Four texts of different lengths."""
        return WORDS

    def inputs(self) -> list[dict[str, torch.Tensor]]:
        """Four examples, each alone."""
        if self.backbone.kind == "image":
            side, rng = self.backbone.image_size or 0, torch.Generator().manual_seed(2)
            return [{"pixel_values": torch.randn(1, 3, side, side, generator=rng)} for _ in WORDS]
        return [{"input_ids": torch.tensor([ids])} for ids in encode(self.backbone.tokenizer, WORDS, 32)]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All of them in one batch: ids or pixels, and the mask."""
        rows = [next(iter(given.values())) for given in self.inputs()]
        if self.backbone.kind == "image":
            return torch.cat(rows), torch.ones(len(rows), 1)
        width = max(row.shape[1] for row in rows)
        ids = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows])
        mask = torch.cat([(torch.arange(width) < row.shape[1]).long()[None] for row in rows])
        return ids, mask

    def attached(self, method: str, **options: Any) -> Any:
        """An adaptation without a chip, with the reader that leaves padding out."""
        return attached(self.backbone, method, **options)


def attached(backbone: Backbone, method: str, **options: Any) -> Any:
    """An adaptation without a chip, with the reader that leaves padding out."""
    adaptation = get_method(method, **options).attach(
        backbone, 2, np.random.default_rng(0), placement=Placement.DIGITAL
    )
    reader = ExactReader()
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    return adaptation


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


_KEPT: dict[str, Loaded] = {}


def _load(
    name: str, folder: Callable[[], Path], write_model: Callable[[Any, Path], Path], one_block: bool = False
) -> Loaded:
    """The model of that name in the table, or its first block alone, made once for all tests."""
    kept = f"{name}, one block" if one_block else name
    if kept not in _KEPT:
        config = EVERY[name].config()
        if one_block:
            config.num_hidden_layers = 1
        path = write_model(config, folder())
        made = FAMILIES[config.model_type].made_by
        own = (getattr(hf, made) if made else AutoModel).from_pretrained(path).eval()
        _KEPT[kept] = Loaded(name, EVERY[name], path, load_backbone(path), own)
    return _KEPT[kept]


@pytest.fixture(params=EVERY)
def loaded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_model: Callable[[Any, Path], Path],
) -> Loaded:
    """The model of a family: of every one in turn, or of those that a test names."""
    return _load(request.param, lambda: tmp_path_factory.mktemp("family"), write_model)


# Distances of tokens looked up; RMSNorm, SwiGLU, rotation and shared keys; biases of pairs; two tokens before patches.
_CHOSEN = (("deberta-v3", "updates"), ("eurobert", "prompts"), ("t5", "updates"), ("deit", "prompts"))
_ONE_BLOCK = (
    "deberta-v3",
    "eurobert",
)  # tracing takes long; T5's second block is needed: it has its biases from the first
_NO_PROMPTS = ("clip_text_model", "beit with biases", "beit with shared biases")
_ALL = [(name, way) for way in ("updates", "prompts") for name in EVERY if way == "updates" or name not in _NO_PROMPTS]
_ALL_FAMILIES = bool(os.environ.get("EDGE_ADAPT_ALL_FAMILIES"))


@pytest.fixture(params=_ALL if _ALL_FAMILIES else _CHOSEN, ids="-".join)
def exported_family(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_model: Callable[[Any, Path], Path],
) -> tuple[Loaded, str]:
    """A model, and whether it is adapted by updates of its matrices or by prompts: one for each kind of operator, or
    all of them, with EDGE_ADAPT_ALL_FAMILIES=1.
    """
    name, way = request.param
    one_block = name in _ONE_BLOCK and not _ALL_FAMILIES
    return _load(name, lambda: tmp_path_factory.mktemp("family"), write_model, one_block), way


@pytest.fixture
def attach() -> Callable[..., Any]:
    """attach(backbone, method, **options): see `attached`."""
    return attached


@pytest.fixture
def family_folder(model_folder: Callable[[Any], Path]) -> Callable[[str], Path]:
    """family_folder(name of the table) -> a folder of one's own with that model."""
    return lambda name: model_folder(EVERY[name].config())


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, Tiny]:
    """The table."""
    return EVERY
