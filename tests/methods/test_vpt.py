"""VPT: against a forward pass written out block by block, the paper's counts and bounds, and its head."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from edge_adapt import cli
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.recipes import Recipe
from edge_adapt.methods.training.optimisers.mezo import Mezo
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.named_shapes import load_shape

PROMPTS, WIDTH, BLOCKS, TOKENS = 3, 16, 2, 5


def attach(backbone, name="vpt", seed=0, **options):
    method = get_method(name, **{"prompts": PROMPTS, **options})
    return method.attach(backbone, 3, np.random.default_rng(seed))


def written_out(backbone, pixels, prompts):
    """[CLS], prompts, patches through the blocks; `prompts`: for each block, new ones or None to go on with the old."""
    hidden = backbone.module.embeddings(pixels)
    lengths = []
    for layer, own in zip(backbone.module.encoder.layer, prompts, strict=True):
        if own is not None:
            patches = hidden[:, -(TOKENS - 1) :]
            hidden = torch.cat([hidden[:, :1], own.expand(len(hidden), *own.shape[-2:]), patches], 1)
        hidden = layer(hidden, None)
        lengths.append(hidden.shape[1])
    return backbone.module.layernorm(hidden)[:, 0], lengths


@pytest.mark.parametrize("name", ["vpt", "vpt-shallow"])
def test_features_are_those_of_the_equations(image_backbone, pictures, name):
    adaptation = attach(image_backbone, name)
    pixels, mask, _ = pictures.tensors()
    own = [adaptation.state[f"encoder.layer.{b}.prompts"] if name == "vpt" or not b else None for b in range(BLOCKS)]
    expected, lengths = written_out(image_backbone, pixels, own)
    torch.testing.assert_close(adaptation.module.features(pixels, mask), expected, rtol=0, atol=1e-12)
    assert set(lengths) == {TOKENS + PROMPTS}
    base = image_backbone.module(pixel_values=pixels).last_hidden_state[:, 0]
    assert not torch.allclose(expected, base)


def test_the_sequence_keeps_its_length_in_every_block(image_backbone, pictures):
    for name in ("vpt", "vpt-shallow"):
        adaptation, seen = attach(image_backbone, name), []
        for layer in adaptation.module.encoder.encoder.layer:
            layer.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.shape[1]))
        adaptation.module.features(*pictures.tensors()[:2])
        assert seen == [TOKENS + PROMPTS] * BLOCKS
        assert adaptation.extra_tokens == PROMPTS


def test_deep_with_what_shallow_propagates_is_shallow(image_backbone, pictures):
    """A deep VPT that is fed, for one image, what the shallow one's first block makes of its prompts."""
    pixels, mask, _ = (tensor[:1] for tensor in pictures.tensors())
    shallow, deep = attach(image_backbone, "vpt-shallow"), attach(image_backbone, "vpt", seed=5)
    made = []
    first = shallow.module.encoder.encoder.layer[0]
    first.register_forward_hook(lambda _m, _i, out: made.append(out[0, 1 : 1 + PROMPTS]))
    expected = shallow.module.features(pixels, mask)
    with torch.no_grad():
        deep.state["encoder.layer.0.prompts"].copy_(shallow.state["encoder.layer.0.prompts"])
        assert not torch.allclose(deep.module.features(pixels, mask), expected)
        deep.state["encoder.layer.1.prompts"].copy_(made[0])
    torch.testing.assert_close(deep.module.features(pixels, mask), expected, rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences(image_backbone, pictures):
    adaptation = attach(image_backbone)
    pixels, mask, labels = pictures.tensors()
    with torch.no_grad():
        adaptation.state["head.weight"].normal_(generator=torch.Generator().manual_seed(0))
    loss = lambda: torch.nn.functional.cross_entropy(adaptation.module(pixels, mask), labels)
    loss().backward()
    rng = np.random.default_rng(0)
    for block in range(BLOCKS):
        prompts = adaptation.state[f"encoder.layer.{block}.prompts"]
        assert prompts.grad is not None
        direction = torch.from_numpy(rng.normal(size=tuple(prompts.shape)))
        with torch.no_grad():
            prompts.add_(1e-5 * direction)
            above = loss()
            prompts.sub_(2e-5 * direction)
            below = loss()
            prompts.add_(1e-5 * direction)
        assert float((prompts.grad * direction).sum()) == pytest.approx(float(above - below) / 2e-5, rel=1e-6)


def test_initial_bound(image_backbone):
    drawn = attach(image_backbone, prompts=200).state_dict()
    prompts = torch.cat([prompts.flatten() for name, prompts in drawn.items() if "prompts" in name])
    bound = math.sqrt(6 / (3 * 4**2 + WIDTH))
    assert bound * 0.99 < float(prompts.abs().max()) <= bound
    assert float(prompts.var()) == pytest.approx(bound**2 / 3, rel=0.05)
    first, second = (attach(image_backbone).state[f"encoder.layer.{b}.prompts"] for b in range(BLOCKS))
    assert not torch.equal(first, second)


def test_head_of_the_paper(image_backbone, pictures):
    """Kaiming-normal weights by fan-out, -4.595 as every bias; it stays unless it is trained."""
    wide = get_method("vpt", paper_head=True).attach(image_backbone, 500, np.random.default_rng(0))
    assert wide.state["head.bias"].tolist() == pytest.approx([-4.59512] * 500, abs=1e-5)
    assert float(wide.state_dict()["head.weight"].std()) == pytest.approx(math.sqrt(2 / 500), rel=0.03)
    still = dataclasses.replace(get_method("vpt").recipe, epochs=0)
    for paper_head in (True, False):
        adaptation = attach(image_backbone, paper_head=paper_head)
        before = adaptation.state_dict()["head.weight"]
        train(adaptation, pictures.encoded, pictures.labels, np.random.default_rng(1), recipe=still)
        assert torch.equal(adaptation.state["head.weight"], before) is paper_head


def test_dropout_is_on_in_gradient_steps_and_nowhere_else(image_backbone, pictures):
    pixels, mask, _ = pictures.tensors()
    adaptation, plain = attach(image_backbone, dropout=0.5), attach(image_backbone)
    torch.testing.assert_close(
        adaptation.module.features(pixels, mask), plain.module.features(pixels, mask), rtol=0, atol=1e-11
    )
    seen = []
    first = adaptation.module.encoder.encoder.layer[0]
    first.register_forward_pre_hook(lambda _m, args, kwargs: seen.append(args[0]), with_kwargs=True)
    own = plain.state["encoder.layer.0.prompts"]
    with adaptation.dropping():
        adaptation.module.features(pixels, mask)
    prompts = seen[-1][:, 1 : 1 + PROMPTS]
    kept = prompts != 0
    assert float(kept.double().mean()) == pytest.approx(0.5, abs=0.06)
    torch.testing.assert_close(prompts[kept], (2 * own.expand_as(prompts))[kept])
    assert not adaptation.module.visual.training and not adaptation.module.encoder.training
    runs = []
    for dropout in (0.0, 0.5, 0.5):
        trained = attach(image_backbone, dropout=dropout)
        train(trained, pictures.encoded, pictures.labels, np.random.default_rng(1))
        runs.append(trained.state["encoder.layer.1.prompts"].detach())
    assert torch.equal(runs[1], runs[2]) and not torch.allclose(runs[0], runs[1])
    forward_only = Recipe({"prompts": 1e-3, "head": 1e-3}, epochs=1, optimiser=Mezo())
    states = []
    for dropout in (0.0, 0.5):
        trained = attach(image_backbone, dropout=dropout)
        train(trained, pictures.encoded, pictures.labels, np.random.default_rng(1), recipe=forward_only)
        states.append(trained.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_digital_work_of_an_image_has_patches_and_prompts_in_it(image_backbone):
    """4 patches through a convolution of 4 x 4 pixels; scores and sums over 5 + 3 tokens in 2 blocks; 3 classes."""
    work = attach(image_backbone).digital_macs(tokens=5, attention_pairs=25, training=False)
    assert work.forward == 4 * (3 * 4 * 4 * WIDTH) + BLOCKS * 2 * WIDTH * (5 + PROMPTS) ** 2 + 3 * WIDTH


@pytest.mark.parametrize(
    ("method", "prompts", "expected"),
    [("vpt", 50, 460_800), ("vpt-shallow", 50, 38_400), ("vpt", 10, 92_160), ("vpt-shallow", 1, 768)],
)
def test_published_counts(capsys, method, prompts, expected):
    count = get_method(method, prompts=prompts).count(load_shape("vit-base-patch16-224"))
    assert count.trained == {"prompts": expected}
    words = ["methods", "count", "--model", "vit-base-patch16-224", "--method", method, "--prompts", str(prompts)]
    assert cli.main(words) == 0
    assert f"{expected:,}" in capsys.readouterr().out


def test_wrong_models_and_options(backbone, image_backbone):
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="for texts take prompt-tuning"):
        get_method("vpt").attach(backbone, 2, rng)
    with pytest.raises(UsageError, match="for images take vpt"):
        get_method("prompt-tuning").attach(image_backbone, 2, rng)
    with pytest.raises(UsageError, match="vpt-shallow is for models of images, and minilm reads texts"):
        get_method("vpt-shallow").count(load_shape("minilm"))
    with pytest.raises(UsageError, match="placement for vpt"):
        get_method("vpt").attach(image_backbone, 2, rng, placement=Placement.NVM_TASK)
    with pytest.raises(UsageError, match="prompts of vpt-shallow must not be negative"):
        get_method("vpt-shallow", prompts=-1)
    with pytest.raises(UsageError, match="dropout of vpt must be 0 or more and below 1"):
        get_method("vpt", dropout=1.0)
