"""A pool merged into one module: against peft's `add_weighted_adapter`, and against updates that are added by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import peft
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.merge_ways import WAYS
from edge_adapt.workloads.merging import slerp
from edge_adapt.workloads.peft_folder import LoraModule
from edge_adapt.workloads.pool_merging import Merge, absences, merged
from edge_adapt.workloads.pools import Pool, load_pool
from torch import nn

NAMES = ("blocks.0.first", "blocks.0.second", "blocks.1.first")
SHAPES = {"blocks.0.first": (12, 8), "blocks.0.second": (7, 12), "blocks.1.first": (12, 8)}  # (out, in)


class Net(nn.Module):
    """Linears of different shapes, as peft sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({k: nn.Linear(i, o) for k, (o, i) in part.items()}) for part in (
            {"first": SHAPES[NAMES[0]], "second": SHAPES[NAMES[1]]}, {"first": SHAPES[NAMES[2]]},
        ))  # fmt: skip


def pool_of(ranks: Sequence[int] = (2, 2, 2), scales: Sequence[float] = (2.0, 0.5, 3.0)) -> Pool:
    rng = np.random.default_rng(1)
    modules = [
        LoraModule(
            f"m{k}", rank, scale,
            {n: rng.normal(size=(rank, SHAPES[n][1])).astype(np.float32) for n in NAMES},
            {n: rng.normal(size=(SHAPES[n][0], rank)).astype(np.float32) for n in NAMES},
        )
        for k, (rank, scale) in enumerate(zip(ranks, scales, strict=True))
    ]  # fmt: skip
    return Pool(tuple(modules), NAMES, "a pool", {})


def update(module: LoraModule, name: str) -> np.ndarray:
    return module.b[name].astype(np.float64) @ module.a[name] * module.scale


def of_peft(
    pool: Pool, kind: str, weights: Sequence[float], rslora: bool = False, **options: float
) -> dict[str, np.ndarray]:
    """The updates that peft's merge of the same modules computes."""
    model = None
    for module in pool.modules:
        alpha = module.scale * (math.sqrt(module.rank) if rslora else module.rank)
        config = peft.LoraConfig(r=module.rank, lora_alpha=alpha, target_modules=list(NAMES), use_rslora=rslora)
        if model is None:
            model = peft.PeftModel(Net(), config, module.name)
        else:
            model.add_adapter(module.name, config)
        for name in NAMES:
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A[module.name].weight.data = torch.as_tensor(module.a[name])
            layer.lora_B[module.name].weight.data = torch.as_tensor(module.b[name])
    assert model is not None
    model.add_weighted_adapter([m.name for m in pool.modules], list(weights), "sum", kind, **options)
    layers = {name: model.base_model.model.get_submodule(name) for name in NAMES}
    return {name: layer.get_delta_weight("sum").detach().numpy() for name, layer in layers.items()}


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("linear", {}),
        ("cat", {}),
        ("svd", {}),
        ("ties", {"density": 0.5}),
        ("ties-svd", {"density": 0.5}),
        ("magnitude-prune", {"density": 0.5}),
        ("magnitude-prune-svd", {"density": 0.5}),
    ],
)
@pytest.mark.parametrize("weights", [(0.5, 1.0, 0.25), (0.5, -1.0, 2.0)])
def test_the_ways_are_pefts(how: str, options: dict[str, float], weights: tuple[float, ...]) -> None:
    pool = pool_of()
    module, _ = merged(Merge(WAYS[how], weights, **options), pool, "sum")
    expected = of_peft(pool, how.replace("-", "_"), weights, **options)
    for name in NAMES:
        np.testing.assert_allclose(update(module, name), expected[name], atol=2e-5)


