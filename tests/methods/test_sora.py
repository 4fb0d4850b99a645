"""SoRA: LoRA of peft where the gates are 1, the exact soft threshold, and a smaller LoRA after pruning."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.training.optimisers.proximal import Proximal, soft_threshold
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.named_shapes import load_shape
from hypothesis import given, settings
from hypothesis import strategies as st

RANK, ALPHA, STEPS = 3, 6.0, 5


def sora_of(backbone, **recipe):
    method = get_method("sora", rank=RANK, alpha=ALPHA)
    fields = {"epochs": STEPS, "min_steps": 0, "batch_size": 24} | recipe
    method = dataclasses.replace(method, recipe=method.recipe.with_options(**fields))
    return method.attach(backbone, 3, np.random.default_rng(0))


def gates_of(adaptation):
    return {name: gate.detach() for name, gate in adaptation.state.items() if name.endswith(".gate")}


@pytest.mark.filterwarnings("ignore")
def test_with_gates_of_1_and_no_threshold_it_is_the_lora_of_peft_step_by_step(backbone, examples):
    """Both trained by the same steps from the same start: the same losses, and the same matrices after the last."""
    peft = pytest.importorskip("peft")
    rates = {"matrices": 0.01, "gates": 0.0, "head": 0.003}
    adaptation = sora_of(backbone, soft_threshold=0.0, learning_rates=rates, weight_decay=0.01, clip_norm=1e9)
    with torch.no_grad():
        for gate in gates_of(adaptation).values():
            gate.fill_(1.0)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    theirs = {}
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for ours, part in (("lora_a", layer.lora_A), ("lora_b", layer.lora_B)):
            part["default"].weight.data = adaptation.state[f"{name}.{ours}"].detach().clone()
            theirs[f"{name}.{ours}"] = part["default"].weight

    starts = []
    log = train(
        adaptation, examples.encoded, examples.labels, np.random.default_rng(0),
        on_start=lambda: starts.append([p.detach().clone() for p in adaptation.module.head.parameters()]),
    )  # fmt: skip
    head = [torch.nn.Parameter(value) for value in starts[0]]
    ids, mask, labels = examples.tensors()
    optimiser = torch.optim.AdamW(
        [{"params": list(theirs.values()), "lr": 0.01}, {"params": head, "lr": 0.003}], weight_decay=0.01
    )
    losses = []
    for step in range(STEPS):
        for group, rate in zip(optimiser.param_groups, (0.01, 0.003), strict=True):
            group["lr"] = rate * (1 - step / STEPS)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        loss = F.cross_entropy(F.linear(features, *head), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(log.losses, losses, rtol=1e-6)
    for name, weight in theirs.items():
        torch.testing.assert_close(adaptation.state[name], weight, rtol=1e-5, atol=1e-8)


@given(
    values=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8),
    distance=st.floats(0, 2, width=32),
)
@settings(max_examples=200, deadline=None)
def test_the_soft_threshold_is_the_closed_form(values, distance):
    """sign(g) max(|g| - t, 0): what makes t |z| + (z - g)^2 / 2 least, on a grid of z besides."""
    got = soft_threshold(torch.tensor(values, dtype=torch.float64), distance)
    np.testing.assert_allclose(got, np.sign(values) * np.maximum(np.abs(values) - distance, 0.0), atol=1e-12)
    cost = lambda z, g: distance * abs(z) + (z - g) ** 2 / 2
    for z, g in zip(got.tolist(), values, strict=True):
        assert all(
            cost(z, g) <= cost(other, g) + 1e-12 for other in (0.0, g, z - 1e-3, z + 1e-3, *np.linspace(-3, 3, 25))
        )


def test_the_threshold_is_that_of_the_rate_and_of_its_group_alone():
    gate, matrix = (torch.nn.Parameter(torch.tensor([0.5, -0.004, 0.03])) for _ in range(2))
    groups = [{"name": "gates", "params": [gate], "lr": 0.1}, {"name": "matrices", "params": [matrix], "lr": 0.1}]
    optimiser = Proximal(soft_threshold=0.2).make(groups, weight_decay=0.0)
    for parameter in (gate, matrix):
        parameter.grad = torch.zeros(3)
    optimiser.step()
    assert gate.tolist() == pytest.approx([0.48, 0.0, 0.01]) and gate[1] == 0
    assert matrix.tolist() == pytest.approx([0.5, -0.004, 0.03])
    optimiser.param_groups[0]["lr"] = 0.05
    optimiser.step()
    assert gate.tolist() == pytest.approx([0.47, 0.0, 0.0])


def test_a_larger_lambda_never_keeps_more():
    """Of a fixed quadratic sum (g - c)^2 / 2, whose minimum is the soft threshold of c."""
    centre, kept = torch.tensor([1.0, -0.7, 0.4, -0.2, 0.05]), []
    for threshold in np.linspace(0.0, 1.2, 9).tolist():
        gate = torch.nn.Parameter(torch.zeros(5))
        plain = torch.optim.SGD([{"name": "gates", "params": [gate], "lr": 0.1}])
        for _ in range(300):
            gate.grad = gate.detach() - centre
            plain.step()
            Proximal(soft_threshold=threshold)._shrink(plain, ["gates"])
        kept.append(int((gate != 0).sum()))
        torch.testing.assert_close(gate.detach(), soft_threshold(centre, threshold), rtol=0, atol=1e-5)
    assert kept == sorted(kept, reverse=True) and kept[0] == 5 and kept[-1] == 0


def test_training_prunes_and_the_pruned_lora_answers_alike(backbone, examples):
    """What is left, as a LoRA without gates of the kept ranks alone, put on the weights themselves."""
    adaptation = sora_of(backbone, soft_threshold=2.0, epochs=30)
    train(adaptation, examples.encoded, examples.labels, np.random.default_rng(0))
    gates = gates_of(adaptation)
    kept = sum(int((gate != 0).sum()) for gate in gates.values())
    assert 0 < kept < RANK * len(gates)
    ids, mask, _ = examples.tensors()
    expected = adaptation.module.features(ids, mask)
    method = get_method("sora", rank=RANK, alpha=ALPHA)
    form = method.lora_form({name: value.numpy() for name, value in adaptation.state_dict().items()}, None, None)
    pruned = copy.deepcopy(backbone.module)
    for name, gate in gates.items():
        linear = name.removesuffix(".gate")
        assert form.a[linear].shape == (max(1, int((gate != 0).sum())), 16)
        change = form.scale * form.b[linear] @ form.a[linear]
        with torch.no_grad():
            pruned.get_submodule(linear).weight += torch.from_numpy(change)
    hidden = pruned(input_ids=ids, attention_mask=mask).last_hidden_state
    features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-6)
    ranks = adaptation.kept_ranks(gated=True)
    assert sum(part.ranks.size for name, part in ranks.items() if name.endswith("lora_a")) == kept


def test_counts_of_the_paper():
    """All six linears of BERT base at rank 8: 1,327,104 numbers of LoRA and 576 gates, "1.33M"."""
    roles = "query,key,value,attention_output,ffn_up,ffn_down"
    count = get_method("sora", rank=8, targets=roles).count(load_shape("bert-base-uncased"))
    assert dict(count.trained) == {"matrices": 1_327_104, "gates": 576}


def test_options_that_cannot_be():
    with pytest.raises(UsageError, match="soft_threshold of a recipe must be 0 or more; got -1"):
        Proximal(soft_threshold=-1.0)
    with pytest.raises(UsageError, match="rank of sora must be at least 1; got 0"):
        get_method("sora", rank=0)


def test_a_method_without_gates_says_so(backbone, examples):
    lora = get_method("lora").attach(backbone, 3, np.random.default_rng(0))
    recipe = lora.recipe.with_options(optimiser="proximal")
    with pytest.raises(UsageError, match=r"unknown group of recipe.sparse_groups 'gates' of lora.*matrices"):
        train(lora, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)
    sparse = recipe.with_options(sparse_groups="matrices", soft_threshold=1e4)
    train(lora, examples.encoded, examples.labels, np.random.default_rng(0), recipe=sparse)
    assert all(part.ranks.size == 0 for part in lora.kept_ranks(gated=False).values())
