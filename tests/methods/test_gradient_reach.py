"""The digital work of a backward pass against what autograd really multiplies: nothing for frozen embeddings' sake."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.methods import METHODS, BackwardNeed, Placement, exact_reader, get_method
from edge_adapt.methods.layers import CellLinear, ChangedLinear
from edge_adapt.workloads.named_shapes import load_shape
from edge_adapt.workloads.shapes import BlockShape, LinearShape, ModelShape
from torch.utils.flop_counter import FlopCounterMode
from transformers import AlbertConfig, AlbertModel

SEQUENCES, LENGTH, CLASSES = 2, 7, 3
TOKENS = SEQUENCES * LENGTH
THROUGH = [
    name
    for name, method in METHODS.items()
    if method.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL)
    and "text" in method.kinds
    and method.plan(load_shape("bert-tiny")).side is None  # whose own products are counted in its test
]


def attached(backbone, make_pool, name, placement=None, **options):
    method = get_method(name, **options)
    adaptation = method.attach(
        backbone,
        CLASSES,
        np.random.default_rng(0),
        placement=placement,
        pool=make_pool() if method.needs_pool else None,
    )
    adaptation.module.encoder.config._attn_implementation = "eager"  # products that can be counted one by one
    return adaptation


def loss_of(adaptation):
    ids = torch.randint(1, 38, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 38, 39
    return F.cross_entropy(adaptation.module(ids, torch.ones_like(ids)), torch.tensor([0, 2]))


def backward_products(adaptation):
    """Multiply-adds of autograd's backward pass: (products with matrices, those of the attention)."""
    loss = loss_of(adaptation)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    found = counter.get_flop_counts()["Global"]
    assert set(found) <= {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm}
    return found[torch.ops.aten.mm] // 2, found.get(torch.ops.aten.bmm, 0) // 2


ROLES = ["query,value", "key", "attention_output", "ffn_up", "ffn_down", "value,ffn_up", "query,key,ffn_down"]
TARGETED = [(name, {"targets": roles}) for name in ("lora", "vera", "ia3", "tinylora", "hira") for roles in ROLES]


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in THROUGH), *TARGETED])
def test_gradients_of_the_attention(backbone, make_pool, name, options):
    adaptation = attached(backbone, make_pool, name, **options)
    pairs = SEQUENCES * (LENGTH + adaptation.extra_tokens) ** 2
    assert backward_products(adaptation)[1] == adaptation.backward_work.per_pair * pairs


@pytest.mark.parametrize(("name", "placement"), [("lora", "DIGITAL"), ("lora", "NVM_TASK"), ("full", "NVM_TASK")])
def test_gradients_of_trained_matrices_and_of_what_enters_them(backbone, make_pool, name, placement):
    adaptation = attached(backbone, make_pool, name, Placement(placement))
    frozen = []

    def look(module, args):
        if args[0].requires_grad and name != "full":
            frozen.append(module.weight.numel())

    for module in adaptation.module.modules():
        if isinstance(module, CellLinear):
            module.register_forward_pre_hook(look)
    products, _ = backward_products(adaptation)
    assert len(frozen) == (0 if name == "full" else 12 - 3)
    assert products == TOKENS * sum(frozen) + adaptation.backward_work.macs(TOKENS, 0, SEQUENCES)


