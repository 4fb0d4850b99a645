"""Families of models: what each is made of, said once. Data alone; neither torch nor transformers is needed to read it.

A family is one entry of `FAMILIES`, by the `model_type` of a Hugging Face config.json. `family_shapes` makes a
`ModelShape` of an entry and a model; `encoder_checks` holds a loaded model against it. Nothing else in the package
looks at module paths. To add a family, add an entry here, and a tiny random model of it to the battery
(tests/workloads/conftest.py), and run it with EDGE_ADAPT_ALL_FAMILIES=1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..errors import UsageError
from .shapes import Role

Pooling = Literal["mean", "cls", "last", "patches"]
"""What a head sees of the last hidden states: their mean over all tokens, the first one, that of a text's last token,
or their mean over an image's patches.
"""

POOLINGS: tuple[str, ...] = get_args(Pooling)
POOLING_WORDS: Mapping[str, str] = {
    "mean": "mean of the last hidden states",
    "cls": "first of the last hidden states ([CLS])",
    "last": "last hidden state of the last token",
    "patches": "mean of the last hidden states of the patches",
}


@dataclass(frozen=True)
class Family:
    """A family of models.

    `blocks`: paths of the lists of Transformer blocks, each a stack that embeddings enter; those that a model lacks are
    left out. A `*` in a path stands for all entries of the list before it. `linears`: role of every linear layer of a
    block by its path in the block, in the order in which a token passes them; a block may lack some. `positions`: path
    of the table of positions, which limits the length of a text; None where positions are not counted. Rows of the
    table up to its padding index hold no position. `pooling`: what a head sees, unless the folder says otherwise.
    `mask`: whether every token sees all others, or those before it. `special`: special tokens that the family puts
    around a text, to be read; the tokenizer of the folder decides. `shared`: key of the configuration that says how
    many groups of blocks there are, each of which runs several times; "" where each block runs once. `made_by`: the
    class of transformers that is the encoder alone; "" for the usual one. `counted_only`: models that are counted and
    not run. `front`: tokens of an image in front of its patches, as a number and keys of the configuration to be added.
    `tables`: names of parameters in blocks that are tables of biases for pairs of tokens, no matrices: the number of
    tokens is then fixed. `norm`: path of the norm that the last hidden states still pass, where the model leaves that
    to its pooler. `smooth`: whether the table of positions of an image is smoothed (antialiased)
    when it is resized. `settings`: values of the configuration that leave parts out that features do not use.
    `chained`: a block takes more than hidden states from the one before.
    `no_bundle`: why there can be no bundles of its models; "" where those of a small one have been held against torch.
    """

    title: str
    reads: Literal["text", "image"]
    blocks: tuple[str, ...]
    linears: Mapping[str, Role]
    positions: str | None = None
    pooling: Pooling = "mean"
    mask: Literal["both", "causal"] = "both"
    special: str = ""
    shared: str = ""
    made_by: str = ""
    counted_only: bool = False
    front: tuple[int | str, ...] = ()
    tables: tuple[str, ...] = ()
    norm: str = ""
    smooth: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    chained: bool = False
    no_bundle: str = ""

    def front_tokens(self, config: Any) -> int:
        """Tokens of an image in front of its patches."""
        return sum(part if isinstance(part, int) else int(getattr(config, part)) for part in self.front)

    @property
    def joint(self) -> tuple[str, ...]:
        """The linear layers that do the work of several roles at once."""
        return tuple(path for path, role in self.linears.items() if role in ("query_key_value", "ffn_gate_up"))


def _linears(**paths: str | tuple[str, ...]) -> dict[str, Role]:
    """The linear layers of a block, given by role, in the order in which a token passes them."""
    found: dict[str, Role] = {}
    for role in get_args(Role):
        given = paths.get(role, ())
        found |= dict.fromkeys((given,) if isinstance(given, str) else given, role)
    return found


_SELF, _OUT = "attention.self.", "attention.output.dense"
_FFN = {"ffn_up": "intermediate.dense", "ffn_down": "output.dense"}
_MLP = {"ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"}
_GATED = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def _attention(path: str, query: str, key: str, value: str, output: str) -> dict[str, str]:
    names = {"query": query, "key": key, "value": value, "attention_output": output}
    return {role: f"{path}.{name}" for role, name in names.items()}


_SPLIT = _attention("self_attn", "q_proj", "k_proj", "v_proj", "o_proj")
_BERT = _linears(query=f"{_SELF}query", key=f"{_SELF}key", value=f"{_SELF}value", attention_output=_OUT, **_FFN)
_MPNET = _linears(**_attention("attention.attn", "q", "k", "v", "o"), **_FFN)
_DEBERTA_V2 = _linears(
    query=f"{_SELF}query_proj", key=f"{_SELF}key_proj", value=f"{_SELF}value_proj", attention_output=_OUT,
    positions=(f"{_SELF}pos_key_proj", f"{_SELF}pos_query_proj"), **_FFN,
)  # fmt: skip
_DEBERTA = _linears(
    query_key_value=f"{_SELF}in_proj", attention_output=_OUT, positions=(f"{_SELF}pos_proj", f"{_SELF}pos_q_proj"),
    **_FFN,
)  # fmt: skip
_DISTILBERT = _linears(
    **_attention("attention", "q_lin", "k_lin", "v_lin", "out_lin"), ffn_up="ffn.lin1", ffn_down="ffn.lin2"
)
_ALBERT = _linears(**_attention("attention", "query", "key", "value", "dense"), ffn_up="ffn", ffn_down="ffn_output")
_MODERNBERT = _linears(query_key_value="attn.Wqkv", attention_output="attn.Wo", ffn_gate_up="mlp.Wi", ffn_down="mlp.Wo")
_LLAMA = _linears(**_SPLIT, **_GATED)
_CLIP = _linears(**_attention("self_attn", "q_proj", "k_proj", "v_proj", "out_proj"), **_MLP)
_VIT = _linears(**_attention("attention", "q_proj", "k_proj", "v_proj", "o_proj"), **_MLP)
_VIT_OR_GATED = {**_VIT, **_linears(**_GATED)}


def _t5() -> dict[str, Role]:
    """Attention within a text, that of a decoder to the encoder, and the feed-forward layer, gated or not."""
    found: dict[str, Role] = {}
    for path in ("layer.0.SelfAttention", "layer.1.EncDecAttention"):
        found |= _linears(**_attention(path, "q", "k", "v", "o"))
    for path in ("layer.1.DenseReluDense", "layer.2.DenseReluDense"):
        found |= _linears(ffn_gate=f"{path}.wi_0", ffn_up=(f"{path}.wi", f"{path}.wi_1"), ffn_down=f"{path}.wo")
    return found


_T5 = _t5()
_CLS_SEP, _ANGLED, _END = "[CLS] text [SEP]", "<s> text </s>", "text </s>"
_WITH_POSITIONS = "embeddings.position_embeddings"


def _bert(title: str, special: str = _CLS_SEP, positions: str | None = _WITH_POSITIONS, **other: Any) -> Family:
    """A family of BERT's kind."""
    return Family(title, "text", ("encoder.layer",), **{"linears": _BERT, "positions": positions, "special": special,
                                                        **other})  # fmt: skip


