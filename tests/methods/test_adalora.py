"""AdaLoRA against peft, step by step: the same matrices, masks and rank pattern; the budget in closed form."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import get_method
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.methods.training.hooks.rank_budget import RankBudget
from edge_adapt.methods.training.trainer import train
from torch.utils.flop_counter import FlopCounterMode
from transformers import AlbertConfig, AlbertModel

RANK, ALPHA, STEPS = 3, 6.0, 20
RATES = {"matrices": 0.01, "gates": 0.05, "head": 0.003}
HOOK = {"budget_warmup": 0.2, "budget_rest": 0.25, "kept_share": 1 / 3}


def adalora_of(backbone, **recipe):
    method = get_method("adalora", rank=RANK, alpha=ALPHA)
    fields = {
        "epochs": STEPS, "min_steps": 0, "batch_size": 24, "clip_norm": 1e9, "weight_decay": 0.01,
        "learning_rates": RATES,
    } | HOOK | recipe  # fmt: skip
    method = dataclasses.replace(method, recipe=method.recipe.with_options(**fields))
    return method.attach(backbone, 3, np.random.default_rng(0))


def peft_of(backbone, adaptation, interval):
    """The same model as peft has it, and its tensors by our names."""
    peft = pytest.importorskip("peft")
    config = peft.AdaLoraConfig(
        init_r=RANK, target_r=1, tinit=4, tfinal=5, deltaT=interval, total_step=STEPS, orth_reg_weight=0.5,
        lora_alpha=ALPHA * (RANK + 1e-5) / RANK, target_modules=["query", "value"],
    )  # fmt: skip
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).double().eval()
    theirs = {}
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        for ours, part in (("lora_a", layer.lora_A), ("lora_b", layer.lora_B), ("gate", layer.lora_E)):
            start = adaptation.state[f"{name}.{ours}"].detach().clone()
            part["default"].data = start.unsqueeze(1) if ours == "gate" else start
            theirs[f"{name}.{ours}"] = part["default"]
    return model, theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("interval", [1, 3])
def test_the_steps_and_masks_are_those_of_peft(backbone, examples, interval):
    adaptation, starts, seen = adalora_of(backbone, budget_interval=interval), [], []
    model, theirs = peft_of(backbone, adaptation, interval)
    train(
        adaptation, examples.encoded, examples.labels, np.random.default_rng(0),
        on_start=lambda: starts.append([p.detach().clone() for p in adaptation.module.head.parameters()]),
        on_step=lambda step: seen.append(adaptation.state_dict()),
    )  # fmt: skip
    head = [torch.nn.Parameter(value) for value in starts[0]]
    ids, mask, labels = examples.tensors()
    matrices = [tensor for name, tensor in theirs.items() if "gate" not in name]
    gates = [tensor for name, tensor in theirs.items() if "gate" in name]
    groups = [{"params": part, "lr": RATES[name]} for name, part in zip(RATES, (matrices, gates, head), strict=True)]
    optimiser, closed = torch.optim.AdamW(groups, weight_decay=0.01), []
    for step in range(1, STEPS + 1):
        for group, rate in zip(optimiser.param_groups, RATES.values(), strict=True):
            group["lr"] = rate * (1 - (step - 1) / STEPS)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        features = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        regulariser = sum(
            torch.linalg.norm((p @ p.T if "lora_a" in name else p.T @ p) - torch.eye(RANK))
            for name, p in theirs.items() if "gate" not in name
        ) / len(matrices)  # fmt: skip
        optimiser.zero_grad()
        (F.cross_entropy(F.linear(features, *head), labels) + 0.5 * regulariser).backward()
        optimiser.step()
        model.base_model.update_and_allocate(step)
        for name, tensor in theirs.items():
            expected = tensor.detach().reshape(seen[step - 1][name].shape)
            torch.testing.assert_close(seen[step - 1][name], expected, rtol=1e-6, atol=1e-9)
            assert torch.equal(seen[step - 1][name] == 0, expected == 0), (step, name)
        closed.append(sum(int((gate == 0).sum()) for gate in gates))
    assert closed[-1] == 8 and len(set(closed)) > 3
    pattern = {key.split(".lora_E")[0].removeprefix("base_model.model."): value
               for key, value in model.peft_config["default"].rank_pattern.items()}  # fmt: skip
    kept = adaptation.kept_ranks(gated=True)
    left = {name.removeprefix("model."): np.flatnonzero(flags).tolist() for name, flags in pattern.items()}
    assert left == {
        name: kept[f"{name}.lora_a"].ranks.tolist() for name in backbone.target_names()
    }  # fmt: skip


def test_the_budget_is_the_cubic_of_the_paper():
    hook, steps, ranks = RankBudget(kept_share=0.25, budget_warmup=0.1, budget_rest=0.4), 100, 48
    curve = [hook.budget(t, steps, ranks) for t in range(1, steps + 1)]
    assert curve[:10] == [48] * 10 and curve[59:] == [12] * 41
    assert curve[34] == int(36 * 0.5**3 + 12) == 16  # half way between 10 and 60
    assert curve == sorted(curve, reverse=True)


def test_gates_at_zero_are_the_frozen_model(backbone, examples):
    """Whatever P and Q are."""
    adaptation = adalora_of(backbone)
    ids, mask, _ = examples.tensors()
    with torch.no_grad():
        for name, parameter in adaptation.state.items():
            if "lora" in name:
                parameter.normal_()
    frozen = get_method("frozen").attach(backbone, 3, np.random.default_rng(0))
    torch.testing.assert_close(adaptation.module.features(ids, mask), frozen.module.features(ids, mask))


def test_the_regulariser_is_zero_where_all_is_orthonormal(backbone):
    adaptation = adalora_of(backbone)
    with torch.no_grad():
        for name, parameter in adaptation.state.items():
            if "lora" in name:
                torch.nn.init.orthogonal_(parameter)
    assert adaptation.regulariser().item() == pytest.approx(0.0, abs=1e-12)
    with torch.no_grad():
        adaptation.state[f"{backbone.target_names()[0]}.lora_a"].mul_(2.0)
    # One of 8 matrices: its products are 4 I, off by 3 on each of three places of the diagonal.
    assert adaptation.regulariser().item() == pytest.approx(0.5 * 3 * 3**0.5 / 8)


@pytest.mark.parametrize("runs", [1, 2])
def test_the_products_of_the_regulariser_are_charged_once(backbone, runs):
    """Those of autograd, forward and backward: the matrices are there once, however often the blocks run."""
    if runs > 1:
        config = AlbertConfig(
            vocab_size=40, embedding_size=8, hidden_size=16, num_hidden_layers=4, num_hidden_groups=2,
            num_attention_heads=2, intermediate_size=24, max_position_embeddings=32,
        )  # fmt: skip
        backbone = dataclasses.replace(backbone, module=AlbertModel(config, add_pooling_layer=False).double().eval())
    assert backbone.shape.runs == runs
    adaptation = adalora_of(backbone)
    with FlopCounterMode(display=False) as counter:
        adaptation.regulariser().backward()
    assert adaptation.backward_work.per_pass == counter.get_total_flops() // 2 > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kept_share": 1.5}, "kept_share of a recipe must be between 0 and 1; got 1.5"),
        ({"budget_warmup": 0.6, "budget_rest": 0.5}, "must leave steps between them.* got 0.6 and 0.5"),
        ({"budget_interval": 0}, "budget_interval of a recipe must be at least 1; got 0"),
        ({"sensitivity_memory": 1.0}, "sensitivity_memory of a recipe must be above 0 and below 1; got 1"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        RankBudget(**options)
    with pytest.raises(UsageError, match="orthogonality of adalora must be 0 or more; got -1"):
        get_method("adalora", orthogonality=-1.0)


def test_a_method_without_gates_is_refused(backbone, examples):
    lora = get_method("lora").attach(backbone, 3, np.random.default_rng(0))
    recipe = dataclasses.replace(lora.recipe, hooks=(RankBudget(),))
    with pytest.raises(UsageError, match="rank-budget closes gates of ranks, and lora has none; take it for adalora"):
        train(lora, examples.encoded, examples.labels, np.random.default_rng(0), recipe=recipe)


def test_bundles_refuse_it_in_one_sentence_and_sora_says_what_to_set():
    with pytest.raises(UsageError, match=r"adalora gives up ranks while it trains, which .* held digitally: .*lora"):
        require_in_bundles(get_method("adalora"))
    sora = get_method("sora")
    with pytest.raises(UsageError, match=r"cannot hold the optimiser proximal of sora: take recipe.optimiser=adamw"):
        require_in_bundles(sora)
    require_in_bundles(dataclasses.replace(sora, recipe=sora.recipe.with_options(optimiser="adamw")))