@pytest.mark.parametrize("roles", ROLES)
def test_gradients_of_lora_by_role(backbone, make_pool, roles):
    """Of the matrices of a lora, and of their inputs where those come from something that is trained."""
    adaptation = attached(backbone, make_pool, "lora", Placement.DIGITAL, targets=roles)
    passed = [0]

    def look(module, args):
        if args[0].requires_grad:
            passed[0] += module.weight.numel()

    for module in adaptation.module.modules():
        if isinstance(module, CellLinear):
            module.register_forward_pre_hook(look)
    products, _ = backward_products(adaptation)
    assert products == TOKENS * passed[0] + adaptation.backward_work.macs(TOKENS, 0, SEQUENCES)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in THROUGH if METHODS[name].needs_pool),
        *(entry for entry in TARGETED if entry[0] in ("vera", "ia3")),
    ],
)
def test_gradients_of_what_vectors_scale(backbone, make_pool, name, options):
    """Two products for each number that is scaled, but one where what is scaled needs no gradient."""
    adaptation = attached(backbone, make_pool, name, **options)
    scaled = {linear.removesuffix(".scale"): vector for linear, vector in adaptation.state.items()}
    expected = []

    def look(cell, x, weight):
        y = exact_reader(cell, x, weight)
        if ".pool_a" in cell:
            expected.append(y.shape[-1] * (3 + y.requires_grad))  # the inner and the outer coefficients
        elif ".pool_b" in cell:
            expected.append(y.shape[-1] * (1 + y.requires_grad) if cell.replace("pool_b", "magnitude") in scaled else 0)
        # The inner activations are scaled in front.
        elif cell.startswith("vera.") or (cell in scaled and weight.shape[1] <= weight.shape[0]):
            expected.append(y.shape[-1] * (1 + y.requires_grad))
        return y

    def scaled_inner(module, args):
        expected.append(args[0].shape[-1] * (1 + args[0].requires_grad))

    roles = {linear.name: linear.role for linear in backbone.shape.linears}
    for module in adaptation.module.modules():
        inner = isinstance(module, ChangedLinear) and roles.get(module.cell_name) == "ffn_down"
        if inner and f"{module.cell_name}.scale" in adaptation.state:
            module.register_forward_pre_hook(scaled_inner)

    adaptation.use(look)
    loss_of(adaptation)
    assert adaptation.backward_work.per_token == sum(expected) > 0


def test_the_first_projections_of_every_stack():
    shape = load_shape("flan-t5-base")
    firsts = [linear.name for linear in shape.front({linear.name for linear in shape.linears}).entries]
    kinds = ("q", "k", "v")
    assert firsts == [f"{s}.block.0.layer.0.SelfAttention.{kind}" for s in ("encoder", "decoder") for kind in kinds]
    assert shape.front(set(firsts[1:])).spared == 768


def test_a_joint_projection_enters_as_a_whole():
    block = BlockShape("layers.0", (LinearShape("layers.0.Wqkv", "query_key_value", 48, 16, False),))
    shape = ModelShape("joint", "", "", 16, (block, replace(block, name="layers.1")))
    front = shape.front({"layers.0.Wqkv"})
    assert (front.entries, front.spared, shape.attention_numbers) == (block.linears, 0, 32)
    assert replace(shape, runs=3).front({"layers.0.Wqkv"}).entries == ()
    assert shape.with_roles(["value"]) == 2 * block.linears


@pytest.fixture(scope="module")
def shared(backbone):
    """A model whose two groups of one block run twice each."""
    config = AlbertConfig(
        vocab_size=40, embedding_size=8, hidden_size=16, num_hidden_layers=4, num_hidden_groups=2,
        num_attention_heads=2, intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = AlbertModel(config, add_pooling_layer=False).double().eval()
    return replace(backbone, module=module)


PLACED = [
    (name, place, options)
    for name, options in [*((name, {}) for name in THROUGH), *TARGETED]
    for place in METHODS[name].placements
    if place is not Placement.NVM_TASK  # whose training goes round cells
]


@pytest.mark.parametrize("kind", ["backbone", "shared"])
@pytest.mark.parametrize(("name", "placement", "options"), PLACED)
def test_what_is_read_and_what_is_read_from_behind(request, make_pool, kind, name, placement, options):
    """Each matrix as often as a pass reads it, and from behind as often as its input needs a gradient."""
    if kind == "shared" and METHODS[name].needs_pool:
        pytest.skip("the pool is one of BERT's")
    adaptation = attached(request.getfixturevalue(kind), make_pool, name, placement, **options)
    read, behind = [], []

    def look(cell, x, weight):
        read.append(cell)
        behind.extend([cell] if x.requires_grad else [])
        return exact_reader(cell, x, weight)

    adaptation.use(look)
    loss_of(adaptation)
    assert sorted(read) == sorted(adaptation.plan.read)
    if adaptation.plan.off_chip:  # training reads no cell
        assert adaptation.plan.transposed == adaptation.plan.read_in_training == ()
    else:
        assert sorted(behind) == sorted(adaptation.plan.transposed)
