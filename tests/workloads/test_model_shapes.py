"""Model shapes: counted against the published numbers, and against the modules that transformers builds."""

from pathlib import Path

import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.workloads.named_shapes import list_shapes, load_shape
from edge_adapt.workloads.shapes import ModelShape
from transformers import (
    BertConfig,
    BertModel,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)


def _bert(width: int, layers: int, heads: int, ffn: int) -> tuple[type, object]:
    return BertModel, BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=ffn
    )


def _roberta(width: int, layers: int, heads: int, ffn: int) -> tuple[type, object]:
    return RobertaModel, RobertaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=ffn
    )


def _t5(width: int, layers: int, heads: int, ffn: int, kind: str) -> tuple[type, object]:
    return T5Model, T5Config(d_model=width, num_layers=layers, num_heads=heads, d_ff=ffn, feed_forward_proj=kind)


def _llama(width: int, layers: int, heads: int, ffn: int) -> tuple[type, object]:
    return LlamaModel, LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=8,
        intermediate_size=ffn,
    )  # fmt: skip


# The published config.json of each model.
CONFIGS = {
    "bert-base-uncased": _bert(768, 12, 12, 3072),
    "bert-large-cased": _bert(1024, 24, 16, 4096),
    "bert-tiny": _bert(128, 2, 2, 512),
    "minilm": _bert(384, 6, 12, 1536),
    "roberta-base": _roberta(768, 12, 12, 3072),
    "roberta-large": _roberta(1024, 24, 16, 4096),
    "t5-base": _t5(768, 12, 12, 3072, "relu"),
    "t5-large": _t5(1024, 24, 16, 4096, "relu"),
    "flan-t5-base": _t5(768, 12, 12, 2048, "gated-gelu"),
    "flan-t5-large": _t5(1024, 24, 16, 2816, "gated-gelu"),
    "vit-base-patch16-224": (ViTModel, ViTConfig()),
    "vit-s": (
        Dinov2Model,
        Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14, use_mask_token=False),
    ),
    "llama-3-8b": _llama(4096, 32, 32, 14336),
    "llama-3-70b": _llama(8192, 80, 64, 28672),
}


@pytest.mark.parametrize("name", list_shapes())
def test_shape_is_that_of_the_model(name: str) -> None:
    make, config = CONFIGS[name]
    poolerless = {} if make in (T5Model, LlamaModel, Dinov2Model) else {"add_pooling_layer": False}
    with torch.device("meta"):
        model = make(config, **poolerless)
    expected = {
        path: (module.out_features, module.in_features, module.bias is not None)
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    shape = load_shape(name)
    assert {linear.name: (linear.out_features, linear.in_features, linear.bias) for linear in shape.linears} == expected
    assert all(linear.name.startswith(f"{block.name}.") for block in shape.blocks for linear in block.linears)
    assert shape.hidden_size == config.hidden_size
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert shape.patch_weights == sum(module.weight.numel() for module in convolutions)
    norms = [module for module in model.modules() if type(module).__name__.endswith("Norm")]
    assert shape.norms == len(norms)
    assert {shape.norm_bias} == {len(list(norm.parameters())) == 2 for norm in norms}


def _counts(shape: ModelShape) -> tuple[int, int, int]:
    """Adapted q and v linears, LoRA parameters of rank 16 on them, magnitudes."""
    adapted = [linear for linear in shape.linears if linear.role in ("query", "value")]
    lora = sum(16 * (linear.in_features + linear.out_features) for linear in adapted)
    return len(adapted), lora, sum(linear.out_features for linear in adapted)


def test_published_counts_of_lorafusion() -> None:
    """GLSVLSI 2025: LoRA of rank 16 on q and v of Flan-T5 large has 4.7 M parameters, the magnitudes 147 k."""
    shape = load_shape("flan-t5-large")
    assert len(shape.blocks) == 48
    assert _counts(shape) == (144, 4_718_592, 147_456)


def test_minilm_counts() -> None:
    assert _counts(load_shape("minilm")) == (12, 147_456, 4_608)


def test_roles_are_where_they_belong() -> None:
    for name in list_shapes():
        for block in load_shape(name).blocks:
            roles = [linear.role for linear in block.linears]
            attentions = roles.count("query")
            assert attentions in (1, 2)
            assert all(roles.count(role) == attentions for role in ("key", "value", "attention_output"))
            assert roles.count("ffn_up") == roles.count("ffn_down") == 1


GOOD = """
title: mine
source: me
hidden_size: 8
groups:
  - repeat: 2
    path: "layer.{i}"
    linears:
      q: {role: query, out: 8, in: 8}
"""


def test_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    shape = load_shape(path)
    assert (shape.name, shape.weights) == ("mine", 128)
    assert [linear.name for linear in shape.linears] == ["layer.0.q", "layer.1.q"]
    assert shape.linears[0].bias


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("role: query", "role: quary", "unknown role 'quary'; did you mean 'query'"),
        ("repeat", "repeats", r"groups\[0\]: unknown key 'repeats'; did you mean 'repeat'"),
        ("out: 8, ", "", "the key 'out' is missing"),
        ("out: 8", "out: 0", "out must be at least 1"),
        ("in: 8", "in: eight", "in must be int, not 'eight'"),
        ("repeat: 2", "repeat: true", "repeat must be int"),
        ("source: me", "source: [me", "expected"),
        ("  - repeat", "  repeat", "mine.yaml"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UsageError, match=message) as caught:
        load_shape(path)
    assert "\n" not in str(caught.value)


def test_linears_of_one_name_are_refused_with_the_line(tmp_path: Path) -> None:
    """Before, counts by name held the last of them alone: LoRA on four matrices had the numbers of two."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace(".{i}", ""))
    with pytest.raises(UsageError, match=r"mine.yaml:7: the blocks .* all have the path 'layer'; put \{i\}"):
        load_shape(path)
    path.write_text(GOOD + GOOD[GOOD.index("  - repeat") :])
    with pytest.raises(UsageError, match=r"mine.yaml:11: 'layer.0.q' is there already, by the path in line 7; give"):
        load_shape(path)
    inside = '  - repeat: 1\n    path: "layer"\n    linears:\n      0.q: {role: query, out: 8, in: 8}\n'
    path.write_text(GOOD + inside)
    with pytest.raises(UsageError, match=r"mine.yaml:11: 'layer.0.q' is there already"):
        load_shape(path)


def test_unknown_shape() -> None:
    with pytest.raises(UsageError, match="unknown model shape 'flan-t5-larg'; did you mean 'flan-t5-large'"):
        load_shape("flan-t5-larg")
    with pytest.raises(UsageError, match=r"gone\.yaml does not exist"):
        load_shape("gone.yaml")