@pytest.mark.parametrize("how", ["dare-linear", "dare-ties", "dare-linear-svd", "dare-ties-svd"])
def test_dare_is_pefts_with_the_same_draws(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, weights = pool_of(), (0.5, 1.0, 0.25)
    module, _ = merged(Merge(WAYS[how], weights, density=0.6, seed=3), pool, "sum")
    draws = iter([np.random.default_rng([3, number]) for number in range(len(NAMES))])
    made = {name: next(draws) for name in NAMES}
    turn, each = iter(NAMES), {"left": 0, "rng": None}

    def bernoulli(p: torch.Tensor) -> torch.Tensor:
        """peft goes through the linears in the same order, and draws for each adapter, of factors first all A."""
        if each["left"] == 0:
            each["rng"], each["left"] = made[next(turn)], 3 if how.endswith("svd") else 6
        each["left"] -= 1
        return torch.as_tensor((each["rng"].random(tuple(p.shape)) < p.numpy().astype(np.float64).round(6)) * 1.0).to(p)

    monkeypatch.setattr(torch, "bernoulli", bernoulli)
    expected = of_peft(pool, how.replace("-", "_"), weights, density=0.6)
    for name in NAMES:
        np.testing.assert_allclose(update(module, name), expected[name], atol=2e-5)


def test_scales_of_rslora_and_of_patterns(tmp_path) -> None:
    """What peft saves with alpha / sqrt(r), and with a scale of its own for one linear, weighs what it does in peft."""
    model = None
    for name, config in (
        ("one", peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=list(NAMES))),
        ("two", peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(NAMES),
                                alpha_pattern={"blocks.0.second": -20}, rank_pattern={"blocks.1.first": 3})),
    ):  # fmt: skip
        config.init_lora_weights = False
        model = peft.PeftModel(Net(), config, name) if model is None else model.add_adapter(name, config) or model
    assert model is not None
    model.save_pretrained(tmp_path)
    module, matrices = merged(Merge(WAYS["task-arithmetic"], (0.5, 2.0)), load_pool(tmp_path), "sum")
    assert {matrix.linear: matrix.rank for matrix in matrices} == dict(zip(NAMES, (8, 7, 7), strict=True))
    for name in NAMES:
        layer = model.base_model.model.get_submodule(name)
        expected = 0.5 * layer.get_delta_weight("one") + 2.0 * layer.get_delta_weight("two")
        np.testing.assert_allclose(update(module, name), expected.detach(), atol=1e-5)


@pytest.mark.parametrize("how", [name for name, way in WAYS.items() if way.join != "slerp"])
def test_modules_that_are_the_same_merge_to_that_one(how: str) -> None:
    """With even weights; but for a sum of factors, whose cross terms are as large as the rest."""
    one = pool_of().modules[0]
    pool = replace(pool_of(), modules=tuple(replace(one, name=f"m{k}") for k in range(3)))
    density = None if WAYS[how].cut == "nothing" else 1.0
    module, matrices = merged(Merge(WAYS[how], density=density), pool, "sum")
    factor = 3.0 if WAYS[how].of == "factors" and WAYS[how].join == "sum" else 1.0
    for name, matrix in zip(NAMES, matrices, strict=True):
        np.testing.assert_allclose(update(module, name), factor * update(one, name), rtol=0, atol=2e-5)
        assert matrix.error == pytest.approx(factor - 1.0, abs=1e-6)


def test_slerp_of_modules() -> None:
    pool = replace(pool_of(), modules=pool_of((2, 3, 1)).modules[:2])
    for weights, end in (((1.0, 0.0), 0), ((0.0, 2.0), 1)):
        module, matrices = merged(Merge(WAYS["slerp"], weights), pool, "sum")
        for name in NAMES:
            np.testing.assert_allclose(update(module, name), update(pool.modules[end], name), atol=1e-5)
        assert max(matrix.error for matrix in matrices) < 1e-6
    module, _ = merged(Merge(WAYS["slerp"], (1.0, 3.0)), pool, "sum")
    for name in NAMES:
        one, other = (update(module, name) for module in pool.modules)
        f, g = slerp(one, other, 0.75)
        np.testing.assert_allclose(update(module, name), f * one + g * other, atol=1e-5)


def test_the_merge_error_is_the_distance_to_the_sum_of_updates() -> None:
    """Cross terms of factors, and singular values that are cut off, each computed here another way."""
    pool, weights = pool_of(), (0.5, 1.0, 0.25)
    exact = {n: sum(w * update(m, n) for w, m in zip(weights, pool.modules, strict=True)) for n in NAMES}
    _, matrices = merged(Merge(WAYS["linear"], weights), pool, "sum")
    for name, matrix in zip(NAMES, matrices, strict=True):
        roots = [math.sqrt(w * m.scale) for w, m in zip(weights, pool.modules, strict=True)]
        cross = sum(
            roots[j] * roots[k] * pool.modules[j].b[name] @ pool.modules[k].a[name]
            for j in range(3) for k in range(3) if j != k
        )  # fmt: skip
        assert matrix.error == pytest.approx(np.linalg.norm(cross) / np.linalg.norm(exact[name]), rel=1e-5)
        assert matrix.norm == pytest.approx(np.linalg.norm(exact[name]), rel=1e-6)
    for rank in (1, 3, 5):
        _, matrices = merged(Merge(WAYS["task-arithmetic"], weights, rank=rank), pool, "sum")
        for name, matrix in zip(NAMES, matrices, strict=True):
            values = np.linalg.svd(exact[name], compute_uv=False)
            assert matrix.rank == rank
            assert matrix.error == pytest.approx(math.sqrt((values[rank:] ** 2).sum() / (values**2).sum()), rel=1e-5)


