"""Features and heads: against numpy, and by methods that ask for those that no registered method has."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods.features import FEATURES, View, moments
from edge_adapt.methods.heads import HEADS, LinearHead
from edge_adapt.methods.library.bitfit import BitFit
from edge_adapt.methods.library.frozen import Frozen
from edge_adapt.methods.library.vpt import DeepVisualPromptTuning
from edge_adapt.methods.plan import Size
from edge_adapt.methods.recipes import Recipe
from edge_adapt.methods.spec import require_plan_in_bundles
from edge_adapt.workloads.families import POOLINGS
from torch.utils.flop_counter import FlopCounterMode

WIDTH, CLASSES = 16, 3
RECIPE = Recipe(learning_rates={}, epochs=0)
TRAINED = Recipe(learning_rates={"biases": 1e-3, "head": 3e-3})


@dataclass(frozen=True)
class Looking(Frozen):
    """`frozen` with features and a head of choice."""

    features: str = ""
    head: str = "linear"

    def part(self, shape, placement, size):
        return replace(super().part(shape, placement, size), features=self.features, head=self.head)


@dataclass(frozen=True)
class LookingBiases(BitFit):
    """`bitfit`, whose gradient passes the features, with features of choice."""

    features: str = "blocks"

    def part(self, shape, placement, size):
        return replace(super().part(shape, placement, size), features=self.features)


@pytest.fixture
def states():
    return torch.randn(3, 7, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    return (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()


def rows_of(states, mask):
    return [row[real.bool()].numpy() for row, real in zip(states, mask, strict=True)]


def test_features_of_a_text_are_numpys(states, mask):
    rows = rows_of(states, mask)
    expected = {
        "mean": [row.mean(0) for row in rows],
        "cls": [row[0] for row in rows],
        "last": [row[-1] for row in rows],
        "moments": [
            np.concatenate([row.mean(0), np.cov(row.T, bias=True)[np.triu_indices(WIDTH)]])
            for row in rows
        ],
    }  # fmt: skip
    for name, wanted in expected.items():
        found = FEATURES[name].of([states], mask, View())
        np.testing.assert_allclose(found, np.stack(wanted), rtol=0, atol=1e-12, err_msg=name)
        assert found.shape[1] == FEATURES[name].width(WIDTH, 1)
    blocks = FEATURES["blocks"].of([states, 2 * states], mask, View("cls"))
    np.testing.assert_array_equal(blocks, np.concatenate([states[:, 0], 2 * states[:, 0]], 1))


def test_the_covariance_is_symmetric_and_blind_to_padding(states, mask):
    mean, covariance = moments(states, mask)
    assert torch.equal(covariance, covariance.transpose(1, 2))
    assert torch.linalg.eigvalsh(covariance).min() > -1e-12
    assert not covariance[2].any(), "one token does not vary"
    for noise in (1.0, 1e6):
        noisy = torch.where(mask.bool().unsqueeze(-1), states, noise * torch.ones_like(states))
        torch.testing.assert_close(moments(noisy, mask), (mean, covariance), rtol=1e-12, atol=1e-12)
    shuffled = states[:, torch.randperm(7, generator=torch.Generator().manual_seed(1))]
    everything = torch.ones_like(mask)
    torch.testing.assert_close(
        moments(shuffled, everything), moments(states, everything), rtol=0, atol=1e-12
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mean", "cls", "last", "moments", "blocks"])
def test_padding_changes_no_feature(states, mask, name):
    feature, levels = FEATURES[name], [states, states + 1] if name == "blocks" else [states]
    found = feature.of(levels, mask, View())
    padded = [torch.cat([level, 5 + torch.zeros(3, 4, WIDTH)], 1) for level in levels]
    more = torch.cat([mask, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(feature.of(padded, more, View()), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("front", [0, 1, 5])
def test_features_of_an_image_leave_out_what_stands_in_front_of_its_patches(states, mask, front):
    view, patches = View("patches", images=True, front=front), states[:, front:].numpy()
    for name in ("mean", "patches"):
        np.testing.assert_allclose(FEATURES[name].of([states], mask, view), patches.mean(1), atol=1e-12)
    found = FEATURES["moments"].of([states], mask, view)[:, WIDTH:]
    expected = [np.cov(own.T, bias=True)[np.triu_indices(WIDTH)] for own in patches]
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-12)


def test_what_a_family_may_look_at_is_there():
    assert set(POOLINGS) <= FEATURES.keys()


def attach(method, base, **options):
    return method.attach(base, CLASSES, np.random.default_rng(0), **options)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_hidden_states_of_every_block(kind, request):
    """As transformers has them, but for the norm that DINOv2 has behind its last block; the head is as wide."""
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    inputs, mask, _ = request.getfixturevalue("examples" if kind == "text" else "pictures").tensors()
    adaptation = attach(Looking(recipe=RECIPE, features="blocks"), base)
    assert adaptation.plan.head == (CLASSES, 2 * WIDTH) == tuple(adaptation.state["head.weight"].shape)
    assert adaptation.plan.head_numbers == adaptation.head_parameters == CLASSES * (2 * WIDTH + 1)
    with torch.no_grad():
        found = adaptation.module.features(inputs, mask)
        named = {"input_ids": inputs, "attention_mask": mask} if kind == "text" else {"pixel_values": inputs}
        hidden = base.module(**named, output_hidden_states=True).hidden_states[1:]
        assert adaptation.module(inputs, mask).shape == (len(inputs), CLASSES)
    if kind == "text":
        expected = [(h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for h in hidden]
    else:
        expected = [h[:, 0] for h in hidden]
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_moments_of_a_model_and_their_work(kind, request):
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    inputs, mask, _ = request.getfixturevalue("examples" if kind == "text" else "pictures").tensors()
    adaptation, plain = (attach(Looking(recipe=RECIPE, features=f), base) for f in ("moments", ""))
    named = {"input_ids": inputs, "attention_mask": mask} if kind == "text" else {"pixel_values": inputs}
    with torch.no_grad():
        found = adaptation.module.features(inputs, mask)
        hidden = base.module(**named).last_hidden_state
    rows = rows_of(hidden, mask) if kind == "text" else list(hidden[:, 1:].numpy())
    expected = [np.concatenate([r.mean(0), np.cov(r.T, bias=True)[np.triu_indices(WIDTH)]]) for r in rows]
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-10)
    tokens = mask.shape[1] * len(mask)  # of a batch without padding
    plans = (adaptation.plan, plain.plan)
    more = [
        p.inference_work.macs(tokens, tokens * mask.shape[1], len(mask)) - p.head[0] * p.head[1] * len(mask)
        for p in plans
    ]
    with FlopCounterMode(display=False) as counter:
        moments(hidden[:, 0 if kind == "text" else 1 :], None)
    assert more[0] - more[1] == counter.get_total_flops() // 2


@pytest.mark.parametrize("features", ["blocks", "moments", "cls", "mean"])
def test_gradients_through_features_are_counted(backbone, features):
    """Products of the backward pass with no matrix: those of the head, the features and the attention."""
    adaptation, plain = (attach(LookingBiases(recipe=TRAINED, features=name), backbone) for name in (features, ""))
    ids = torch.randint(1, 38, (2, 7), generator=torch.Generator().manual_seed(0))

    def backward_macs(of):
        of.module.encoder.config._attn_implementation = "eager"
        loss = of.module(ids, torch.ones_like(ids)).square().sum()
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        return counter.get_total_flops() // 2

    planned = [a.plan.backward_work.macs(14, 98, 2) for a in (adaptation, plain)]
    assert backward_macs(adaptation) - backward_macs(plain) == planned[0] - planned[1]


def test_prompts_stand_in_front_of_the_patches_of_every_block(image_backbone, pictures):
    """Prompts are no patches: moments of an image with prompts are those of its patches alone."""

    @dataclass(frozen=True)
    class Prompted(DeepVisualPromptTuning):
        def part(self, shape, placement, size):
            return replace(super().part(shape, placement, size), features="moments")

    adaptation = attach(Prompted(recipe=Recipe(learning_rates={"prompts": 0.1, "head": 0.1})), image_backbone)
    pixels, mask, _ = pictures.tensors()
    seen = []
    adaptation.module.encoder.register_forward_hook(lambda _m, _a, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        found = adaptation.module.features(pixels, mask)
    expected = torch.stack([patches.mean(0) for patches in seen[0][:, -4:]])
    torch.testing.assert_close(found[:, :WIDTH], expected, rtol=0, atol=1e-12)
    assert seen[0].shape[1] == 1 + 10 + 4


def test_another_head_plugs_in(backbone, examples, monkeypatch):
    class NoBias(LinearHead):
        name = "no-bias"

        def tensors(self, classes, width):
            return {"weight": (classes, width)}

        def build(self, classes, width):
            return torch.nn.Linear(width, classes, bias=False)

    monkeypatch.setitem(HEADS, "no-bias", NoBias())
    adaptation = attach(Looking(recipe=RECIPE, head="no-bias"), backbone)
    ids, mask, _ = examples.tensors()
    assert list(adaptation.state) == ["head.weight"] and adaptation.head_parameters == CLASSES * WIDTH
    assert adaptation.module(ids, mask).shape == (len(ids), CLASSES)


@pytest.mark.parametrize(
    ("options", "kind", "tagged", "message"),
    [
        ({"features": "moment"}, "text", False, "unknown features of frozen 'moment'; did you mean 'moments'"),
        ({"features": "patches"}, "text", False, "a model of texts has none"),
        ({"features": "last"}, "image", False, "a model of images has none"),
        ({"features": "moments"}, "text", True, "it cannot tag words"),
        ({"features": "tokens"}, "text", False, "one label for each example"),
        ({"features": "own"}, "text", False, "it has none"),
        ({"head": "linaer"}, "text", False, "did you mean 'linear'"),
    ],
)
def test_features_and_heads_that_there_are_not(request, options, kind, tagged, message):
    shape = request.getfixturevalue("backbone" if kind == "text" else "image_backbone").shape
    with pytest.raises(UsageError, match=message):
        Looking(recipe=RECIPE, **options).plan(shape, Size(classes=CLASSES, tagged=tagged))


def test_a_bundle_has_the_features_and_the_head_of_its_model(backbone, monkeypatch):
    class Unknown(LinearHead):
        name, in_bundles = "unknown-head", False

    monkeypatch.setitem(HEADS, "unknown-head", Unknown())
    require_plan_in_bundles(Looking(recipe=RECIPE).plan(backbone.shape))
    with pytest.raises(UsageError, match="a bundle cannot hold the features 'moments' of frozen"):
        require_plan_in_bundles(Looking(recipe=RECIPE, features="moments").plan(backbone.shape))
    with pytest.raises(UsageError, match="a bundle cannot hold the head unknown-head of frozen"):
        require_plan_in_bundles(Looking(recipe=RECIPE, head="unknown-head").plan(backbone.shape))
