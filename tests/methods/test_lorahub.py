"""LoraHub against peft, merged weights, and the reads that its composition takes."""

import copy
import re

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, Placement, get_method
from edge_adapt.methods.plan import Size
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.workloads.named_shapes import load_shape


def attach(backbone, pool, name="lorahub", **options):
    return get_method(name, **options).attach(backbone, 3, np.random.default_rng(0), pool=pool)


def with_coefficients(adaptation, values):
    with torch.no_grad():
        adaptation.state["coefficients"].copy_(torch.tensor(values, dtype=torch.float64)[:, None])
    return adaptation


def mean_of(model, ids, mask):
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def peft_model(backbone, rank=3):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["query", "value"])
    module = copy.deepcopy(backbone.module)
    return peft.get_peft_model(module, config, adapter_name="m0", autocast_adapter_dtype=False), config


@pytest.mark.parametrize("coefficients", [[0.7, 0.4, 1.1], [-0.9, 1.5, 0.3], [0.0, 0.0, 1.0]])
def test_fixed_coefficients_are_pefts_adapter_of_the_two_sums(backbone, make_pool, examples, coefficients):
    """One adapter whose A is the sum of all c_k A_k and whose B is that of all c_k B_k: the same logits."""
    pool, (ids, mask, _) = make_pool(), examples.tensors()
    model, _ = peft_model(backbone)
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for side, matrices in (("lora_A", "a"), ("lora_B", "b")):
            total = sum(c * getattr(m, matrices)[name].astype(np.float64)
                        for c, m in zip(coefficients, pool.modules, strict=True))  # fmt: skip
            getattr(layer, side)["m0"].weight.data = torch.from_numpy(total)
    model.eval()
    hub = with_coefficients(attach(backbone, pool), coefficients)
    expected = hub.module.head(mean_of(model, ids, mask))
    torch.testing.assert_close(hub.module(ids, mask), expected, rtol=0, atol=1e-10)


def test_pefts_linear_merge_takes_the_squares(backbone, make_pool, examples):
    """peft's "linear" puts the root of a weight on A and on B: weights c^2 give LoraHub's fusion."""
    pool, (ids, mask, _), coefficients = make_pool(), examples.tensors(), [0.7, 0.4, 1.1]
    model, config = peft_model(backbone)
    for k in (1, 2):
        model.add_adapter(f"m{k}", config)
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for k, module in enumerate(pool.modules):
            layer.lora_A[f"m{k}"].weight.data = torch.from_numpy(module.a[name]).double()
            layer.lora_B[f"m{k}"].weight.data = torch.from_numpy(module.b[name]).double()
    model.add_weighted_adapter(["m0", "m1", "m2"], [c**2 for c in coefficients], "merged", combination_type="linear")
    model.set_adapter("merged")
    model.eval()
    hub = with_coefficients(attach(backbone, pool), coefficients)
    torch.testing.assert_close(hub.module.features(ids, mask), mean_of(model, ids, mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cross_terms", [True, False])
def test_it_is_lorafusion_with_one_column(backbone, make_pool, examples, cross_terms):
    ids, mask, _ = examples.tensors()
    pool = make_pool((2, 4, 1), (2.0, 1.0, 0.5))
    hub = with_coefficients(attach(backbone, pool, cross_terms=cross_terms), [0.7, -0.4, 1.1])
    fused = attach(backbone, pool, "lorafusion", magnitude=False, cross_terms=cross_terms)
    with torch.no_grad():
        fused.state["coefficients"].copy_(hub.state["coefficients"].expand(3, 2))
    torch.testing.assert_close(hub.module.features(ids, mask), fused.module.features(ids, mask), rtol=0, atol=1e-12)
    method = get_method("lorahub", cross_terms=cross_terms)
    state = {name: value.numpy() for name, value in hub.state_dict().items()}
    form = method.lora_form(state, pool, backbone.shape)
    for name in backbone.target_names():
        a, b = (sum(c * np.sqrt(m.scale) * np.pad(getattr(m, side)[name], widths(m, side)).astype(np.float64)
                    for c, m in zip([0.7, -0.4, 1.1], pool.modules, strict=True)) for side in "ab")  # fmt: skip
        parts = zip([0.7, -0.4, 1.1], pool.modules, strict=True)
        apart = sum(c * m.scale * m.b[name].astype(np.float64) @ m.a[name] for c, m in parts)
        np.testing.assert_allclose(form.b[name] @ form.a[name], b @ a if cross_terms else apart, rtol=0, atol=1e-6)


def widths(module, side):
    more = 4 - module.rank
    return ((0, more), (0, 0)) if side == "a" else ((0, 0), (0, more))


def test_it_starts_as_the_plain_pool(backbone, make_pool, examples):
    ids, mask, _ = examples.tensors()
    hub, start = attach(backbone, make_pool()), attach(backbone, make_pool(), METHODS["lorahub"].start)
    torch.testing.assert_close(hub.module.features(ids, mask), start.module.features(ids, mask), rtol=0, atol=1e-12)
    assert hub.state["coefficients"].flatten().tolist() == [0.5] * 3
    assert start.trained_names == []


def test_at_zero_a_gradient_vanishes(backbone, make_pool, examples):
    """The authors' start: the frozen model, and a saddle, for A and B are multiplied."""
    ids, mask, labels = examples.tensors()
    hub = attach(backbone, make_pool(), initial=0.0)
    torch.testing.assert_close(
        hub.module.features(ids, mask), mean_of(backbone.module, ids, mask), rtol=0, atol=1e-12
    )  # fmt: skip
    torch.nn.init.normal_(hub.module.head.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(hub.module(ids, mask), labels).backward()
    assert hub.state["coefficients"].grad.abs().max().item() == 0.0


def test_what_is_read_for_a_token(backbone):
    """W, and of each adapted linear the stacks of all A and of all B once; a fused row twice; no norm, no magnitude."""
    shape, size = load_shape("bert-base-uncased"), Size(modules=20, rank=16)
    hub, fusion = (get_method(name).plan(shape, size) for name in ("lorahub", "lorafusion"))
    assert hub.read == fusion.read and hub.rewritten == ()
    assert len(hub.read) == 6 * 12 + 2 * 24 and set(hub.read) - set(hub.backbone) == set(hub.extra)
    assert {hub.extra[name] for name in hub.extra} == {(320, 768), (768, 320)}
    assert hub.own_work.per_token == 24 * 2 * 320 and hub.own_work.per_pass == 0
    assert hub.moving_numbers == 20 == sum(hub.trained_by_group.values())
    assert hub.gradient == "NONE" and hub.recipe.schedule(100).steps == 40
    assert hub.state_bytes == 4 * (20 + hub.head_numbers + 21**2)


def test_it_is_in_no_bundle_with_its_own_search():
    words = "a bundle cannot hold the optimiser interpolation of lorahub: take recipe.optimiser=adamw"
    with pytest.raises(UsageError, match=re.escape(words)):
        require_in_bundles(METHODS["lorahub"])


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="lorahub has no magnitudes; take lorafusion"):
        get_method("lorahub", magnitude=True)
    with pytest.raises(UsageError, match="placement for lorahub"):
        get_method("lorahub").choose_placement(Placement.NVM_STEP)