def _decoder(title: str) -> Family:
    return Family(title, "text", ("layers",), _LLAMA, mask="causal", counted_only=True)


FAMILIES: Mapping[str, Family] = {
    "bert": _bert("BERT"),
    "roberta": _bert("RoBERTa", _ANGLED),
    "xlm-roberta": _bert("XLM-R", _ANGLED),
    "camembert": _bert("CamemBERT", _ANGLED),
    "data2vec-text": _bert("Data2Vec of texts", _ANGLED),
    "roberta-prelayernorm": _bert("RoBERTa with norms in front", _ANGLED),
    "xlm-roberta-xl": _bert("XLM-R XL", _ANGLED),
    "layoutlm": _bert("LayoutLM (texts alone)"),
    "distilbert": Family(
        "DistilBERT", "text", ("transformer.layer",), _DISTILBERT, _WITH_POSITIONS, special=_CLS_SEP
    ),
    "albert": Family(
        "ALBERT", "text", ("encoder.albert_layer_groups.*.albert_layers",), _ALBERT, _WITH_POSITIONS,
        special=_CLS_SEP, shared="num_hidden_groups",
    ),
    "electra": _bert("ELECTRA"),
    "ernie": _bert("ERNIE"),
    "mpnet": _bert("MPNet", _ANGLED, linears=_MPNET),
    "deberta": _bert("DeBERTa", linears=_DEBERTA),
    "deberta-v2": _bert("DeBERTa-v2 and v3", linears=_DEBERTA_V2),
    "modernbert": Family("ModernBERT", "text", ("layers",), _MODERNBERT, special=_CLS_SEP),
    "eurobert": Family(
        "EuroBERT", "text", ("layers",), _LLAMA, special="<|begin_of_text|> text <|end_of_text|>"
    ),
    "nomic_bert": Family("NomicBERT", "text", ("layers",), _LLAMA, special=_CLS_SEP),
    "esm": _bert("ESM-2 (proteins)", "<cls> sequence <eos>"),
    "big_bird": _bert("BigBird"),
    "roformer": _bert("RoFormer", positions="encoder.embed_positions"),
    "rembert": _bert("RemBERT"),
    "megatron-bert": _bert("Megatron-BERT"),
    "t5": Family("T5 (the encoder)", "text", ("encoder.block", "decoder.block"), _T5, special=_END,
                 made_by="T5EncoderModel", chained=True),
    "mt5": Family("mT5 (the encoder)", "text", ("encoder.block", "decoder.block"), _T5, special=_END,
                  made_by="MT5EncoderModel", chained=True),
    "clip_text_model": Family(
        "CLIP of texts", "text", ("encoder.layers",), _CLIP, "embeddings.position_embedding", pooling="last",
        mask="causal", special="<|startoftext|> text <|endoftext|>",
    ),
    "vit": Family("ViT", "image", ("layers",), _VIT, _WITH_POSITIONS, pooling="cls", front=(1,)),
    "dinov2": Family(
        "DINOv2", "image", ("encoder.layer",), _VIT_OR_GATED, _WITH_POSITIONS, pooling="cls", front=(1,)
    ),
    "dinov2_with_registers": Family(
        "DINOv2 with registers", "image", ("encoder.layer",), _VIT_OR_GATED, _WITH_POSITIONS, pooling="cls",
        front=(1, "num_register_tokens"), smooth=True,
    ),
    "deit": Family("DeiT", "image", ("layers",), _VIT, _WITH_POSITIONS, pooling="cls", front=(2,)),
    "beit": Family(
        "BEiT", "image", ("layers",), _VIT, _WITH_POSITIONS, pooling="patches", front=(1,),
        tables=("relative_position_bias_table",),
    ),
    "siglip_vision_model": Family(
        "SigLIP of images", "image", ("encoder.layers",), _CLIP, "embeddings.position_embedding", pooling="patches",
        front=(0,), settings={"vision_use_head": False},
    ),
    "clip_vision_model": Family(
        "CLIP of images", "image", ("encoder.layers",), _CLIP, "embeddings.position_embedding", pooling="cls",
        front=(1,), norm="post_layernorm",
    ),
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "qwen2": _decoder("Qwen2"),
    "qwen3": _decoder("Qwen3"),
    "gemma": _decoder("Gemma"),
}  # fmt: skip
"""The table, by `model_type`."""


def family(model_type: str, name: str) -> Family:
    """The entry of a model type, for a model of some name.

    Raises:
        UsageError: a family that is not in the table.
    """
    if model_type not in FAMILIES:
        raise UsageError(  # no nearest name: the folder says what it is, nobody has mistyped it
            f"model {name!r} is of the family {model_type!r}, which is not known here; "
            "edge-adapt models families lists those that are"
        )
    return FAMILIES[model_type]
