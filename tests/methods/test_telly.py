"""Telly against transformers' own model with its lower blocks frozen, the paper's counts, and full fine-tuning."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, exact_reader, get_method
from edge_adapt.methods.training.trainer import train
from edge_adapt.studies.count import Counter as Counting
from edge_adapt.studies.count import adaptation_events
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.samples import program_sample
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


@pytest.fixture(params=["text", "image"])
def base(request, backbone, image_backbone, examples, pictures):
    return {"text": (backbone, examples), "image": (image_backbone, pictures)}[request.param]


@pytest.mark.parametrize("optimiser", ["sgd", "mezo"])
def test_stored_states_change_nothing_but_what_is_read(base, optimiser):
    """With exact reads, to the rounding of sums in batches of other lengths. These images leave nothing to crop."""
    backbone, data = base
    states, reads = [], []
    for cached in (True, False):
        adaptation, seen = attach(backbone, cache_features=cached), Counter()

        def look(name, x, weight, seen=seen):
            seen[name.split(".")[2]] += 1
            return exact_reader(name, x, weight)

        adaptation.use(look)
        recipe = adaptation.recipe.with_options(optimiser=optimiser, epochs=2, clip_norm=1e9)
        recipe = replace(recipe, learning_rates=dict.fromkeys(recipe.learning_rates, 1e-3))
        log = train(adaptation, data.encoded, data.labels, np.random.default_rng(1), recipe=recipe)
        states.append(adaptation.state_dict())
        reads.append(seen)
        assert (log.stored_trained.sequences + log.stored_only.sequences > 0) == cached
        assert log.steps == 4
    passes = {"sgd": 1, "mezo": 2}[optimiser]
    assert reads[0] == {"0": 6, "1": 6 + 6 * 4 * passes}
    assert reads[1] == dict.fromkeys("01", 6 + 6 * 4 * passes)
    start = attach(backbone).state_dict()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-11)
        moved = not name.endswith(("key.bias", "k_proj.bias"))  # softmax does not see it
        assert not moved or not torch.equal(value, start[name])


def test_events_of_stored_states_by_hand():
    """BERT base with 5 of 12 blocks frozen: its 100 texts pass them once, and the upper 7 once and in 8 epochs."""
    shape = load_shape("bert-base-uncased")
    chip = load_chip("reram")
    counter, config = Counting(chip, program_sample(chip)), CountConfig(examples=100, tokens=20, classes=2)
    plans = [
        get_method("telly", frozen_blocks=5, cache_features=cached).plan(shape, placement=Placement.NVM_STEP)
        for cached in (True, False)
    ]
    counted = [adaptation_events(config, counter, plan)[0] for plan in plans]
    assert counted[0].reads == 100 * 20 * 6 * (12 + 8 * 7)
    assert counted[1].reads == 100 * 20 * 6 * (12 + 8 * 12)
    assert counted[0].transposed_reads == counted[1].transposed_reads == 100 * 20 * 8 * (6 * 7 - 3)
    # Of attention a step does that of the upper blocks: two products forward, for each pair of tokens.
    spared = 8 * 100 * 20 * 20 * 2 * 768 * 5
    assert counted[1].digital_macs - counted[0].digital_macs == spared
    assert plans[0].kept_outputs == 768 + 7 * (5 * 768 + 3072)
    assert plans[1].kept_outputs == 7 * (5 * 768 + 3072)


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