def test_a_sum_needs_no_more_rank_than_the_matrix_has() -> None:
    pool = pool_of((4, 4, 4))
    _, matrices = merged(Merge(WAYS["task-arithmetic"]), pool, "sum")
    assert [matrix.rank for matrix in matrices] == [8, 7, 8]
    assert max(matrix.error for matrix in matrices) < 1e-6
    assert [matrix.rank for matrix in merged(Merge(WAYS["cat"]), pool, "sum")[1]] == [12, 12, 12]


def test_factors_per_block() -> None:
    factors = {NAMES[0]: 0.0, NAMES[1]: -0.5, NAMES[2]: 2.0}
    plain, _ = merged(Merge(WAYS["cat"]), pool_of(), "sum")
    scaled, matrices = merged(Merge(WAYS["cat"], block_factors=factors), pool_of(), "sum")
    for name in NAMES:
        np.testing.assert_allclose(update(scaled, name), factors[name] * update(plain, name), atol=1e-5)
    assert max(matrix.error for matrix in matrices) < 1e-6


def without(module: LoraModule, name: str) -> LoraModule:
    out, width = SHAPES[name]
    none = {name: np.zeros((0, width), np.float32)}, {name: np.zeros((out, 0), np.float32)}
    return replace(module, a={**module.a, **none[0]}, b={**module.b, **none[1]})


def test_other_targets_count_as_zero_or_are_refused() -> None:
    pool = pool_of()
    first, *rest = pool.modules
    pool = replace(pool, modules=(without(first, NAMES[1]), *rest))
    assert list(absences(pool)) == [f"module m0 does not change {NAMES[1]}: its update counts as zero there"]
    module, _ = merged(Merge(WAYS["svd"], (1.0, 1.0, 1.0), rank=7), pool, "sum")
    expected = sum(update(m, NAMES[1]) for m in rest)
    np.testing.assert_allclose(update(module, NAMES[1]), expected, atol=1e-5)
    for how in ("linear", "ties"):
        with pytest.raises(UsageError, match=f"'m1' changes {NAMES[1]}, which 'm0' does not"):
            merged(Merge(WAYS[how]), pool, "sum")


@pytest.mark.parametrize(
    ("how", "options", "said"),
    [
        ("linear", {"rank": 2}, "--rank has no effect on linear; it has one on: task-arithmetic, svd"),
        ("cat", {"rank": 2}, "--rank has no effect on cat"),
        ("svd", {"density": 0.5}, "--density has no effect on svd; it has one on: ties-svd"),
        ("ties", {"gamma": 0.1}, "--gamma has no effect on ties; it has one on: breadcrumbs"),
        ("ties", {"seed": 1}, "--seed has no effect on ties; it has one on: dare-linear-svd"),
        ("dare-linear", {"seed": -1}, "--seed must be 0 or more; got -1"),
        ("svd", {"rank": 9}, "--rank must be from 1 to 8"),
        ("svd", {"rank": 0}, "--rank must be from 1 to 8"),
        ("ties-svd", {"density": 0.0}, "--density is a share"),
        ("ties-svd", {"density": math.nan}, "--density is a share"),
        ("ties-svd", {"density": 1e-3}, "keeps no number of blocks.0.first"),
        ("breadcrumbs", {"density": 0.9, "gamma": 0.2}, "at most 1 together"),
        ("cat", {"weights": (1.0, 2.0)}, "in the order m0, m1, m2; got 2 for 3 modules"),
        ("cat", {"weights": (1.0, 2.0, math.inf)}, "finite"),
        ("cat", {"weights": (0.0, 0.0, 0.0)}, "not all zero"),
        ("cat", {"weights": (1e300, 1.0, 1.0)}, "too large for float32"),
        ("slerp", {}, "this pool has 3: m0, m1, m2"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(how: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merged(Merge(WAYS[how], **options), pool_of(), "sum")


def test_ranks_and_directions_that_do_not_match() -> None:
    with pytest.raises(UsageError, match=r"rank, and that of blocks\.0\.first is 2 in 'm0', 3 in 'm1', 2 in 'm2'"):
        merged(Merge(WAYS["linear"]), pool_of((2, 3, 2)), "sum")
    two = replace(pool_of(), modules=pool_of().modules[:2])
    with pytest.raises(UsageError, match="weights of 0 or more"):
        merged(Merge(WAYS["slerp"], (1.0, -1.0)), two, "sum")
    twins = replace(two, modules=(two.modules[0], replace(two.modules[0], name="m1")))
    with pytest.raises(UsageError, match="nothing is left"):
        merged(Merge(WAYS["svd"], (1.0, -1.0)), twins, "sum")
