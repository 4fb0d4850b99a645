"""MP+ against a model of transformers whose feed-forward layers are scaled and shifted by hooks, and counts by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import exact_reader, get_method
from edge_adapt.methods.plan import Size
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.workloads.named_shapes import load_shape
from torch.utils.flop_counter import FlopCounterMode

BLOCKS = {"text": "encoder.layer.{}", "image": "encoder.layer.{}.mlp"}


def attach(base, spread=0.2):
    """The method on a backbone, its state moved from the start at random."""
    adaptation = get_method("mp+", bottleneck=4).attach(base, 3, np.random.default_rng(0))
    adaptation.module.encoder.config._attn_implementation = "eager"
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(spread * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


@pytest.fixture(params=["text", "image"])
def kind(request):
    return request.param


@pytest.fixture
def base(kind, backbone, image_backbone):
    return {"text": backbone, "image": image_backbone}[kind]


@pytest.fixture
def data(kind, examples, pictures):
    return {"text": examples, "image": pictures}[kind]


def test_the_equations_by_hooks(base, data, kind):
    adaptation, (inputs, mask, _) = attach(base), data.tensors()
    model, state = copy.deepcopy(base.module), {k: v.detach() for k, v in adaptation.state.items()}
    ends = [x.name for x in base.shape.linears if x.role == "ffn_down"]
    starts = [x.name for x in base.shape.linears if x.role == "ffn_up"]
    for start, end in zip(starts, ends, strict=True):
        entered = []
        model.get_submodule(start).register_forward_pre_hook(lambda _m, args, entered=entered: entered.append(args[0]))

        def change(_module, _args, h, end=end, entered=entered):
            z = torch.clamp(entered[-1] @ state[f"{end}.psrp_down"].T, min=0)
            return (1 + z @ state[f"{end}.psrp_weight"].T) * h + z @ state[f"{end}.psrp_bias"].T

        model.get_submodule(end).register_forward_hook(change)
    given = {"input_ids": inputs, "attention_mask": mask} if kind == "text" else {"pixel_values": inputs}
    last = model(**given).last_hidden_state
    torch.testing.assert_close(adaptation.module.observe(inputs, mask)[0], last, rtol=0, atol=1e-10)
    with_moments = get_method("mp").attach(base, 3, np.random.default_rng(0))
    for name, value in with_moments.state.items():
        value.data.copy_(state[name])
    torch.testing.assert_close(
        adaptation.module(inputs, mask), with_moments.module(inputs, mask, (last,)), rtol=0, atol=1e-9
    )


def test_the_start_is_the_backbone_exactly(base, data):
    inputs, mask, _ = data.tensors()
    plus = get_method("mp+").attach(base, 3, np.random.default_rng(0))
    frozen = get_method("frozen").attach(base, 3, np.random.default_rng(0))
    assert torch.equal(plus.module.observe(inputs, mask)[0], frozen.module.observe(inputs, mask)[0])


def test_products_and_reads_of_the_backward_pass(base, data, kind):
    """Products outside the arrays, those that scale aside; and the arrays that the gradient is read through."""
    adaptation = attach(base)
    inputs, mask, labels = (part[:2] for part in data.tensors())
    if kind == "text":
        inputs, mask = inputs[:, :5], torch.ones_like(inputs[:, :5])
    behind, gains, scaled = [], [], [0]

    def look(cell, x, weight):
        behind.extend([cell] if x.requires_grad else [])
        y = exact_reader(cell, x, weight)
        if f"{cell}.psrp_weight" in adaptation.state:
            scaled[0] += y.numel() * (1 + y.requires_grad)
        return y

    adaptation.use(look)
    adaptation.module.side.moments.parts["norm"].register_forward_hook(lambda _m, _a, out: gains.append(out.numel()))
    loss = F.cross_entropy(adaptation.module(inputs, mask), labels)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    plan, tokens = adaptation.plan, mask.numel()
    read = tokens * sum(a * b for a, b in (plan.matrices[name] for name in plan.transposed))
    planned = plan.backward_work.macs(tokens, tokens * mask.shape[1], len(mask)) + read
    assert counter.get_total_flops() // 2 == planned - sum(gains) - scaled[0]
    assert sorted(behind) == sorted(plan.transposed)


@pytest.mark.parametrize(("classes", "total"), [(1000, 4_047_146), (10, 430_676)])
def test_the_counts_of_the_authors_code(classes, total):
    """36,864 numbers in each block of ViT-B: three matrices of 768 x 16."""
    plan = get_method("mp+").plan(load_shape("vit-base-patch16-224"), Size(classes=classes))
    assert sum(plan.trained_by_group.values()) + plan.head_numbers == total + 12 * 36_864
    assert plan.trained_by_group["recalibration"] == 12 * 3 * 768 * 16


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"bottleneck of mp\+ must be at least 1; got 0"):
        get_method("mp+", bottleneck=0)
    with pytest.raises(UsageError, match=r"mp\+ has a head of second moments"):
        require_in_bundles(get_method("mp+"))
