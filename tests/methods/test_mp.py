"""Moment probing against covariances by numpy, the authors' counts, and classes that differ in covariance alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.methods import get_method
from edge_adapt.methods.plan import Size
from edge_adapt.methods.training.trainer import evaluate, train
from edge_adapt.workloads.named_shapes import load_shape

WIDTH = 16


def attach(base, name="mp", classes=3, spread=0.1, **options):
    adaptation = get_method(name, **options).attach(base, classes, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(spread * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_equations_by_numpy(request, kind, examples, pictures):
    """One example at a time, its real tokens alone: of a text all, of an image the patches without [CLS]."""
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    inputs, mask, _ = (part[:5] for part in (examples if kind == "text" else pictures).tensors())
    adaptation = attach(base)
    state = {name: value.detach().numpy() for name, value in adaptation.state.items()}
    hidden = adaptation.module.observe(inputs, mask)[-1].numpy()
    found = adaptation.module(inputs, mask).detach().numpy()
    for row, states in enumerate(hidden):
        tokens = states[: int(mask[row].sum())] if kind == "text" else states[1:]
        pooled = tokens.mean(0) if kind == "text" else states[0]
        quarters = (tokens @ state["side.project"].T + state["side.project.bias"]).reshape(-1, 4, 128)
        quarters = (quarters - quarters.mean(2, keepdims=True)) / np.sqrt(quarters.var(2, keepdims=True) + 1e-5)
        quarters = quarters * state["side.norm.weight"] + state["side.norm.bias"]
        pairs = []
        for k in range(3):  # numpy's own covariance of 256 channels has that of the two quarters in its corner
            covariance = np.cov(quarters[:, k], quarters[:, k + 1], rowvar=False, bias=True)[:128, 128:]
            pairs.append(covariance / np.sqrt((covariance**2).sum(0)))
        moved = torch.tensor(np.stack(pairs))[None]
        for name in ("side.shrink", "side.shrink_again"):
            windows = moved.unfold(2, 3, 2).unfold(3, 3, 2)  # (1, 3, rows, columns, 3, 3)
            moved = torch.einsum("bcrsij,ocij->bors", windows, torch.tensor(state[name]))
            moved = F.gelu(moved) if name == "side.shrink" else moved
        moments = moved.flatten().numpy()
        assert moments.shape == (2883,)
        first = state["head.pooled.weight"] @ pooled + state["head.pooled.bias"]
        second = state["head.moments.weight"] @ moments + state["head.moments.bias"]
        np.testing.assert_allclose(found[row], (first + second) / 2, rtol=0, atol=1e-9)


def test_half_of_twice_a_linear_probe_is_the_probe(backbone, examples):
    ids, mask, _ = examples.tensors()
    probe, both = attach(backbone, "probe"), attach(backbone)
    with torch.no_grad():
        both.state["head.pooled.weight"].copy_(2 * probe.state["head.weight"])
        both.state["head.pooled.bias"].copy_(2 * probe.state["head.bias"])
        both.state["head.moments.weight"].zero_()
        both.state["head.moments.bias"].zero_()
    torch.testing.assert_close(both.module(ids, mask), probe.module(ids, mask), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_order_of_tokens_does_not_matter(request, kind, examples, pictures):
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    inputs, mask, _ = (examples if kind == "text" else pictures).tensors()
    adaptation = attach(base)
    states = adaptation.module.observe(inputs, mask)[-1]
    mixed, front = states.clone(), 0 if kind == "text" else 1
    for row, length in enumerate(mask.sum(1).tolist()):
        order = torch.randperm(length - front, generator=torch.Generator().manual_seed(row)) + front
        mixed[row, front:length] = states[row, order]
    plain, other = (adaptation.module(inputs, mask, (found,)) for found in (states, mixed))
    assert not torch.equal(states, mixed)
    torch.testing.assert_close(plain, other, rtol=0, atol=1e-10)


def test_classes_of_one_mean_and_two_covariances(backbone):
    """Hidden states of two classes: of mean zero, wide in the first eight numbers or in the last eight. A linear probe
    of the mean is at chance, moment probing is not.
    """
    rng, length, number = np.random.default_rng(0), 24, 192
    labels = [n % 2 for n in range(number)]
    scale = np.where((np.arange(WIDTH) < 8) == (np.array(labels)[:, None] == 0), 2.0, 0.5)
    table = torch.tensor((rng.standard_normal((number, length, WIDTH)) * scale[:, None]).reshape(-1, WIDTH))
    encoded = np.arange(number * length).reshape(number, length).tolist()
    right = {}
    for name in ("probe", "mp"):
        adaptation = get_method(name).attach(backbone, 2, np.random.default_rng(0))
        adaptation.module.observe = lambda ids, mask: (table[ids],)
        train(adaptation, encoded[:96], labels[:96], np.random.default_rng(1))
        right[name] = evaluate(adaptation, encoded[96:], labels[96:])
    assert 0.3 < right["probe"] < 0.7
    assert right["mp"] > 0.95


@pytest.mark.parametrize(("classes", "total"), [(1000, 4_047_146), (10, 430_676)])
def test_the_counts_of_the_authors_code(classes, total):
    """ViT-B: a linear 768 -> 512, a norm of 128, two kernels of 81, and two classifiers."""
    plan = get_method("mp").plan(load_shape("vit-base-patch16-224"), Size(classes=classes))
    own = sum(tensor.numbers for name, tensor in plan.tensors.items() if name.startswith("side."))
    assert own == 768 * 512 + 512 + 2 * 128 + 2 * 81 == 394_146
    assert plan.head_numbers == classes * (768 + 1) + classes * (2883 + 1)
    assert own + plan.head_numbers == total
    assert get_method("mp").count(load_shape("vit-base-patch16-224")).trained_parameters == own


def test_what_a_backward_pass_keeps_of_an_example():
    """Covariances and what both convolutions put out, beside what the linear puts out for each token."""
    plan = get_method("mp").plan(load_shape("vit-base-patch16-224"))
    assert plan.kept_once == 3 * (128 * 128 + 63 * 63 + 31 * 31)
    assert plan.kept_outputs == 768 + 512
