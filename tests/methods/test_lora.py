"""LoRA against the peft library."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.base import target_linears


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
