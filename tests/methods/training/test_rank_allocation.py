"""One-shot rank allocation against gradients of the frozen model, and counts by hand."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.training.hooks.rank_allocation import RankAllocation
from edge_adapt.methods.training.trainer import train

RANK, ALPHA = 6, 12.0
LOW_RANK = ("lora", "sora", "adalora")


def of(backbone, name, **hook):
    method = get_method(name, rank=RANK, alpha=ALPHA)
    hooks = (*method.recipe.hooks, *([RankAllocation(**hook)] if hook else []))
    recipe = dataclasses.replace(method.recipe, epochs=2, min_steps=0, batch_size=12, hooks=hooks)
    return dataclasses.replace(method, recipe=recipe).attach(backbone, 3, np.random.default_rng(0))


def trained(adaptation, examples, **more):
    return train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), **more)


def importances(backbone, adaptation, examples, head):
    """mean (W * (scale G A^T A))^2, with G the gradient of W in the frozen model: dL/dB = scale G A^T at B = 0."""
    model = copy.deepcopy(backbone.module)
    ids, mask, labels = examples.tensors()
    names = backbone.target_names()
    for name in names:
        model.get_submodule(name).weight.requires_grad_(True)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    F.cross_entropy(F.linear(features, *head), labels).backward()
    found = {}
    for name in names:
        weight, a = model.get_submodule(name).weight, adaptation.state[f"{name}.lora_a"].detach()
        found[name] = (weight * (ALPHA / RANK * weight.grad @ a.T @ a)).square().mean().item()
    return found


@pytest.mark.parametrize("name", LOW_RANK)
def test_the_least_important_pairs_keep_fewer_ranks(backbone, examples, name):
    """3 of 4 pairs (floor of 4 x 0.8) keep 6 // 4 * 2 = 2 ranks, through the whole training."""
    adaptation, seen = of(backbone, name, reduced_share=0.8), []
    start = adaptation.state_dict()

    def look():
        seen.append([p.detach().clone() for p in adaptation.module.head.parameters()])
        seen.append(adaptation.kept_ranks(gated=False))

    log = trained(adaptation, examples, on_start=look)
    head, kept = seen
    fresh = of(backbone, name)
    fresh.load_state_dict(start)
    ordered = sorted((value, key) for key, value in importances(backbone, fresh, examples, head).items())
    expected = {key: 2 if place < 3 else RANK for place, (_, key) in enumerate(ordered)}
    assert {key: kept[f"{key}.lora_a"].ranks.tolist() for key in expected} == {
        key: list(range(ranks)) for key, ranks in expected.items()
    }
    still = adaptation.kept_ranks(gated=False)
    assert {key: still[f"{key}.lora_b"].ranks.tolist() for key in expected} == {
        key: list(range(ranks)) for key, ranks in expected.items()
    }
    moved = sum(int((adaptation.state[n] != 0).sum()) for n in adaptation.state if "lora" in n)
    assert moved == sum(ranks * (16 + 16) for ranks in expected.values())
    # One pass more than the two of the epochs; the importance takes out x in x (rank + 2) multiplications a pair.
    assert log.trained.sequences == 3 * len(examples.labels)
    assert log.hook_macs == 4 * 16 * 16 * (RANK + 2)
    assert (log.early_only, log.early_trained.tokens) == (log.forward_only, log.trained.tokens // 3)


@pytest.mark.parametrize("name", LOW_RANK)
def test_without_a_share_nothing_is_changed(backbone, examples, name):
    states = []
    for hook in ({}, {"reduced_share": 0.0}):
        adaptation = of(backbone, name, **hook)
        log = trained(adaptation, examples)
        assert log.hook_macs == 0 and log.trained.sequences == 2 * len(examples.labels)
        states.append(adaptation.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_training_again_keeps_the_ranks(backbone, examples):
    adaptation = of(backbone, "lora", reduced_share=0.8)
    trained(adaptation, examples)
    first = {key: part.ranks.tolist() for key, part in adaptation.kept_ranks(gated=False).items()}
    log = trained(adaptation, examples, again=True)
    assert first == {key: part.ranks.tolist() for key, part in adaptation.kept_ranks(gated=False).items()}
    assert log.hook_macs == 0
    with pytest.raises(UsageError, match="this state of lora has been trained: leave out warm_start, or the hook"):
        trained(adaptation, examples)


def test_what_cannot_be_is_refused(backbone, examples):
    with pytest.raises(UsageError, match="reduced_share of a recipe must be between 0 and 1; got 2"):
        RankAllocation(reduced_share=2)
    for name, change, message in (
        ("bitfit", {}, "gives ranks to low-rank pairs, and bitfit trains none"),
        ("lora", {"optimiser": "mezo"}, "rank-allocation needs gradients, and mezo has none"),
    ):
        adaptation = get_method(name).attach(backbone, 3, np.random.default_rng(0))
        recipe = adaptation.recipe.with_options(hooks="rank-allocation", **change)
        with pytest.raises(UsageError, match=message):
            trained(adaptation, examples, recipe=recipe)
