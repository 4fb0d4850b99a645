"""IDPT against transformers' own model with a token put in front of its last block by a hook, and counts by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import exact_reader, get_method
from edge_adapt.workloads.named_shapes import load_shape
from torch.utils.flop_counter import FlopCounterMode

LAST = "encoder.layer.1"


def attach(base):
    """The method on a backbone, its state moved from the start at random."""
    adaptation = get_method("idpt").attach(base, 3, np.random.default_rng(0))
    adaptation.module.encoder.config._attn_implementation = "eager"
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


def with_token(base, pixels, token):
    """[CLS] of transformers' own model whose last block gets `token(patches)` (images, width) between [CLS] and
    patches.
    """
    model = copy.deepcopy(base.module)

    def put(_module, args):
        hidden = args[0]
        return (torch.cat([hidden[:, :1], token(hidden[:, 1:])[:, None], hidden[:, 1:]], 1), *args[1:])

    model.get_submodule(LAST).register_forward_pre_hook(put)
    return model(pixel_values=pixels).last_hidden_state[:, 0]


def test_a_generator_that_is_constant_is_a_token_at_that_place(image_backbone, pictures):
    adaptation, (pixels, mask, _) = attach(image_backbone), pictures.tensors()
    with torch.no_grad():
        adaptation.state["prompt.norm.weight"].zero_()
    bias = adaptation.state["prompt.norm.bias"].detach()
    token = torch.where(bias > 0, bias, 0.2 * bias)
    expected = with_token(image_backbone, pixels, lambda patches: token.expand(len(patches), -1))
    torch.testing.assert_close(adaptation.module.features(pixels, mask), expected, rtol=0, atol=1e-11)


def test_the_prompt_is_the_equation(image_backbone, pictures):
    adaptation, (pixels, mask, _) = attach(image_backbone), pictures.tensors()
    state = {name: value.detach().numpy() for name, value in adaptation.state.items()}

    def token(patches):
        found = []
        for own in patches.detach().numpy():
            x = own @ state["prompt.linear.weight"].T + state["prompt.linear.bias"]
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = x * state["prompt.norm.weight"] + state["prompt.norm.bias"]
            found.append(np.where(x > 0, x, 0.2 * x).max(0))
        return torch.tensor(np.stack(found))

    expected = with_token(image_backbone, pixels, token)
    found = adaptation.module.features(pixels, mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    plain = image_backbone.module(pixel_values=pixels).last_hidden_state[:, 0]
    assert (found - plain).abs().max() > 0.01


def test_the_order_of_the_patches_does_not_matter(image_backbone):
    prompt = attach(image_backbone).module.prompt
    patches = torch.randn(3, 9, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(prompt(patches), prompt(patches[:, order]), rtol=0, atol=1e-12)
    assert prompt(patches).shape == (3, 1, 16)


def test_the_gradient_passes_the_last_block_alone(image_backbone, pictures):
    """Every array of the last block is read from behind, and none of another; all products of autograd are planned:
    those of a token with an array, of the extra token too, and those outside. Gains scale each number of a patch.
    """
    adaptation, (pixels, mask, labels) = attach(image_backbone), (part[:2] for part in pictures.tensors())
    read, behind = [], []

    def look(cell, x, weight):
        read.append((cell, x.shape[1]))
        behind.extend([cell] if x.requires_grad else [])
        return exact_reader(cell, x, weight)

    adaptation.use(look)
    loss = F.cross_entropy(adaptation.module(pixels, mask), labels)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    plan, tokens = adaptation.plan, mask.numel()
    last = [x.name for x in image_backbone.shape.linears if x.name.startswith(LAST)]
    assert sorted(behind) == sorted(plan.transposed) == sorted(plan.late_read) == sorted(last)
    assert sorted(read) == sorted((name, 5 + (name in last)) for name in plan.read)
    passed = sum(a * b for a, b in (plan.matrices[name] for name in last))
    planned = plan.backward_work.macs(tokens, tokens * mask.shape[1], len(mask)) + passed * (tokens + len(mask))
    assert counter.get_total_flops() // 2 == planned - 16 * (tokens - len(mask))


def test_counts_by_hand():
    """A linear and a norm of the model's width."""
    count = get_method("idpt").count(load_shape("vit-s"))
    assert count.trained == {"matrices": 384**2, "vectors": 3 * 384}
    assert (count.cells_trained, count.cells_frozen) == (0, 0)


def test_texts_are_sent_elsewhere():
    with pytest.raises(UsageError, match=r"idpt is for models of images.*for texts take prompt-tuning"):
        get_method("idpt").plan(load_shape("minilm"))


def test_a_backward_pass_keeps_what_the_last_block_puts_out():
    plan = get_method("idpt").plan(load_shape("vit-s"))
    assert plan.kept_outputs == plan.kept_once == 4 * 384 + 1536 + 384
