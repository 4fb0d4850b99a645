"""Repair without labels: the closed form, and what it makes of a chip whose damage is known."""

import numpy as np
import pytest
import torch
from edge_adapt.methods import get_method
from edge_adapt.methods.repair import (
    SHRINKAGE,
    CorrectedReader,
    Correction,
    Moments,
    averaged,
    fitted,
    moments,
    nbytes,
    remember,
    repair,
)
from edge_adapt.simulator.autograd import ExactReader
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor


class Damaged(ExactReader):
    """Exact products, of which each output has become smaller by a factor of its own and has got an offset."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread, self.known = spread, {}

    def __call__(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        if name not in self.known:
            rng = torch.Generator().manual_seed(len(self.known))
            factor = 0.5 + self.spread * torch.rand(len(weight), generator=rng)
            self.known[name] = factor, torch.randn(len(weight), generator=rng)
        factor, offset = self.known[name]
        return super().__call__(name, x, weight) * factor + offset


@pytest.fixture
def adapted(backbone):
    """BitFit on a small encoder; its readers watch the padding of each batch."""
    adaptation = get_method("bitfit").attach(backbone, 2, np.random.default_rng(0))

    def reader(kind, *args):
        made = kind(*args)
        made.watch(adaptation.module.encoder)
        return made

    ids = torch.tensor([[2, 5, 6, 7, 3, 0], [2, 9, 8, 7, 5, 3], [2, 4, 3, 0, 0, 0]])
    mask = (ids != 0).long()
    return adaptation, reader, lambda: adaptation.module.features(ids, mask)


@torch.no_grad()
def test_a_known_damage_is_undone(adapted):
    adaptation, made, one_pass = adapted
    exact, damaged = made(ExactReader), made(Damaged, 0.0)
    with adaptation.read_by(exact):
        wanted = one_pass()
    with adaptation.read_by(damaged):
        before = one_pass()
    memory = remember(adaptation, exact, one_pass)
    found = repair(adaptation, damaged, one_pass, memory)
    assert set(found) == set(adaptation.cell_tensors)
    with adaptation.read_by(CorrectedReader(damaged, found)):
        after = one_pass()
    assert torch.dist(before, wanted) > 0.1
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-4)
    for name, correction in found.items():  # the factor is the same for all outputs of a matrix, the offset is not
        assert correction.magnitude.numpy() == pytest.approx(2.0, rel=1e-3), name
        torch.testing.assert_close(correction.offset, -2.0 * damaged.known[name][1], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_outputs_of_different_damage_come_nearer(adapted):
    adaptation, made, one_pass = adapted
    exact, damaged = made(ExactReader), made(Damaged, 0.6)
    with adaptation.read_by(exact):
        wanted = one_pass()
    with adaptation.read_by(damaged):
        before = one_pass()
    found = repair(adaptation, damaged, one_pass, remember(adaptation, exact, one_pass))
    with adaptation.read_by(CorrectedReader(damaged, found)):
        after = one_pass()
    assert torch.dist(after, wanted) < 0.2 * torch.dist(before, wanted)


@torch.no_grad()
def test_nothing_is_changed_where_nothing_is_wrong(adapted):
    adaptation, made, one_pass = adapted
    exact = made(ExactReader)
    found = repair(adaptation, exact, one_pass, remember(adaptation, exact, one_pass))
    for correction in found.values():
        torch.testing.assert_close(correction.magnitude, torch.ones_like(correction.magnitude), rtol=1e-4, atol=1e-4)
        assert float(correction.offset.abs().max()) < 1e-3


@torch.no_grad()
def test_padding_counts_for_nothing(adapted):
    """The moments are those of the real tokens; what is corrected is counted for real tokens alone."""
    adaptation, made, one_pass = adapted
    seen: dict[str, list[Tensor]] = {}

    class Noting(ExactReader):
        def __call__(self, name, x, weight):
            y = super().__call__(name, x, weight)
            real = torch.tensor([n for n in range(18) if n not in (5, 15, 16, 17)])
            seen.setdefault(name, []).append(y.reshape(-1, y.shape[-1])[real])
            return y

    memory = remember(adaptation, made(Noting), one_pass)
    for name, (outputs,) in seen.items():
        np.testing.assert_allclose(memory[name].mean, outputs.numpy().mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(memory[name].variance, outputs.numpy().var(0), rtol=1e-3, atol=1e-6)
    exact = made(ExactReader)
    reader = CorrectedReader(exact, repair(adaptation, exact, one_pass, memory))
    with adaptation.read_by(reader):
        one_pass()
    assert reader.corrected_outputs == 14 * sum(len(weight) for weight in adaptation.cell_tensors.values())
    assert nbytes(memory) == 8 * sum(len(weight) for weight in adaptation.cell_tensors.values())


@given(
    factor=st.floats(0.05, 20), offset=st.floats(-5, 5), outputs=st.integers(1, 5), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_the_closed_form(factor, offset, outputs, seed):
    """All outputs changed by one factor: it is found exactly, whatever the pull. Moments after are those wanted."""
    wanted = torch.from_numpy(np.random.default_rng(seed).normal(1, 2, (20, outputs)))
    now = factor * wanted + offset
    found = fitted(moments(now), moments(wanted))
    assert found.magnitude.numpy() == pytest.approx(1 / factor, rel=1e-3)
    after = moments(now * found.magnitude + found.offset)
    np.testing.assert_allclose(after.mean, moments(wanted).mean, atol=1e-3 * (1 + abs(offset) / factor))
    np.testing.assert_allclose(after.variance, moments(wanted).variance, rtol=1e-2)


def test_an_output_that_hardly_varies_takes_the_magnitude_of_its_matrix():
    wanted = Moments(torch.zeros(3), torch.tensor([4.0, 4.0, 1e-8]))
    now = Moments(torch.zeros(3), torch.tensor([1.0, 1.0, 1e-6]))
    found = fitted(now, wanted)
    shared = 8.0 / 2.0
    pull = SHRINKAGE * 2.0 / 3
    assert found.magnitude.numpy() == pytest.approx(
        [2.0, 2.0, ((1e-8 + pull * shared) / (1e-6 + pull)) ** 0.5], rel=1e-3
    )
    assert found.magnitude[2] == pytest.approx(2.0, rel=1e-2)
    still = Moments(torch.tensor([1.0, 2.0]), torch.zeros(2))
    unknown = fitted(still, Moments(torch.tensor([3.0, 3.0]), torch.ones(2)))
    assert unknown.magnitude.tolist() == [1.0, 1.0]
    assert unknown.offset.tolist() == [2.0, 1.0]


def test_the_mean_of_several_chips():
    one, two = ({"a": Correction(torch.tensor([m, 1.0]), torch.tensor([o, 0.0]))} for m, o in ((1.0, 2.0), (3.0, 4.0)))
    mean = averaged([one, two])["a"]
    assert (mean.magnitude.tolist(), mean.offset.tolist()) == ([2.0, 1.0], [3.0, 0.0])
