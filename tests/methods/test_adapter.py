"""Bottleneck adapters against modules of torch, finite differences, and counts by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.workloads.named_shapes import load_shape
from torch import nn

BOTH = "attention_output,ffn_down"
PLACES = ["attention_output", "ffn_down", BOTH]
MODULES = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def attach(backbone, placement=Placement.DIGITAL, **options):
    """The method on a backbone with every number of its state drawn at random."""
    adaptation = get_method("adapter", **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def followed(backbone, targets):
    """Names of the linears that adapters follow, by what they are called in BERT."""
    attention = [f"encoder.layer.{block}.attention.output.dense" for block in range(2)]
    ffn = [f"encoder.layer.{block}.output.dense" for block in range(2)]
    return {"attention_output": attention, "ffn_down": ffn, BOTH: sorted(attention + ffn)}[targets]


@pytest.mark.parametrize("targets", PLACES)
@pytest.mark.parametrize(("activation", "reduction"), [("relu", 4), ("gelu", 16), ("silu", 3)])
@pytest.mark.parametrize("placement", [Placement.DIGITAL, Placement.NVM_TASK])
def test_same_logits_and_gradient_as_modules_of_torch(backbone, examples, targets, activation, reduction, placement):
    """The oracle is transformers' own model whose sublayer outputs pass h + up(act(down(h))), by hooks."""
    options = {"targets": targets, "activation": activation, "reduction": reduction}
    adaptation = attach(backbone, placement, **options)
    model, theirs = copy.deepcopy(backbone.module).requires_grad_(False), {}
    for name in followed(backbone, targets):
        narrow = 16 // reduction
        down, up = nn.Linear(16, narrow).double(), nn.Linear(narrow, 16).double()
        network = nn.Sequential(down, MODULES[activation](), up)
        model.get_submodule(name).register_forward_hook(lambda _module, _args, h, network=network: h + network(h))
        theirs |= {f"{name}.adapter_down": down.weight, f"{name}.adapter_down_bias": down.bias}
        theirs |= {f"{name}.adapter_up": up.weight, f"{name}.adapter_up_bias": up.bias}
    own = [name for name in adaptation.trained_names if not name.startswith("head.")]
    assert set(own) == set(theirs)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(adaptation.state[name])
    ids, mask, labels = examples.tensors()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = F.linear(features, adaptation.state["head.weight"].detach(), adaptation.state["head.bias"].detach())
    got = adaptation.module(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(F.cross_entropy(got, labels), [adaptation.state[name] for name in own])
    others = torch.autograd.grad(F.cross_entropy(expected, labels), [theirs[name] for name in own])
    for name, one, other in zip(own, ours, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_the_gradient_is_that_of_finite_differences(backbone, examples):
    """gelu: smooth everywhere, so that central differences are exact to the square of the step."""
    adaptation = attach(backbone, targets=BOTH, activation="gelu", reduction=8)
    ids, mask, labels = examples.tensors()

    def loss():
        return F.cross_entropy(adaptation.module(ids, mask), labels)

    loss().backward()
    rng, step = np.random.default_rng(0), 1e-5
    for name in adaptation.trained_names:
        parameter = adaptation.state[name]
        numbers, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        place = int(rng.integers(len(numbers)))
        before, sides = float(numbers[place]), []
        with torch.no_grad():
            for side in (step, -step):
                numbers[place] = before + side
                sides.append(float(loss()))
            numbers[place] = before
        difference = (sides[0] - sides[1]) / (2 * step)
        assert float(gradient[place]) == pytest.approx(difference, rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("placement", get_method("adapter").placements)
@pytest.mark.parametrize("activation", list(MODULES))
def test_the_start_is_the_frozen_model_exactly(backbone, examples, placement, activation):
    ids, mask, _ = examples.tensors()
    method, rng = get_method("adapter", targets=BOTH, activation=activation), np.random.default_rng(0)
    got = method.attach(backbone, 3, rng, placement=placement).module.features(ids, mask)
    assert torch.equal(got, get_method("frozen").attach(backbone, 3, rng).module.features(ids, mask))


def test_counts_are_those_of_the_formula():
    """2 h b + b + h for each adapter. On BERT base with b = 768 / 16 = 48 the adapters library's seq_bn has 894,528
    numbers, and its double_seq_bn twice as many.
    """
    bert = load_shape("bert-base-uncased")
    one = 2 * 768 * 48 + 48 + 768
    single, double = get_method("adapter").count(bert), get_method("adapter", targets=BOTH).count(bert)
    assert single.trained_parameters == 12 * one == 894_528
    assert double.trained_parameters == 24 * one == 1_789_056
    assert single.trained == {"matrices": 12 * 2 * 768 * 48, "biases": 12 * (48 + 768)}
    assert (single.cells_trained, single.cells_frozen) == (12 * 2 * 768 * 48, 0)
    mini = load_shape("minilm")  # 384 wide, 6 blocks; 100 does not divide it, and 1000 leaves one number
    for reduction, narrow in ((1, 384), (100, 3), (1000, 1)):
        count = get_method("adapter", reduction=reduction).count(mini)
        assert count.trained_parameters == 6 * (2 * 384 * narrow + narrow + 384)


def test_an_adapter_in_cells_is_read_behind_its_linear():
    """Reads in the order of the plan, and the gradient of the first adapter stops at its narrow matrix."""
    shape = load_shape("bert-tiny")
    plan = get_method("adapter").plan(shape, placement="NVM_STEP")
    linears = [x.name for x in shape.linears if x.role == "ffn_down"]
    pairs = [name for x in linears for name in (f"{x}.adapter_down", f"{x}.adapter_up")]
    assert [name for name in plan.read if "adapter" in name] == pairs
    assert [name for name in plan.transposed if "adapter" in name] == pairs[1:]
    assert linears[0] not in plan.transposed and linears[1] in plan.transposed
    assert plan.adapted == dict.fromkeys(linears, 2)
    assert not get_method("adapter").plan(shape, placement="DIGITAL").extra


def test_what_cannot_be_is_refused():
    for options, message in (
        ({"reduction": 0}, "reduction of adapter must be at least 1; got 0"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"targets": "query"}, "role in targets of adapter 'query'"),
        ({"targets": "ffn_dwn"}, "did you mean 'ffn_down'"),
    ):
        with pytest.raises(UsageError, match=message):
            get_method("adapter", **options)
