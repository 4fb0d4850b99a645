"""Label smoothing against torch's own, and its equation by hand."""

import math

import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods.training.objectives.cross_entropy import CrossEntropy
from edge_adapt.methods.training.objectives.label_smoothing import LabelSmoothing
from hypothesis import given, settings
from hypothesis import strategies as st


@given(share=st.floats(0, 0.99), classes=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_loss_and_gradient_are_torchs(share, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(7, classes, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(classes, (7,), generator=generator)
    losses = (
        LabelSmoothing(share).loss(logits, labels),
        torch.nn.functional.cross_entropy(logits, labels, label_smoothing=share),
    )
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in losses))


def test_by_hand():
    """Two classes, p = (3/4, 1/4), a share of 0.2: q = (0.9, 0.1)."""
    loss = LabelSmoothing(0.2).loss(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_without_a_share_it_is_cross_entropy():
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(LabelSmoothing(0.0).loss(logits, labels), CrossEntropy().loss(logits, labels))


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_shares_that_cannot_be(share):
    with pytest.raises(UsageError, match="smoothing of a recipe must be at least 0 and below 1"):
        LabelSmoothing(share)
