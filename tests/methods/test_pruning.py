"""Which weights are pruned, against torch's own pruning, and what everything is built on then."""

import dataclasses

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.methods import get_method
from edge_adapt.methods.plan import Part
from edge_adapt.methods.pruning import kept_numbers, kept_places, pruned, pruned_weights
from hypothesis import given
from hypothesis import strategies as some
from torch.nn.utils import prune


@given(some.integers(1, 400), some.floats(0, 1, exclude_min=True))
def test_the_density_is_exact(numbers, density):
    """To half a weight; one is always left, all of them at 1."""
    kept = kept_numbers(density, numbers)
    assert 1 <= kept <= numbers and abs(kept - density * numbers) <= max(0.5, 1 - density * numbers)
    assert kept_numbers(1.0, numbers) == numbers


@given(some.integers(0, 100), some.integers(1, 29), some.integers(1, 29), some.data())
def test_the_places_are_torchs(seed, rows, columns, data):
    kept = data.draw(some.integers(1, rows * columns))
    weight = torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, columns)))
    linear = torch.nn.Linear(columns, rows, bias=False)
    linear.weight = torch.nn.Parameter(weight.clone())
    prune.l1_unstructured(linear, "weight", amount=rows * columns - kept)
    assert torch.equal(pruned(weight, kept), linear.weight)
    assert int(torch.count_nonzero(pruned(weight, kept))) == kept


def test_of_equal_weights_the_first_are_kept():
    """Whatever their signs: numpy's stable sort."""
    weight = torch.tensor([[1.0, -2.0, 2.0, 0.5], [-2.0, 2.0, 0.0, -0.5]])
    for kept in range(1, 9):
        expected = np.sort(np.argsort(-np.abs(weight.numpy().ravel()), kind="stable")[:kept])
        assert kept_places(weight, kept).tolist() == expected.tolist()
    many = torch.ones(64, 64)
    assert kept_places(many, 1000).tolist() == list(range(1000))


def test_what_is_built_has_the_pruned_weights(backbone):
    adaptation = get_method("pruned", density=0.3).attach(backbone, 3, np.random.default_rng(0))
    plan = adaptation.plan
    assert list(plan.kept_weights) == backbone.linear_names()
    expected = pruned_weights(backbone, plan.kept_weights)
    for name, tensor in adaptation.cell_tensors.items():
        numbers = tensor.numel()
        assert plan.kept_weights[name] == round(0.3 * numbers) == int(torch.count_nonzero(tensor))
        assert torch.equal(tensor, expected[name])
        linear = backbone.module.get_submodule(name)
        assert int(torch.count_nonzero(linear.weight)) == numbers
        assert adaptation.module.encoder.get_submodule(name).bias.data_ptr() == linear.bias.data_ptr()
    name = backbone.linear_names()[0]
    assert plan.by_density([name, name]) == {77 / 256: [name, name]}


def test_where_nothing_is_pruned_everything_is_shared(backbone):
    adaptation = get_method("pruned", density=1.0).attach(backbone, 3, np.random.default_rng(0))
    assert not adaptation.plan.kept_weights
    for name, tensor in adaptation.cell_tensors.items():
        assert tensor.data_ptr() == backbone.module.get_submodule(name).weight.data_ptr()


def test_another_method_needs_nothing_but_its_plan(backbone):
    """A LoRA on a backbone of which two matrices are pruned."""

    class Thin(type(get_method("lora"))):
        def part(self, shape, placement, size):
            names = [linear.name for linear in shape.linears][:2]
            return dataclasses.replace(super().part(shape, placement, size), pruned=dict.fromkeys(names, 0.5))

    adaptation = Thin(recipe=get_method("lora").recipe).attach(backbone, 3, np.random.default_rng(0))
    for number, name in enumerate(backbone.linear_names()):
        found = int(torch.count_nonzero(adaptation.cell_tensors[name]))
        assert found == (128 if number < 2 else adaptation.cell_tensors[name].numel())


def test_what_is_not_built_as_planned_is_refused(backbone):
    class Whole(type(get_method("pruned"))):
        def build(self, site):
            return super().build(dataclasses.replace(site, plan=dataclasses.replace(site.plan, kept_weights={})))

    with pytest.raises(EdgeAdaptError, match=r"pruned is not built as planned: .* has 256 weights that are not zero"):
        Whole(recipe=get_method("pruned").recipe).attach(backbone, 3, np.random.default_rng(0))


@pytest.mark.parametrize("pruned_to", [{"pooler": 0.5}, {"encoder.layer.0.attention.self.query": 0.0}])
def test_a_plan_that_cannot_be_is_an_error_of_the_method(backbone, pruned_to):
    class Wrong(type(get_method("frozen"))):
        def part(self, shape, placement, size):
            return Part(train_head=False, pruned=pruned_to)

    with pytest.raises(ValueError, match="cannot be kept before a chip is programmed"):
        Wrong(recipe=get_method("frozen").recipe).plan(backbone.shape)
