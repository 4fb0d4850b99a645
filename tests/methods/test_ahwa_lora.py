"""AHWA-LoRA against LoRA with exact weights, the variance of its noise in closed form, and events on a chip."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.library.ahwa_lora import noisy_reader
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.methods.training.trainer import train
from edge_adapt.simulator import program
from edge_adapt.studies.encoding import Encoded
from edge_adapt.studies.trial import ChipTrial
from edge_adapt.studies.workbench import Variant
from edge_adapt.workloads.named_shapes import load_shape
from transformers import BertConfig, BertModel

DIGITAL = Placement.DIGITAL


def trained(backbone, examples, name, **options):
    """The state after training with its own recipe, from the same seeds."""
    adaptation = get_method(name, rank=4, **options).attach(backbone, 3, np.random.default_rng(0), placement=DIGITAL)
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(1))
    return adaptation


def test_without_noise_it_is_lora_with_exact_weights(backbone, examples):
    ours, lora = (trained(backbone, examples, name, **o) for name, o in (("ahwa-lora", {"noise": 0.0}), ("lora", {})))
    assert ours.state.keys() == lora.state.keys()
    for name, value in lora.state.items():
        torch.testing.assert_close(ours.state[name], value, rtol=0, atol=1e-12)
    noisy = trained(backbone, examples, "ahwa-lora")
    assert all(not torch.equal(noisy.state[name], value) for name, value in lora.state.items())


def test_variance_of_what_a_read_puts_out():
    """Output o has the mean W x and the variance (noise max_i |W_oi|)^2 sum x^2, drawn anew in every read."""
    rng = np.random.default_rng(0)
    weight, x = torch.from_numpy(rng.standard_normal((5, 12))), torch.from_numpy(rng.standard_normal((2, 12)))
    read, draws = noisy_reader(np.random.default_rng(1), 0.1), 4000
    seen = torch.stack([read("any", x, weight) for _ in range(draws)])
    variance = (0.1 * weight.abs().amax(1)) ** 2 * (x**2).sum(1, keepdim=True)
    # The mean of n draws is off by 5 deviations / sqrt(n) once in a million; their variance by 5 sqrt(2 / n) of itself.
    error = (seen.mean(0) - x @ weight.T).abs() / variance.sqrt()
    assert error.max() < 5 / draws**0.5
    assert (seen.var(0) / variance - 1).abs().max() < 5 * (2 / draws) ** 0.5
    # All tokens of a read see the same weights: what x + x' gives is the sum of what both give.
    both = noisy_reader(np.random.default_rng(2), 0.1)("any", torch.cat([x, x.sum(0, keepdim=True)]), weight)
    torch.testing.assert_close(both[2], both[0] + both[1], rtol=0, atol=1e-12)


def test_the_gradient_passes_the_weights_with_noise():
    weight, x = torch.randn(3, 4, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    y = noisy_reader(np.random.default_rng(0), 0.5)("any", x, weight)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert not torch.allclose(gradient, weight.sum(0, keepdim=True))
    torch.testing.assert_close(x.detach() @ gradient.T, y.sum().detach().reshape(1, 1), rtol=0, atol=1e-12)


def test_readers_and_the_order_of_examples_are_as_before(backbone, examples):
    adaptation, rng = trained(backbone, examples, "ahwa-lora"), np.random.default_rng(1)
    ids, mask, _ = examples.tensors()
    assert torch.equal(adaptation.module(ids, mask), adaptation.module(ids, mask))
    other = copy.deepcopy(rng)
    with adaptation.reading_in_training(rng):
        assert not torch.equal(adaptation.module(ids, mask), adaptation.module(ids, mask))
    assert rng.random() == other.random()


def test_training_reads_no_cell_and_is_charged_as_digital_work(backbone):
    """The chip is programmed, calibrated and asked, and otherwise left alone; the state is that of exact training."""
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = BertModel(config, add_pooling_layer=False).eval()
    base, chip = replace(backbone, module=module), load_chip("reram")
    ids = np.random.default_rng(3).integers(1, 38, (24, 6)).tolist()
    data = Encoded([[38, *row, 39] for row in ids], [i % 3 for i in range(24)])
    bench = SimpleNamespace(backbone=base, classes=3, pool=None, chip=chip)
    linears = dict(module.named_modules())
    frozen = {name: linears[name].weight.detach().numpy() for name in base.linear_names()}
    method, states = get_method("ahwa-lora", rank=4), []
    for seed in (0, 1):
        trial = ChipTrial(bench, Variant(method, DIGITAL), program(chip, frozen, np.random.default_rng(seed)), 8, 0)
        trial.deploy(data)
        cost = trial.adapt(data, method.recipe)
        assert (cost.counts.reads, cost.counts.transposed_reads, cost.cells_written) == (0, 0, 0)
        states.append(trial.adaptation.state_dict())
        assert trial.features(data)[0].isfinite().all()
        assert trial.model.counts.reads > 0
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items()), "another chip, the same state"


def test_digital_work_of_training_by_hand():
    """BERT base: a token is multiplied by every matrix, and its gradient by all but the first query, key and value."""
    shape = load_shape("bert-base-uncased")
    ours, lora = (get_method(name).plan(shape, placement=DIGITAL) for name in ("ahwa-lora", "lora"))
    more = [
        getattr(ours, work).per_token - getattr(lora, work).per_token for work in ("training_work", "backward_work")
    ]
    assert more == [shape.weights, shape.weights - 3 * 768 * 768]
    assert ours.inference_work == lora.inference_work
    assert ours.read == lora.read


def test_refusals():
    with pytest.raises(UsageError, match=r"noise of ahwa-lora must be 0 or more; got -0\.1"):
        get_method("ahwa-lora", noise=-0.1)
    with pytest.raises(UsageError, match=r"ahwa-lora.*is trained away from the device"):
        require_in_bundles(get_method("ahwa-lora"))
