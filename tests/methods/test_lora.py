"""LoRA against the peft library."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.base import block_of
from edge_adapt.methods.plan import targets
from edge_adapt.workloads.shapes import BlockShape, LinearShape, ModelShape


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


def test_targets_are_queries_and_values():
    linears = [LinearShape(f"block.3.{role}", role, 4, 4, True) for role in ("query", "key", "value", "ffn_up")]
    shape = ModelShape("tiny", "", "", 4, (BlockShape("block.3", tuple(linears)),))
    assert targets(shape) == [linears[0], linears[2]]
    with pytest.raises(UsageError, match="no query and value"):
        targets(ModelShape("tiny", "", "", 4, (BlockShape("block.3", (linears[1],)),)))


def test_blocks_by_name():
    assert [block_of(f"{name}.query") for name in ("encoder.layer.3.attention", "h.0")] == [3, 0]
    with pytest.raises(UsageError, match="no number"):
        block_of("encoder.dense")
