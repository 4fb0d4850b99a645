"""The class-mean head against a direct nearest-mean search, the training loop against its recipe."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.layers import set_class_mean_head
from edge_adapt.methods.training.trainer import evaluate, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


@given(classes=st.integers(2, 5), width=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_class_mean_head_names_the_nearest_mean(classes, width, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(6 * classes) % classes
    means = 3 * torch.randn(classes, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), width, generator=generator, dtype=torch.float64)
    features = 5 + means[labels] + noise
    head = nn.Linear(width, classes).double()
    set_class_mean_head(head, features, labels, margin=1.0)
    centres = torch.stack([features[labels == c].mean(0) for c in range(classes)])
    nearest = (features[:, None] - centres).square().sum(2).argmin(1)
    assert torch.equal(head(features).argmax(1), nearest)


def test_class_mean_head_has_the_asked_margin():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2] * 10)
    features = torch.eye(3, dtype=torch.float64)[labels] + 0.1 * torch.randn(30, 3, generator=generator)
    head = nn.Linear(3, 3).double()
    set_class_mean_head(head, features, labels, margin=0.7)
    logits = head(features)
    right = logits.gather(1, labels[:, None])[:, 0]
    other = logits.scatter(1, labels[:, None], -math.inf).amax(1)
    assert (right - other).mean().item() == pytest.approx(0.7)


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
def test_shrunk_covariance_is_the_metric_of_the_head(shrinkage):
    """Regularised discriminant analysis by numpy: the least distance in the metric, on features far from round."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    features = rng.normal(size=(4, 6))[labels] + rng.normal(size=(40, 6)) * [9, 3, 1, 0.3, 1, 2] @ rng.normal(
        size=(6, 6)
    )
    head = nn.Linear(6, 4).double()
    set_class_mean_head(head, torch.from_numpy(features), torch.from_numpy(labels), 1.0, shrinkage)
    means = np.stack([features[labels == c].mean(0) for c in range(4)])
    within = np.cov((features - means[labels]).T, bias=True)
    metric = np.linalg.inv((1 - shrinkage) * within + shrinkage * np.trace(within) / 6 * np.eye(6))
    seen = rng.normal(size=(500, 6)) * 5
    apart = seen[:, None] - means
    distances = np.einsum("ncd,de,nce->nc", apart, metric, apart)
    logits = head(torch.from_numpy(seen)).detach().numpy()
    assert np.array_equal(logits.argmax(1), distances.argmin(1))
    gaps = (logits - logits[:, :1])[:, 1:] / (distances - distances[:, :1])[:, 1:]
    np.testing.assert_allclose(gaps, gaps[0, 0], rtol=1e-6)


def test_the_start_of_the_head_is_counted(adaptation, examples):
    for shrinkage, macs in ((1.0, 0), (0.5, 16 * 16 * (24 + 2 * 3) + 16**3)):
        recipe = replace(adaptation.recipe, epochs=0, head_shrinkage=shrinkage)
        log = train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1), recipe=recipe)
        assert log.head_macs == macs
    with pytest.raises(UsageError, match="head_shrinkage of a recipe must be above 0, and 1 at most; got 0"):
        replace(adaptation.recipe, head_shrinkage=0.0)


def test_class_without_examples_is_never_named():
    features, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 2])
    head = nn.Linear(2, 3)
    set_class_mean_head(head, features, labels, margin=1.0)
    assert head(features).argmax(1).tolist() == [0, 2]


@pytest.fixture
def adaptation(backbone):
    return get_method("lora").attach(backbone, 3, np.random.default_rng(0))


def test_log_counts_real_tokens_only(adaptation, examples):
    recipe = replace(adaptation.recipe, epochs=2, min_steps=0, batch_size=5)
    calls = []
    log = train(
        adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe, on_step=calls.append
    )
    lengths = [len(tokens) for tokens in examples.encoded]
    assert log.steps == len(log.losses) == 2 * 5
    assert calls == list(range(1, 11))
    assert log.forward_only.tokens == sum(lengths)
    assert log.forward_only.attention_pairs == sum(n * n for n in lengths)
    assert log.trained.tokens == 2 * sum(lengths)
    assert log.trained.attention_pairs == 2 * sum(n * n for n in lengths)
    assert log.trained.sequences == 2 * len(lengths)
    assert log.trained.passes == log.steps


def test_few_examples_get_at_least_min_steps(adaptation, examples):
    recipe = replace(adaptation.recipe, epochs=1, min_steps=8, batch_size=8)
    log = train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)
    assert log.steps == 9  # whole epochs of 3 steps


def test_probe_passes_the_backbone_once(backbone, examples):
    probe = get_method("probe").attach(backbone, 3, np.random.default_rng(0))
    log = train(probe, examples.encoded, examples.labels, np.random.default_rng(0))
    assert log.forward_only.sequences == 24
    assert log.trained.sequences == 0
    assert log.head_sequences == 24 * log.steps / math.ceil(24 / probe.recipe.batch_size)


def test_the_rate_falls_to_zero_and_the_loss_falls(adaptation, examples):
    recipe = replace(adaptation.recipe, epochs=30)
    log = train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)
    assert np.mean(log.losses[-5:]) < 0.5 * np.mean(log.losses[:5])


def test_bad_examples_are_refused(adaptation, examples):
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="no examples to train"):
        train(adaptation, [], [], rng)
    with pytest.raises(UsageError, match="24 examples have 3 labels"):
        train(adaptation, examples.encoded, [0, 1, 2], rng)
    with pytest.raises(UsageError, match=r"label 7 is outside 0\.\.2"):
        train(adaptation, examples.encoded, [*examples.labels[:-1], 7], rng)
    with pytest.raises(UsageError, match="no examples to evaluate"):
        evaluate(adaptation, [], [])


def test_a_loss_that_explodes_is_reported(adaptation, examples):
    with torch.no_grad():
        next(p for n, p in adaptation.state.items() if n.endswith("lora_b")).fill_(math.nan)
    with pytest.raises(UsageError, match="lower its learning rates"):
        train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0))


def test_unknown_group_in_a_recipe_is_refused(adaptation, examples):
    recipe = replace(adaptation.recipe, learning_rates={"matrix": 1e-3, "head": 1e-3})
    with pytest.raises(UsageError, match="did you mean 'matrices'"):
        train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)


def test_group_without_a_rate_is_refused(adaptation, examples):
    recipe = replace(adaptation.recipe, learning_rates={"head": 1e-3})
    with pytest.raises(UsageError, match="no learning rate for 'matrices'"):
        train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)


def test_adapting_again_may_keep_the_head(adaptation, examples):
    """With rates of zero the head is what the start of the training makes of it."""
    still = replace(adaptation.recipe, learning_rates=dict.fromkeys(adaptation.recipe.learning_rates, 0.0))
    with torch.no_grad():
        adaptation.module.head.weight.fill_(0.5)
    keeps, renews = replace(still, new_head_again=False), replace(still, new_head_again=True)
    log = train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=keeps, again=True)
    assert (adaptation.module.head.weight == 0.5).all() and log.forward_only.sequences == 0
    for recipe, again in ((keeps, False), (renews, True)):
        with torch.no_grad():
            adaptation.module.head.weight.fill_(0.5)
        train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe, again=again)
        assert (adaptation.module.head.weight != 0.5).any()
