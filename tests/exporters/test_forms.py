"""The form in which fused linears are exported computes what the method computes, gradients included."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt.exporters.forms import processor_forms
from edge_adapt.methods import get_method
from edge_adapt.methods.fusion import FusedLinear
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.pools import Pool, load_pool


def adaptation_of(inputs: Path, pool: Pool, **options: bool):
    backbone = load_backbone(inputs / "model")
    method = get_method("lorafusion", **options)
    return method.attach(backbone, 2, np.random.default_rng(0), pool=pool)


def outputs(adaptation) -> list[torch.Tensor]:
    ids = torch.tensor([[2, 4, 5, 6, 3], [2, 9, 3, 0, 0]])
    features = adaptation.module.features(ids, (ids > 0).long())
    names = [name for name in adaptation.trained_names if not name.startswith("head.")]
    return [features, *torch.autograd.grad(features.square().sum(), [adaptation.state[name] for name in names])]


@pytest.mark.parametrize("programmed", [False, True], ids=["exact", "programmed"])
@pytest.mark.parametrize("magnitude", [True, False])
def test_same_numbers(inputs: Path, magnitude: bool, programmed: bool) -> None:
    """`programmed`: cells hold other numbers than the row norms were computed from."""
    adaptation = adaptation_of(inputs, load_pool(inputs / "pool"), magnitude=magnitude)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        for name, tensor in adaptation.cell_tensors.items() if programmed else ():
            if ".pool_" in name:
                tensor.data = tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
    expected = outputs(adaptation)
    linears = [module for module in adaptation.module.modules() if isinstance(module, FusedLinear)]
    assert linears and all(linear.can_be_summed for linear in linears)
    reads = []
    for linear in linears:
        linear.reader = lambda name, x, weight: (reads.append(name), torch.nn.functional.linear(x, weight))[1]
    with processor_forms(adaptation.module):
        found = outputs(adaptation)
    assert reads and not any(".pool_" in name for name in reads)  # tokens pass the sums, not the modules
    outputs(adaptation)
    assert any(".pool_" in name for name in reads)
    assert len(found) == 2 + 2 * magnitude
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 2e-5 * other.abs().max()


def test_what_cannot_be_added_up_stays_as_it_is(inputs: Path) -> None:
    pool = load_pool(inputs / "pool")
    first = pool.modules[0]
    shorter = replace(first, a={n: m[:3] for n, m in first.a.items()}, b={n: m[:, :3] for n, m in first.b.items()})
    for adaptation in (
        adaptation_of(inputs, replace(pool, modules=(shorter, *pool.modules[1:]))),
        adaptation_of(inputs, pool, cross_terms=False),
    ):
        assert not any(m.can_be_summed for m in adaptation.module.modules() if isinstance(m, FusedLinear))
        expected = outputs(adaptation)
        with processor_forms(adaptation.module):
            found = outputs(adaptation)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


class Doubled(torch.nn.Module):
    """Any layer may have a form: twice x, as a sum or, for processors, as a product."""

    product = False

    @contextlib.contextmanager
    def processor_form(self) -> Iterator[None]:
        self.product = True
        yield
        self.product = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x if self.product else x + x


def test_a_layer_of_any_method_is_asked_for_its_form() -> None:
    layer = Doubled()
    with processor_forms(torch.nn.Sequential(torch.nn.Identity(), layer)):
        assert layer.product
    assert not layer.product
