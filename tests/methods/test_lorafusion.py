"""LoRAFusion against closed forms, merged weights, finite differences and peft's merging."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.fusion import FusedLinear, FusionModel
from edge_adapt.methods.rownorm import CrossTermNorm, SeparateNorm
from edge_adapt.methods.training.trainer import train
from hypothesis import given, settings
from hypothesis import strategies as st

MODES = [(True, True), (True, False), (False, True), (False, False)]
BY_MODE = pytest.mark.parametrize(("cross_terms", "magnitude"), MODES)


def attach(backbone, pool, **options):
    return get_method("lorafusion", **options).attach(backbone, 3, np.random.default_rng(0), pool=pool)


def fused_linears(adaptation) -> list[FusedLinear]:
    return [module for module in adaptation.module.modules() if isinstance(module, FusedLinear)]


def set_state(adaptation, coefficients: torch.Tensor | None = None, magnitude_factor: float = 1.0) -> None:
    with torch.no_grad():
        if coefficients is not None:
            adaptation.state["coefficients"].copy_(coefficients)
        for name, parameter in adaptation.state.items():
            if name.endswith(".magnitude"):
                parameter.mul_(magnitude_factor)


def random_coefficients(adaptation, seed: int = 2) -> torch.Tensor:
    shape = adaptation.state["coefficients"].shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference_features(backbone, examples, weight_of) -> torch.Tensor:
    """Features of the plain backbone with the weight of each adapted linear replaced by weight_of(name)."""
    weights = {f"{name}.weight": weight_of(name) for name in backbone.target_names()}
    ids, mask, _ = examples.tensors()
    inputs = {"input_ids": ids, "attention_mask": mask}
    hidden = torch.func.functional_call(backbone.module, weights, (), inputs).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def base_weight(backbone, name: str) -> torch.Tensor:
    return backbone.module.get_submodule(name).weight.detach()


def matrices(pool, name: str) -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    return [(m.scale, torch.from_numpy(m.a[name]).double(), torch.from_numpy(m.b[name]).double()) for m in pool.modules]


def fused_by_hand(backbone, pool, coefficients, name: str, cross_terms: bool, magnitude: bool) -> torch.Tensor:
    """The weight as the paper writes it, for modules of one rank and one scale."""
    block = int(name.split(".")[2])
    weight, parts = base_weight(backbone, name), matrices(pool, name)
    scale = parts[0][0]
    if cross_terms:
        a = sum(coefficients[k, block] * part[1] for k, part in enumerate(parts))
        b = sum(coefficients[k, block] * part[2] for k, part in enumerate(parts))
        merged = weight + scale * b @ a
    else:
        merged = weight + sum(coefficients[k, block] * scale * b @ a for k, (_, a, b) in enumerate(parts))
    if not magnitude:
        return merged
    return weight.norm(dim=1, keepdim=True) * merged / merged.norm(dim=1, keepdim=True)


@BY_MODE
def test_stacked_reads_equal_the_equations(backbone, make_pool, examples, cross_terms, magnitude):
    pool = make_pool()
    adaptation = attach(backbone, pool, cross_terms=cross_terms, magnitude=magnitude)
    coefficients = random_coefficients(adaptation)
    set_state(adaptation, coefficients)
    expected = reference_features(
        backbone, examples, lambda name: fused_by_hand(backbone, pool, coefficients, name, cross_terms, magnitude)
    )
    got = adaptation.module.features(*examples.tensors()[:2])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@BY_MODE
@pytest.mark.parametrize("ranks", [(3, 3, 3), (2, 4, 1)])
@pytest.mark.parametrize("chosen", [0, 2])
def test_one_hot_coefficients_are_that_adapter(backbone, make_pool, examples, cross_terms, magnitude, ranks, chosen):
    pool = make_pool(ranks, (2.0, 1.0, 0.5))
    adaptation = attach(backbone, pool, cross_terms=cross_terms, magnitude=magnitude)
    coefficients = torch.zeros(3, 2, dtype=torch.float64)
    coefficients[chosen] = 1.0

    def weight_of(name: str) -> torch.Tensor:
        scale, a, b = matrices(pool, name)[chosen]
        return base_weight(backbone, name) + scale * b @ a

    set_state(adaptation, coefficients)
    with torch.no_grad():  # magnitudes of that adapter: then m / n is one
        for name in backbone.target_names() if magnitude else []:
            adaptation.state[f"{name}.magnitude"].copy_(weight_of(name).norm(dim=1))
    got = adaptation.module.features(*examples.tensors()[:2])
    torch.testing.assert_close(got, reference_features(backbone, examples, weight_of), rtol=0, atol=1e-10)


@BY_MODE
def test_zero_coefficients_are_the_base_model(backbone, make_pool, examples, cross_terms, magnitude):
    adaptation = attach(backbone, make_pool(), cross_terms=cross_terms, magnitude=magnitude)
    set_state(adaptation, torch.zeros(3, 2, dtype=torch.float64))
    got = adaptation.module.features(*examples.tensors()[:2])
    expected = reference_features(backbone, examples, lambda name: base_weight(backbone, name))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7), st.integers(1, 4)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_gram_norms_are_the_real_row_norms(sizes, seed):
    modules, out, inputs, rank = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, a, b, c = draw(out, inputs), draw(modules, rank, inputs), draw(modules, out, rank), draw(modules)
    fused = weight + torch.einsum("k,kor->or", c, b) @ torch.einsum("k,kri->ri", c, a)
    torch.testing.assert_close(CrossTermNorm(weight, a, b)(c), fused.norm(dim=1), rtol=1e-6, atol=1e-6)
    separate = weight + torch.einsum("k,kor,kri->oi", c, b, a)
    torch.testing.assert_close(SeparateNorm(weight, a, b)(c), separate.norm(dim=1), rtol=1e-6, atol=1e-6)


def loss_of(adaptation, examples) -> torch.Tensor:
    ids, mask, labels = examples.tensors()
    return F.cross_entropy(adaptation.module(ids, mask), labels)


def with_head(adaptation) -> None:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        weight = adaptation.state["head.weight"]
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))


@BY_MODE
def test_gradients_are_finite_differences_with_the_norm_held(backbone, make_pool, examples, cross_terms, magnitude):
    """The norm is a constant of the backward pass: the differences are taken with the norms frozen at the start."""
    adaptation = attach(backbone, make_pool((2, 3, 1)), cross_terms=cross_terms, magnitude=magnitude)
    set_state(adaptation, random_coefficients(adaptation), magnitude_factor=0.9)
    with_head(adaptation)
    loss_of(adaptation, examples).backward()
    for linear in fused_linears(adaptation) if magnitude else []:
        scaled = linear.scales * adaptation.state["coefficients"].detach()[:, linear.column]
        norm = linear.norm(scaled)
        linear.norm.forward = lambda _, norm=norm: norm
    step = 1e-6
    with torch.no_grad():
        for name, parameter in adaptation.state.items():
            flat, gradient = parameter.view(-1), parameter.grad.view(-1)
            for i in range(0, flat.numel(), max(1, flat.numel() // 6)):
                value = flat[i].item()
                flat[i] = value + step
                above = loss_of(adaptation, examples).item()
                flat[i] = value - step
                below = loss_of(adaptation, examples).item()
                flat[i] = value
                assert gradient[i].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_coefficients_and_magnitudes_in_closed_form(backbone, make_pool, seed):
    """D = diag(m/n) g; gB = s D (A x)^T; gA = s B^T D x^T; dL/dc_k = <gA, A_k> + <gB, B_k>; dL/dm = sum_t g y / m.

    The factor of c is one: the gradient is that of the forward pass, also where a coefficient is negative.
    """
    pool = make_pool()
    adaptation = attach(backbone, pool)
    coefficients = random_coefficients(adaptation, seed)
    assert (coefficients < 0).any()
    set_state(adaptation, coefficients)
    linear = fused_linears(adaptation)[2]
    c = coefficients[:, linear.column]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(7, 16, generator=generator, dtype=torch.float64)
    g = torch.randn(7, 16, generator=generator, dtype=torch.float64)
    linear.handover.coefficients = adaptation.state["coefficients"]
    linear.bias = None
    y = linear(x)
    y.backward(g)

    parts = matrices(pool, linear.cell_name)
    scale = parts[0][0]
    a = sum(c[k] * part[1] for k, part in enumerate(parts))
    b = sum(c[k] * part[2] for k, part in enumerate(parts))
    n = (linear.weight + scale * b @ a).norm(dim=1)
    m = linear.magnitude.detach()
    d = (m / n) * g  # (tokens, out): rows are the transposed columns of D
    grad_b, grad_a = scale * d.T @ (x @ a.T), scale * (d @ b).T @ x
    expected = torch.stack([(grad_a * ak).sum() + (grad_b * bk).sum() for _, ak, bk in parts])
    got = adaptation.state["coefficients"].grad
    torch.testing.assert_close(got[:, linear.column], expected, rtol=0, atol=1e-10)
    assert torch.count_nonzero(got[:, 1 - linear.column]) == 0
    torch.testing.assert_close(linear.magnitude.grad, (g * y.detach()).sum(0) / m, rtol=0, atol=1e-10)


@BY_MODE
def test_default_recipe_trains_every_mode(backbone, make_pool, examples, cross_terms, magnitude):
    """The recipe names a rate for the magnitudes; without them it still holds."""
    adaptation = attach(backbone, make_pool(), cross_terms=cross_terms, magnitude=magnitude)
    before = adaptation.state_dict()
    assert train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0)).steps > 0
    assert all((after != before[name]).any() for name, after in adaptation.state.items())
    assert magnitude == any(name.endswith(".magnitude") for name in before)


@BY_MODE
def test_only_two_extra_reads_per_linear_and_none_for_the_norm(backbone, make_pool, examples, cross_terms, magnitude):
    adaptation = attach(backbone, make_pool(), cross_terms=cross_terms, magnitude=magnitude)
    reads: list[str] = []

    def counting(name, x, weight):
        reads.append(name)
        assert weight.data_ptr() == adaptation.cell_tensors[name].data_ptr()
        return F.linear(x, weight)

    adaptation.use(counting)
    adaptation.module(*examples.tensors()[:2])
    targets = backbone.target_names()
    extra = [f"{name}.{stack}" for name in targets for stack in ("pool_a", "pool_b")]
    assert sorted(reads) == sorted(backbone.linear_names() + extra)
    assert adaptation.cell_tensors[f"{targets[0]}.pool_a"].shape == (9, 16)
    assert adaptation.cell_tensors[f"{targets[0]}.pool_b"].shape == (16, 9)


def test_coefficients_are_registered_once(backbone, make_pool):
    """A parameter seen by two modules cannot be exported: only the model may own the coefficients."""
    adaptation = attach(backbone, make_pool())
    names = [name for name, _ in adaptation.module.named_parameters(remove_duplicate=False)]
    assert [name for name in names if "coefficients" in name] == ["coefficients"]
    assert isinstance(adaptation.module, FusionModel)
    assert adaptation.state["coefficients"].shape == (3, 2)


def test_exports_with_torch_export(backbone, make_pool, examples):
    adaptation = attach(backbone, make_pool())
    ids, mask, _ = examples.tensors()
    program = torch.export.export(adaptation.module, (ids, mask), strict=False)
    torch.testing.assert_close(program.module()(ids, mask), adaptation.module(ids, mask), rtol=0, atol=1e-12)


def test_l1_is_the_mean_absolute_coefficient(backbone, make_pool):
    adaptation = attach(backbone, make_pool())
    coefficients = random_coefficients(adaptation)
    set_state(adaptation, coefficients)
    adaptation.recipe = replace(adaptation.recipe, l1=0.25)
    assert adaptation.regulariser().item() == pytest.approx(0.25 * coefficients.abs().mean().item())


def test_no_pool_and_foreign_pool_are_refused(backbone, make_pool):
    with pytest.raises(UsageError, match="needs a pool"):
        attach(backbone, None)
    pool = make_pool()
    foreign = replace(pool, target_names=("encoder.layer.7.attention.self.query",))
    with pytest.raises(UsageError, match=r"layer\.7"):
        attach(backbone, foreign)


@pytest.mark.filterwarnings("ignore")
def test_peft_weighted_merge_is_the_fusion(backbone, make_pool, examples):
    """peft's "linear" puts sqrt(w s) on A and on B: weights c^2 give our cross terms. Its "cat" has none: weights c."""
    peft = pytest.importorskip("peft")
    import copy

    pool = make_pool()
    weights = [0.7, 0.4, 1.1]
    coefficients = torch.tensor(weights, dtype=torch.float64)[:, None].expand(3, 2)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, adapter_name="m0", autocast_adapter_dtype=False)
    for k in (1, 2):
        model.add_adapter(f"m{k}", config)
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for k, (_, a, b) in enumerate(matrices(pool, name)):
            layer.lora_A[f"m{k}"].weight.data = a
            layer.lora_B[f"m{k}"].weight.data = b
    adapters = ["m0", "m1", "m2"]
    model.add_weighted_adapter(adapters, [w**2 for w in weights], "with-cross", combination_type="linear")
    model.add_weighted_adapter(adapters, weights, "without-cross", combination_type="cat")
    model.eval()
    ids, mask, _ = examples.tensors()
    for name, cross_terms in (("with-cross", True), ("without-cross", False)):
        model.set_adapter(name)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        adaptation = attach(backbone, pool, cross_terms=cross_terms, magnitude=False)
        set_state(adaptation, coefficients)
        torch.testing.assert_close(adaptation.module.features(ids, mask), expected, rtol=0, atol=1e-6)
