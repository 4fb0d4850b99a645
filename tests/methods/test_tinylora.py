"""TinyLoRA against the peft library, and its matrices against the singular values of the weights."""

import copy

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.library.tinylora import directions, mixtures
from edge_adapt.workloads.named_shapes import load_shape


def attach(backbone, **options):
    adaptation = get_method("tinylora", **options).attach(backbone, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rank", "numbers"), [(2, 5), (3, 1)])
def test_same_features_and_gradient_as_peft(backbone, examples, rank, numbers):
    peft = pytest.importorskip("peft")
    adaptation = attach(backbone, rank=rank, numbers=numbers)
    config = peft.TinyLoraConfig(r=rank, u=numbers, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    vectors = {}
    for place, name in enumerate(backbone.target_names()):
        layer = model.base_model.model.get_submodule(name)
        layer.tinylora_A["default"] = adaptation.cell_tensors[f"{name}.tiny_a"].detach().clone()
        layer.tinylora_B["default"] = adaptation.cell_tensors[f"{name}.tiny_b"].detach().clone()
        layer.tinylora_P["default"] = torch.from_numpy(mixtures(numbers, rank, place))
        vectors[name] = layer.tinylora_v["default"][layer._tinylora_v_key["default"]]
        vectors[name].data = adaptation.state[f"{name}.vector"].detach().clone()
    ids, mask, _ = examples.tensors()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    got = adaptation.module.features(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    expected.square().sum().backward()
    got.square().sum().backward()
    for name, vector in vectors.items():
        torch.testing.assert_close(adaptation.state[f"{name}.vector"].grad, vector.grad, rtol=1e-8, atol=1e-10)


def test_the_matrices_are_the_best_of_their_rank(backbone):
    """Eckart and Young: what is left has the singular values that were cut off; and the signs are settled."""
    name = backbone.target_names()[0]
    weight = backbone.module.get_submodule(name).weight
    down, up = directions(weight, 3)
    left = np.linalg.svd((weight - up @ down).detach().numpy(), compute_uv=False)
    values = np.linalg.svd(weight.detach().numpy(), compute_uv=False)
    np.testing.assert_allclose(left[:-3], values[3:], atol=1e-12)
    assert (down.gather(1, down.abs().argmax(1, keepdim=True)) > 0).all()
    assert mixtures(64, 8, 0).var() == pytest.approx(1 / 8, rel=0.1)
    assert not np.array_equal(mixtures(4, 2, 0), mixtures(4, 2, 1))


def test_counts_and_options(backbone):
    count = get_method("tinylora").count(load_shape("minilm"))
    assert count.trained == {"vectors": 12 * 64}
    assert count.cells_frozen == 12 * 2 * (384 + 384)
    wide = attach(backbone, rank=100)  # no more than a matrix has
    assert {tuple(t.shape) for n, t in wide.cell_tensors.items() if ".tiny_a" in n} == {(16, 16)}
    assert {wide.placements[name] for name in wide.cell_tensors} == {Placement.NVM_FROZEN}
    with pytest.raises(UsageError, match="numbers of tinylora must be at least 1; got 0"):
        get_method("tinylora", numbers=0)
