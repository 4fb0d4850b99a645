"""LoRA against the peft library."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.plan import target_linears


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rank", "alpha"), [(3, 6.0), (5, 2.0)])
def test_same_output_and_gradient_as_peft(backbone, examples, rank, alpha):
    peft = pytest.importorskip("peft")
    adaptation = get_method("lora", rank=rank, alpha=alpha).attach(backbone, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        layer.lora_A["default"].weight.data = adaptation.state[f"{name}.lora_a"].detach().clone()
        layer.lora_B["default"].weight.data = adaptation.state[f"{name}.lora_b"].detach().clone()

    ids, mask, labels = examples.tensors()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = F.linear(features, adaptation.state["head.weight"].detach(), adaptation.state["head.bias"].detach())
    got = adaptation.module(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    F.cross_entropy(expected, labels).backward()
    F.cross_entropy(got, labels).backward()
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for ours, theirs in (("lora_a", layer.lora_A), ("lora_b", layer.lora_B)):
            gradient = adaptation.state[f"{name}.{ours}"].grad
            torch.testing.assert_close(gradient, theirs["default"].weight.grad, rtol=1e-8, atol=1e-12)


def test_targets_by_role(backbone):
    shape = backbone.shape
    ends = [linear.name.removeprefix("encoder.layer.0.") for linear in target_linears(shape)[:2]]
    assert ends == ["attention.self.query", "attention.self.value"]
    assert [shape.block_of(linear.name) for linear in target_linears(shape)] == [0, 0, 1, 1]
    with pytest.raises(UsageError, match="has no linear layer that is ffn_gate"):
        target_linears(shape, ["ffn_gate"])
    with pytest.raises(UsageError, match=r"has no linear layer .encoder\.dense."):
        shape.block_of("encoder.dense")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ("quary", r"unknown role in targets of lora 'quary'; did you mean 'query'"),
        ("value, value", "targets of lora names value twice"),
        (" , ", "targets of lora names no role; allowed: query, key"),
        ("query_key_value", "unknown role in targets of lora"),
    ],
)
def test_targets_that_are_none(roles, message):
    with pytest.raises(UsageError, match=message):
        get_method("lora", targets=roles)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("roles", "names"),
    [("query,value,ffn_up", ["query", "value", "intermediate.dense"]),
     ("attention_output", ["attention.output.dense"])],
)  # fmt: skip
def test_targets_are_those_of_peft(backbone, examples, roles, names):
    """As many trained numbers as peft has, on the same linears, under the count from shapes."""
    peft = pytest.importorskip("peft")
    method = get_method("lora", rank=3, targets=roles)
    adaptation = method.attach(backbone, 2, np.random.default_rng(0))
    config = peft.LoraConfig(r=3, target_modules=names)
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config)
    theirs = {name.partition(".lora_A")[0].removeprefix("base_model.model.") for name, _ in model.named_parameters()
              if ".lora_A" in name}  # fmt: skip
    ours = {name.removesuffix(".lora_a") for name in adaptation.state if name.endswith(".lora_a")}
    assert theirs == ours
    assert all(any(name.endswith(end) for end in names) for name in ours)
    numbers = {name: sum(backbone.module.get_submodule(name).weight.shape) for name in ours}
    assert adaptation.trained_parameters == 3 * sum(numbers.values())
    assert method.count(backbone.shape, rank=3).trained_parameters == adaptation.trained_parameters
