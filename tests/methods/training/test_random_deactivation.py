"""Random deactivation: nothing at p = 0, the mean over all masks afterwards, and what a skipped update reads."""

import dataclasses

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import exact_reader, get_method
from edge_adapt.methods.layers import ChangedLinear
from edge_adapt.methods.training.hooks.random_deactivation import RandomDeactivation
from edge_adapt.methods.training.trainer import train

LOW_RANK = ("lora", "sora", "adalora")


def of(backbone, name, epochs=4, **hook):
    method = get_method(name, rank=4)
    hooks = (*method.recipe.hooks, *([RandomDeactivation(**hook)] if hook else []))
    recipe = dataclasses.replace(method.recipe, epochs=epochs, min_steps=0, batch_size=12, hooks=hooks)
    return dataclasses.replace(method, recipe=recipe).attach(backbone, 3, np.random.default_rng(0))


def trained(adaptation, examples, **more):
    return train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0), **more)


@pytest.mark.parametrize("name", LOW_RANK)
def test_at_0_it_is_the_method_itself(backbone, examples, name):
    states = []
    for hook in ({}, {"skip_probability": 0.0}):
        adaptation = of(backbone, name, **hook)
        trained(adaptation, examples)
        states.append(adaptation.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", LOW_RANK)
def test_afterwards_a_linear_puts_out_the_mean_over_its_masks(backbone, examples, name):
    p, last = 0.3, []
    adaptation = of(backbone, name, skip_probability=p)
    log = trained(adaptation, examples, on_step=lambda step: last.append(adaptation.state_dict()))
    after = adaptation.state_dict()
    linear = next(m for m in adaptation.module.modules() if isinstance(m, ChangedLinear))
    assert not linear.skipped
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    merged = linear(x)
    adaptation.load_state_dict(last[-1])
    on = linear(x)
    linear.skipped = True
    off = linear(x)
    assert not torch.equal(on, off)
    torch.testing.assert_close(merged, p * off + (1 - p) * on, rtol=0, atol=1e-12)
    own = "lora_b" if name == "lora" else "gate"
    changed = {key for key in after if not torch.equal(after[key], last[-1][key])}
    assert {key.rsplit(".", 1)[-1] for key in changed} == {own}
    # A second matrix may sit in cells: that is one change more than the steps make; gates are digital.
    assert log.changes - log.steps == int(name == "lora")


def test_a_skipped_update_is_not_read(backbone, examples):
    """As often as drawn: 4 linears in 40 steps, each without its update with p = 0.5."""
    adaptation, reads = of(backbone, "lora", epochs=20, skip_probability=0.5), []

    def look(cell, x, weight):
        if cell.endswith("lora_a") and torch.is_grad_enabled():
            reads.append(cell)
        assert not cell.endswith("lora_a") or weight.shape[0] == 4
        return exact_reader(cell, x, weight)

    adaptation = get_method("lora", rank=4, recipe=adaptation.recipe).attach(
        backbone, 3, np.random.default_rng(0), placement="NVM_STEP"
    )
    adaptation.use(look)
    steps = trained(adaptation, examples).steps
    assert steps == 40
    draws = np.random.default_rng(5).binomial(4 * steps, 0.5, 1000)
    assert draws.min() - 15 <= len(reads) <= draws.max() + 15
    assert len(set(reads)) == 4


def test_what_cannot_be_is_refused(backbone, examples):
    with pytest.raises(UsageError, match="skip_probability of a recipe must be at least 0 and below 1; got 1"):
        RandomDeactivation(skip_probability=1)
    adaptation = get_method("bitfit").attach(backbone, 3, np.random.default_rng(0))
    with pytest.raises(UsageError, match="leaves out low-rank updates, and bitfit has none"):
        trained(adaptation, examples, recipe=adaptation.recipe.with_options(hooks="random-deactivation"))
