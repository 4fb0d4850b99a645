"""PASTA against a forward pass written out block by block, on BERT, RoBERTa, DistilBERT and ViT; published counts."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.workloads.family_shapes import module_shape
from edge_adapt.workloads.named_shapes import load_shape
from torch import nn
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

CLS, SEP = 38, 39
# Two special tokens, three, none, more than there are vectors; the last row ends in padding that looks special.
ROWS = ([CLS, 5, 6, SEP], [CLS, 7, SEP, 8, 9, SEP], [4, 5, 6], [CLS, SEP, SEP, SEP, 3, SEP], [3, CLS, 4, SEP])


def tensors(rows=ROWS, padding=SEP):
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def attach(backbone, special_tokens=3, spread=0.5):
    method = get_method("pasta", special_tokens=special_tokens, initial_spread=spread)
    return method.attach(backbone, 3, np.random.default_rng(0))


def written_out(module, adaptation, ids, mask):
    """Last hidden states of a BERT: embeddings, then block after block, each with its vectors in front."""
    hidden = module.embeddings(input_ids=ids)
    blocked = torch.zeros(ids.shape, dtype=hidden.dtype).masked_fill(mask == 0, -1e30)[:, None, None, :]
    for block, layer in enumerate(module.encoder.layer):
        vectors = adaptation.state[f"encoder.layer.{block}.vectors"]
        hidden = hidden.clone()
        for row, (tokens, keep) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
            places = [i for i, (t, k) in enumerate(zip(tokens, keep, strict=True)) if k and t in (CLS, SEP)]
            for vector, place in zip(vectors, places, strict=False):
                hidden[row, place] += vector
        hidden = layer(hidden, blocked)
    return hidden


def test_against_a_forward_pass_written_out(backbone):
    adaptation = attach(backbone)
    ids, mask = tensors()
    hidden = written_out(backbone.module, adaptation, ids, mask)
    expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    got = adaptation.module.features(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=got.dtype)
    names = [name for name in adaptation.state if name.endswith("vectors")]
    state = [adaptation.state[name] for name in names]
    ours, theirs = (torch.autograd.grad((weights * value).sum(), state) for value in (got, expected))
    for name, one, other in zip(names, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12, msg=name)


def test_zero_vectors_are_the_base_model(backbone):
    adaptation, frozen = (
        attach(backbone, spread=0.0),
        get_method("frozen").attach(backbone, 3, np.random.default_rng(0)),
    )
    ids, mask = tensors()
    found, plain = (each.module.features(ids, mask) for each in (adaptation, frozen))
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-11)


def block_inputs(encoder: nn.Module) -> list[torch.Tensor]:
    """Filled, in a run of the encoder, with what enters each block after the vectors have been added."""
    seen: list[torch.Tensor] = []
    for layer in encoder.encoder.layer:
        layer.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    return seen


def test_only_special_tokens_change_in_front_of_the_first_block(backbone):
    ids, mask = tensors()
    inputs = []
    for spread in (0.0, 0.5):
        adaptation = attach(backbone, spread=spread)
        seen = block_inputs(adaptation.module.encoder)
        adaptation.module.features(ids, mask)
        inputs.append(seen[0])
    changed = (inputs[0] != inputs[1]).any(-1)
    expected = torch.zeros_like(changed)
    for row, places in enumerate(([0, 3], [0, 2, 5], [], [0, 1, 2], [1, 3])):
        expected[row, places] = True
    assert torch.equal(changed, expected)


def test_gradient_of_a_vector_is_that_of_the_hidden_state_at_its_place(backbone):
    adaptation = attach(backbone, special_tokens=3)
    with torch.no_grad():
        adaptation.module.head.weight.copy_(torch.randn(3, 16, generator=torch.Generator().manual_seed(2)))
    ids, mask = tensors([ROWS[1]])
    seen = block_inputs(adaptation.module.encoder)
    loss = F.cross_entropy(adaptation.module(ids, mask), torch.tensor([1]))
    hidden = torch.autograd.grad(loss, seen, retain_graph=True)
    for block in range(2):
        (vectors,) = torch.autograd.grad(loss, adaptation.state[f"encoder.layer.{block}.vectors"], retain_graph=True)
        torch.testing.assert_close(vectors, hidden[block][0, [0, 2, 5]], rtol=0, atol=0)


@dataclass(frozen=True)
class Other:
    module: nn.Module
    special_ids: tuple[int, ...]
    special_tokens: int
    kind: str = "text"
    hidden_size: int = 16
    blocks: int = 2
    tagged: bool = False
    separator: int | None = None

    @property
    def shape(self):
        return module_shape(self.module, "other")

    @property
    def pooling(self):
        return "mean" if self.kind == "text" else "cls"

    def linear_names(self):
        return [linear.name for linear in self.shape.linears]


def small(kind, config, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return kind(config, **options).double().eval()


@pytest.fixture(scope="module")
def roberta():
    config = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    return Other(small(RobertaModel, config, add_pooling_layer=False), (0, 2), 2)


@pytest.fixture(scope="module")
def vit():
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4
    )
    return Other(small(ViTModel, config, add_pooling_layer=False), (), 1, "image")


def test_pair_in_roberta_has_four_places(roberta):
    """<s> a </s></s> b </s>, and padding with the id of <s>, as batches have it."""
    adaptation = attach(roberta, special_tokens=4)
    ids, mask = tensors([[0, 5, 2, 2, 6, 7, 2], [0, 8, 2]], padding=0)
    seen = block_inputs(adaptation.module.encoder)
    adaptation.module.features(ids, mask)
    plain = roberta.module.embeddings(input_ids=ids)
    vectors = adaptation.state["encoder.layer.0.vectors"]
    added = torch.zeros_like(plain)
    added[0, [0, 2, 3, 6]] = vectors
    added[1, [0, 2]] = vectors[:2]
    torch.testing.assert_close(seen[0], plain + added, rtol=0, atol=1e-14)


def test_hidden_states_passed_by_keyword_or_position():
    config = DistilBertConfig(vocab_size=40, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    other = Other(small(DistilBertModel, config), (CLS, SEP), 2)
    ids, mask = tensors()
    base, moved = (attach(other, 2, spread).module.features(ids, mask) for spread in (0.0, 0.5))
    special = torch.tensor([True, True, False, True, True])
    assert torch.equal((base != moved).any(1), special)


def test_image_has_one_special_token(vit):
    adaptation = attach(vit, special_tokens=0)
    assert adaptation.trained_parameters == 2 * 16
    encoder, pixels = adaptation.module.encoder, torch.randn(3, 3, 8, 8, dtype=torch.float64)
    hidden = vit.module.embeddings(pixels)
    for block, layer in enumerate(vit.module.layers):
        hidden = torch.cat([hidden[:, :1] + adaptation.state[f"layers.{block}.vectors"], hidden[:, 1:]], 1)
        hidden = layer(hidden, None)
    torch.testing.assert_close(
        encoder(pixel_values=pixels).last_hidden_state, vit.module.layernorm(hidden), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("model", "special_tokens", "expected"),
    [
        ("bert-large-cased", 2, 49_152),
        ("bert-large-cased", 3, 73_728),
        ("roberta-large", 4, 98_304),
        ("bert-base-uncased", 2, 18_432),
        ("bert-base-uncased", 3, 27_648),
    ],
)
def test_published_counts(model, special_tokens, expected):
    count = get_method("pasta", special_tokens=special_tokens).count(load_shape(model))
    assert count.trained == {"vectors": expected}
    assert count.cells_frozen == count.cells_trained == 0


def test_wrong_options(backbone):
    with pytest.raises(UsageError, match="special_tokens of pasta must not be negative"):
        get_method("pasta", special_tokens=-1)
    with pytest.raises(UsageError, match="initial_spread of pasta"):
        get_method("pasta", initial_spread=float("nan"))
    bare = Other(backbone.module, (), 0)
    for special_tokens in (0, 2):
        with pytest.raises(UsageError, match="no special token around a text"):
            attach(bare, special_tokens)
