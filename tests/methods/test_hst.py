"""HST against its equations with torch's own layers, the released code's count, and the bytes that torch keeps."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.hierarchy import resampled
from edge_adapt.workloads.named_shapes import load_shape
from torch import nn

WIDTHS, HEADS = (32, 48), (2, 4)  # of a model of two blocks: a stage for each


def attach(base, spread=0.1, **options):
    """The method on a backbone, its state moved from the start at random."""
    adaptation = get_method("hst", **options).attach(base, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(spread * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


def states_of(base, pixels):
    return base.module(pixel_values=pixels, output_hidden_states=True).hidden_states


def expected(state, hidden, grid):
    """Features (batch, 48) of hidden states with a [CLS] in front, with attention, convolutions and norms of torch."""

    def linear(name, x):
        return F.linear(x, state[name], state[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def patches(x, side):
        own = math.isqrt(x.shape[1] - 1)
        image = x[:, 1:].transpose(1, 2).reshape(len(x), -1, own, own)
        return F.interpolate(image, (side, side), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)

    x = norm("side.stage0.embed_norm", linear("side.stage0.embed", patches(hidden[0], grid)))
    for stage, (width, heads) in enumerate(zip(WIDTHS, HEADS, strict=True)):
        if stage:
            image = x.transpose(1, 2).reshape(len(x), -1, grid, grid)
            image = F.conv2d(image, state["side.stage1.embed"], state["side.stage1.embed.bias"], stride=2, padding=1)
            grid = image.shape[-1]
            x = norm("side.stage1.embed_norm", image.flatten(2).transpose(1, 2))
        own = f"side.{stage}."
        attention = nn.MultiheadAttention(width, heads, batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            names = [f"{own}{part}" for part in ("query", "key", "value")]
            attention.in_proj_weight.copy_(torch.cat([state[name] for name in names]))
            attention.in_proj_bias.copy_(torch.cat([state[f"{name}.bias"] for name in names]))
            attention.out_proj.weight.copy_(state[f"{own}output"])
            attention.out_proj.bias.copy_(state[f"{own}output.bias"])
        local = linear(f"side.stage{stage}.bridge", patches(hidden[stage + 1], grid))
        meta = norm(f"{own}meta_norm", linear(f"side.stage{stage}.bridge", hidden[stage + 1][:, :1]))
        known = torch.cat([meta, local.mean(1, keepdim=True)], 1)
        x = x + attention(norm(f"{own}attention_norm", x), known, known, need_weights=False)[0] + local
        x = x + linear(f"{own}ffn_down", F.gelu(linear(f"{own}ffn_up", norm(f"{own}ffn_norm", x))))
        x = norm(f"side.stage{stage}.end_norm", x)
    return x.mean(1)


@pytest.mark.parametrize("grid", [1, 2, 5, 14])
def test_the_equations_with_layers_of_torch(image_backbone, pictures, grid):
    pixels, mask, _ = pictures.tensors()
    adaptation = attach(image_backbone, grid=grid)
    found = adaptation.module.features(pixels, mask)
    assert found.shape == (len(pixels), 48)
    wanted = expected(adaptation.state, states_of(image_backbone, pixels), grid)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_resampling():
    """The same places as the patches: as they are; half as many to a side: means of four; a constant stays one."""
    patches = torch.randn(2, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert resampled(patches, 4) is patches
    means = patches.unflatten(1, (2, 2, 2, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(resampled(patches, 2), means, rtol=0, atol=1e-12)
    torch.testing.assert_close(resampled(torch.ones(1, 9, 2), 7), torch.ones(1, 49, 2))


def test_it_starts_without_attention_and_feed_forward(image_backbone, pictures):
    """Their last matrices are 0: the stream is what the blocks put out, made narrow and added up, between norms."""
    pixels, mask, _ = pictures.tensors()
    adaptation = get_method("hst", grid=2).attach(image_backbone, 3, np.random.default_rng(0))
    plain = adaptation.module.features(pixels, mask)
    with torch.no_grad():
        for name, value in adaptation.state.items():
            if any(part in name for part in ("query", "key", "value", "ffn_up", "meta_norm")):
                value.add_(1.0)
    torch.testing.assert_close(adaptation.module.features(pixels, mask), plain, rtol=0, atol=0)


def test_the_meta_token_is_the_models_own(image_backbone, pictures):
    """No meta token is trained, and none enters the backbone: [CLS] is looked at, and moves the answer."""
    pixels, mask, _ = pictures.tensors()
    adaptation = attach(image_backbone, grid=2)
    states = adaptation.module.observe(pixels, mask)
    assert all(torch.equal(a, b) for a, b in zip(states, states_of(image_backbone, pixels), strict=True))
    moved = tuple(torch.cat([state[:, :1] + 1, state[:, 1:]], 1) for state in states)
    found, other = (adaptation.module.features_of(of, mask) for of in (states, moved))
    assert (found - other).abs().max() > 1e-3
    assert torch.equal(found, adaptation.module.features_of((states[0] * 1, *states[1:]), mask))


def test_the_count_beside_that_of_the_released_code():
    """ViT-B, by hand: what the code trains without its head is 764,840; here without meta tokens, norms and stem."""
    widths = (32, 48, 64, 72)
    attention = [4 * (w * w + w) for w in widths]
    feed_forward = [w * 4 * w + 4 * w + 4 * w * w + w for w in widths]
    blocks = sum(3 * (a + f + 2 * 2 * w) for a, f, w in zip(attention, feed_forward, widths, strict=True))
    embeds = sum(9 * a * b + b + 2 * b for a, b in pairwise(widths))
    bridges, ends, metas = sum(768 * w + w for w in widths), 2 * sum(widths), 3 * 2 * sum(widths)
    shared = blocks + embeds + bridges + ends + metas
    stem = 3 * 32 * 9 + 2 * 32 + (32 * 32 * 4 + 32) + 2 * 32  # two convolutions, BatchNorm, LayerNorm
    assert shared + stem == 718_760
    assert shared + stem + 12 * 768 + 12 * 2 * 2 * 768 == 764_840
    first = 768 * 32 + 32 + 2 * 32
    count = get_method("hst").count(load_shape("vit-base-patch16-224"))
    assert (first, count.trained_parameters) == (24_672, shared + first) == (24_672, 738_312)
    assert count.cells_trained == count.cells_frozen == 0
    shape = load_shape("vit-base-patch16-224")
    bare = get_method("hst").count(dataclasses.replace(shape, front_tokens=0))
    assert count.trained_parameters - bare.trained_parameters == metas  # without a [CLS] there is no meta token


@pytest.mark.parametrize("grid", [2, 4])
def test_bytes_that_are_saved_for_the_backward_pass(image_backbone, grid):
    """By torch's own hooks, each storage once, against a formula by hand: of each stage what enters and leaves a
    product, a norm or gelu. Of the backbone only what enters the bridges, and nothing else of it.
    """
    adaptation, saved = attach(image_backbone, grid=grid), {}
    pixels = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    own = {p.untyped_storage().data_ptr() for p in adaptation.module.parameters()}

    def note(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.is_floating_point():
            saved[place] = tensor.untyped_storage().nbytes()
        return tensor

    states = adaptation.module.observe(pixels, torch.ones(3, 5, dtype=torch.int64))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        adaptation.module.side(states, attention_mask=None)
    hidden, total = 16, 0
    for stage, (width, heads, side) in enumerate(zip(WIDTHS, HEADS, (grid, (grid + 1) // 2), strict=True)):
        places = side**2
        total += places * hidden + 5 * hidden  # what the bridge takes: the places, and the state for its [CLS]
        # What enters the first linear, or the convolution: the stream of the stage before.
        total += grid**2 * WIDTHS[0] if stage else places * hidden
        norms = places * (width + 2)  # what enters a norm, its mean and its deviation
        total += 2 * norms  # in front of the blocks, and behind
        total += 2 * norms + width + 2  # of the block, with the meta token's
        total += places * width + 2 * width  # what enters the queries; what keys and values look at
        total += places * width + 2 * 2 * width + 2 * heads * places  # queries, keys, values, weights
        total += places * width  # what they come to
        total += places * width + 2 * places * 4 * width  # what enters the feed-forward layer, gelu and its last matrix
    assert sum(saved.values()) == 8 * 3 * total


def test_its_stages_follow_the_blocks():
    for blocks, sizes in ((12, [3, 3, 3, 3]), (24, [6, 6, 6, 6]), (2, [1, 1]), (5, [1, 1, 1, 2])):
        shape = load_shape("vit-s")
        shape = dataclasses.replace(shape, blocks=tuple((shape.blocks * 2)[:blocks]))
        stages = get_method("hst")._stages(shape)
        assert [len(stage.blocks) for stage in stages] == sizes
        assert [stage.side for stage in stages] == [14, 7, 4, 2][: len(sizes)]
        assert [block for stage in stages for block in stage.blocks] == list(range(blocks))
    plan = get_method("hst").plan(load_shape("vit-s"))
    assert plan.levels == tuple(range(13)) and plan.head[1] == 72 and plan.cached
    assert plan.transposed == plan.rewritten == () and plan.read == plan.backbone


def test_what_cannot_be_is_refused():
    for grid in (0, 65, -1):
        with pytest.raises(UsageError, match=f"grid of hst must be from 1 to 64; got {grid}"):
            get_method("hst", grid=grid)
    with pytest.raises(UsageError, match="hst is for models of images, and minilm reads texts; for texts take lst"):
        get_method("hst").plan(load_shape("minilm"))
    with pytest.raises(UsageError, match="placement for hst"):
        get_method("hst").choose_placement(Placement.NVM_STEP)
