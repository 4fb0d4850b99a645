"""Telly against transformers' own model with its lower blocks frozen, the paper's counts, and full fine-tuning."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, exact_reader, get_method
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.named_shapes import load_shape
from transformers import AlbertConfig, AlbertModel


def attach(backbone, placement=Placement.NVM_STEP, **options):
    return get_method("telly", **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)


@pytest.mark.parametrize(("frozen", "published"), [(0, 86_235_648), (2, 72_059_904), (5, 50_796_288), (11, 8_269_056)])
def test_counts_of_the_paper(frozen, published):
    """UniXcoder is a RoBERTa base. The paper trains the norms of the upper blocks too (2 of 2 x 768 numbers in each),
    and a pooler and a dense layer (768 x 768 + 768 each).
    """
    count = get_method("telly", frozen_blocks=frozen).count(load_shape("roberta-base"))
    norms, task_layers = (12 - frozen) * 2 * 2 * 768, 2 * (768 * 768 + 768)
    assert count.trained_parameters + norms + task_layers == published
    assert count.cells_trained == (12 - frozen) * (4 * 768**2 + 2 * 768 * 3072)


@pytest.mark.parametrize("frozen", [0, 1])
def test_gradient_is_that_of_the_model_with_its_lower_blocks_frozen(backbone, examples, frozen):
    adaptation = attach(backbone, frozen_blocks=frozen)
    model = copy.deepcopy(backbone.module).requires_grad_(False)
    upper = [name for name in adaptation.state if not name.startswith("head.")]
    assert {int(name.split(".")[2]) for name in upper} == set(range(frozen, 2))
    theirs = {name if name.endswith(".bias") else f"{name}.weight": name for name in upper}
    for name in theirs:
        model.get_parameter(name).requires_grad_(True)
    assert len(theirs) == 12 * (2 - frozen)
    ids, mask, labels = examples.tensors()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    head = {name: adaptation.state[f"head.{name}"].detach() for name in ("weight", "bias")}
    F.cross_entropy(F.linear(features, **head), labels).backward()
    F.cross_entropy(adaptation.module(ids, mask), labels).backward()
    for name, own in theirs.items():
        torch.testing.assert_close(adaptation.state[own].grad, model.get_parameter(name).grad, rtol=0, atol=1e-12)


def test_nothing_frozen_is_full_fine_tuning(backbone, examples):
    states = []
    for name, options in (("telly", {"frozen_blocks": 0}), ("full", {})):
        adaptation = get_method(name, **options).attach(backbone, 3, np.random.default_rng(0))
        train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
        states.append(adaptation.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("placement", [Placement.NVM_TASK, Placement.NVM_STEP])
def test_what_is_frozen_is_the_backbone_bit_by_bit(backbone, examples, placement):
    adaptation = attach(backbone, placement)
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
    moved = set()
    for name, tensor in adaptation.cell_tensors.items():
        if not torch.equal(tensor, backbone.module.get_submodule(name).weight):
            moved.add(int(name.split(".")[2]))
        elif name.startswith("encoder.layer.0."):
            assert tensor.data_ptr() == backbone.module.get_submodule(name).weight.data_ptr()
    assert moved == {1}
    embeddings = dict(adaptation.module.encoder.embeddings.named_parameters())
    assert all(torch.equal(value, backbone.module.get_parameter(f"embeddings.{n}")) for n, value in embeddings.items())


def test_the_gradient_ends_in_front_of_the_first_trained_block():
    shape = load_shape("bert-base-uncased")
    plan = get_method("telly", frozen_blocks=5).plan(shape, placement=Placement.NVM_STEP)
    blocks = [int(name.split(".")[2]) for name in plan.transposed]
    # Of the lowest trained block what reads its inputs (query, key, value) is not read from behind.
    assert (min(blocks), blocks.count(5), blocks.count(6)) == (5, 3, 6)
    assert plan.rewritten == tuple(x.name for block in shape.blocks[5:] for x in block.linears)
    full = get_method("full").plan(shape, placement=Placement.NVM_STEP)
    # Attention's four products of a pair of tokens; full's first block reaches queries, keys and values alike.
    assert plan.backward_work.per_pair == 7 * 4 * 768
    assert full.backward_work.per_pair == 12 * 4 * 768


def test_the_lower_half_unless_told_otherwise():
    half = get_method("telly")
    assert [half.frozen_of(load_shape(name)) for name in ("minilm", "bert-base-uncased", "flan-t5-base")] == [3, 6, 6]
    decoder = [x for x in half.linears(load_shape("flan-t5-base")) if x.name.startswith("decoder")]
    assert len(decoder) == sum(x.name.startswith("decoder") for x in load_shape("flan-t5-base").linears)


def test_refusals(backbone):
    with pytest.raises(UsageError, match=r"frozen_blocks of telly must be 0 or more, or -1.*; got -2"):
        get_method("telly", frozen_blocks=-2)
    with pytest.raises(UsageError, match="frozen_blocks of telly is 2, and tiny has 2 blocks: give at most 1"):
        attach(backbone, frozen_blocks=2)
    with pytest.raises(UsageError, match="telly is 12, and flan-t5-base has 12 in its encoder: give at most 11"):
        get_method("telly", frozen_blocks=12).plan(load_shape("flan-t5-base"))


@pytest.mark.parametrize("inner", [1, 2])
def test_shared_blocks_below_are_never_reached_unless_they_run_again_behind(backbone, inner):
    """ALBERT: two groups of one or two blocks, each of which runs twice; of the lowest half nothing is trained."""
    config = AlbertConfig(
        vocab_size=40, embedding_size=8, hidden_size=16, num_hidden_layers=4, num_hidden_groups=2,
        inner_group_num=inner, num_attention_heads=2, intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    module = AlbertModel(config, add_pooling_layer=False).double().eval()
    adaptation = attach(replace(backbone, module=module), frozen_blocks=2 * inner - 1)
    behind = []

    def look(cell, x, weight):
        behind.extend([cell] if x.requires_grad else [])
        return exact_reader(cell, x, weight)

    adaptation.use(look)
    ids = torch.randint(1, 38, (2, 7))
    adaptation.module(ids, torch.ones_like(ids))
    assert sorted(behind) == sorted(adaptation.plan.transposed)
    assert {name.split(".")[2] for name in behind} == {"1"}
