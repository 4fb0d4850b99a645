"""UniPT, equation by equation in numpy, and the counts of the authors' code."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.studies.pipeline import forward_line, reads_in_line
from edge_adapt.workloads.named_shapes import load_shape


def attach(base, **options):
    """The method on a backbone, its state moved from the start at random."""
    adaptation = get_method("unipt", **options).attach(base, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for value in adaptation.state.values():
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


def norm(x, gain, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gain + bias


def expected(state, hidden):
    """Every token (tokens, hidden_size) of one example, from its hidden states without padding."""

    def linear(name, x):
        return x @ state[name].T + state[f"{name}.bias"]

    narrow = [
        norm(linear(f"side.{i}.down", h), state[f"side.{i}.norm.weight"], state[f"side.{i}.norm.bias"])
        for i, h in enumerate(hidden)
    ]
    anchor, mixed, scores = narrow[-1], [], []
    for own in narrow[:-1]:
        ratio = np.maximum(anchor @ own.T, 0)
        sums = ratio.sum(1, keepdims=True)
        ratio = np.divide(ratio, sums, out=np.zeros_like(ratio), where=sums > 0) + np.eye(len(own))
        mixed.append(ratio @ own)
        scores.append(
            float(state["side.confidence"][0] @ (anchor.mean(0) * own.mean(0)) + state["side.confidence.bias"][0])
        )
    chances = np.exp(scores) / np.exp(scores).sum()
    m = sum(p * g for p, g in zip(chances, mixed, strict=True))
    inner = norm(linear("side.project", m), state["side.project.norm.weight"], state["side.project.norm.bias"])
    return linear("side.up", np.maximum(anchor + inner, 0))


@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_equations_in_numpy(request, kind, examples, pictures):
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    inputs, mask, _ = (part[:6] for part in (examples if kind == "text" else pictures).tensors())
    adaptation = attach(base)
    state = {name: value.detach().numpy() for name, value in adaptation.state.items()}
    given = {"input_ids": inputs, "attention_mask": mask} if kind == "text" else {"pixel_values": inputs}
    output = base.module(**given, output_hidden_states=True)
    hidden = [*output.hidden_states[:-1], output.last_hidden_state]
    assert len(hidden) == 3
    found = adaptation.module.features(inputs, mask).detach().numpy()
    for row, length in enumerate(mask.sum(1).tolist()):
        tokens = expected(state, [h[row, :length].detach().numpy() for h in hidden])
        feature = tokens.mean(0) if kind == "text" else tokens[0]
        np.testing.assert_allclose(found[row], feature, rtol=0, atol=1e-9)


def test_the_order_of_the_blocks_does_not_matter(backbone, examples):
    """Two of the states change places, with their linears and norms; the anchor stays."""
    (ids, mask, _), adaptation = examples.tensors(), attach(backbone)
    states = adaptation.module.observe(ids, mask)
    plain = adaptation.module.features_of(states, mask)
    downs = adaptation.module.side.downs
    downs[0], downs[1] = downs[1], downs[0]
    turned = adaptation.module.features_of((states[1], states[0], states[2]), mask)
    torch.testing.assert_close(plain, turned, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("reduction", "total"), [(2, 4_293_505), (8, 1_046_305)])
def test_the_counts_of_the_authors_code(reduction, total):
    """13 linears and norms, another linear and norm, the matrix back, and w with b."""
    m = 768 // reduction
    count = get_method("unipt", reduction=reduction).count(load_shape("bert-base-uncased"))
    by_hand = 13 * (768 * m + 3 * m) + m * m + 3 * m + 768 * m + 768 + m + 1
    assert count.trained_parameters == by_hand == total
    assert count.cells_trained == count.trained["matrices"] == 14 * 768 * m + m * m


def test_few_reads_follow_one_another():
    """Behind the last block: one linear, the wait for all tokens, two matrices."""
    shape = load_shape("bert-base-uncased")
    plan = get_method("unipt").plan(shape, placement=Placement.NVM_TASK)
    assert (len(plan.side.read), plan.side.behind) == (15, (1, 2))
    whole, alone = (reads_in_line(forward_line(shape, plan, read), 10) for read in (plan.read, plan.backbone))
    assert whole == alone + 3 + 9
    assert plan.transposed == ()
    assert get_method("unipt").plan(shape, placement=Placement.NVM_STEP).transposed == ("side.project", "side.up")


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="reduction of unipt must be at least 1; got 0"):
        get_method("unipt", reduction=0)
