"""LayerNorm tuning, IA3, VeRA and prompt tuning against `peft`; BitFit, which it does not have, against the model."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.methods.library.vera import projection
from edge_adapt.workloads.named_shapes import load_shape

FEED_FORWARD = r"encoder\.layer\.\d+\.output\.dense"


def attach(backbone, name, **options):
    """The method with every number of its state drawn at random."""
    adaptation = get_method(name, **options).attach(backbone, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def wrapped(backbone, config):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(copy.deepcopy(backbone.module), config(peft), autocast_adapter_dtype=False).eval()


def compare(adaptation, examples, forward, theirs):
    """Logits and the gradient of every own tensor; `theirs` are the oracle's parameters by our names."""
    ids, mask, labels = examples.tensors()
    features = (forward(ids, mask) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = F.linear(features, adaptation.state["head.weight"].detach(), adaptation.state["head.bias"].detach())
    got = adaptation.module(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    names = [name for name in adaptation.trained_names if not name.startswith("head.")]
    assert set(names) == set(theirs)
    for parameter in theirs.values():
        parameter.requires_grad_(True)
    ours = torch.autograd.grad(F.cross_entropy(got, labels), [adaptation.state[name] for name in names])
    others = torch.autograd.grad(F.cross_entropy(expected, labels), [theirs[name] for name in names])
    for name, one, other in zip(names, ours, others, strict=True):
        torch.testing.assert_close(one, other.reshape(one.shape), rtol=1e-8, atol=1e-11, msg=name)


def hidden_of(model):
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state


@torch.no_grad()
def given(theirs, adaptation):
    for name, parameter in theirs.items():
        parameter.copy_(adaptation.state[name].reshape(parameter.shape))
    return theirs


def test_bitfit_is_the_plain_model_with_other_biases(backbone, examples):
    adaptation = attach(backbone, "bitfit")
    model = copy.deepcopy(backbone.module)
    theirs = {name: parameter for name, parameter in model.named_parameters() if name.endswith(".bias")}
    compare(adaptation, examples, hidden_of(model), given(theirs, adaptation))


@pytest.mark.filterwarnings("ignore")
def test_ln_tuning_is_pefts(backbone, examples):
    adaptation = attach(backbone, "ln-tuning")
    model = wrapped(backbone, lambda peft: peft.LNTuningConfig(target_modules=["LayerNorm"]))
    tuned = {name: p for name, p in model.named_parameters() if ".ln_tuning_layers.default." in name}
    theirs = {
        name.removeprefix("base_model.model.").replace("ln_tuning_layers.default.", ""): parameter
        for name, parameter in tuned.items()
    }
    compare(adaptation, examples, hidden_of(model), given(theirs, adaptation))


@pytest.mark.filterwarnings("ignore")
def test_ia3_is_pefts(backbone, examples):
    adaptation = attach(backbone, "ia3")
    targets = rf".*\.(key|value)|{FEED_FORWARD}"
    model = wrapped(backbone, lambda peft: peft.IA3Config(target_modules=targets, feedforward_modules=FEED_FORWARD))
    theirs = {
        f"{name.removeprefix('base_model.model.').removesuffix('.ia3_l.default')}.scale": parameter
        for name, parameter in model.named_parameters()
        if name.endswith(".ia3_l.default")
    }
    compare(adaptation, examples, hidden_of(model), given(theirs, adaptation))


@pytest.mark.filterwarnings("ignore")
def test_vera_is_pefts(backbone, examples):
    adaptation = attach(backbone, "vera", rank=5)
    model = wrapped(backbone, lambda peft: peft.VeraConfig(r=5, target_modules=["query", "value"], vera_dropout=0.0))
    theirs = {}
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        layer.vera_A["default"] = adaptation.cell_tensors["vera.a.16"]
        layer.vera_B["default"] = adaptation.cell_tensors["vera.b.16"]
        theirs[f"{name}.inner"] = layer.vera_lambda_d["default"]
        theirs[f"{name}.outer"] = layer.vera_lambda_b["default"]
    compare(adaptation, examples, hidden_of(model), given(theirs, adaptation))


@pytest.mark.filterwarnings("ignore")
def test_prompt_tuning_is_pefts(backbone, examples):
    adaptation = attach(backbone, "prompt-tuning", prompts=4)

    def config(peft):
        return peft.PromptTuningConfig(
            task_type="FEATURE_EXTRACTION", num_virtual_tokens=4, token_dim=16, num_layers=2, num_attention_heads=2
        )

    model = wrapped(backbone, config)
    theirs = {"prompts": model.prompt_encoder["default"].embedding.weight.data.double().requires_grad_()}
    model.prompt_encoder["default"].embedding.weight = torch.nn.Parameter(given(theirs, adaptation)["prompts"])
    theirs = {"prompts": model.prompt_encoder["default"].embedding.weight}
    model.double()
    compare(adaptation, examples, lambda ids, mask: hidden_of(model)(ids, mask)[:, 4:], theirs)


def test_prompts_start_at_words(backbone):
    adaptation = get_method("prompt-tuning", prompts=6).attach(backbone, 3, np.random.default_rng(0))
    table = backbone.module.embeddings.word_embeddings.weight
    assert all((prompt == table).all(1).any() for prompt in adaptation.state["prompts"])


def test_no_room_for_prompts(backbone):
    adaptation = get_method("prompt-tuning", prompts=4).attach(backbone, 3, np.random.default_rng(0))
    ids = torch.ones(1, 29, dtype=torch.int64)
    with pytest.raises(UsageError, match="29 tokens and 4 prompts are more than the 32 places"):
        adaptation.module(ids, torch.ones_like(ids))
    assert adaptation.module(ids[:, 1:], torch.ones_like(ids[:, 1:])).shape == (1, 3)


def test_prompts_make_every_sequence_longer(backbone):
    """Work on n tokens with p prompts is work on n + p tokens."""
    plain, longer = (
        get_method("prompt-tuning", prompts=prompts).attach(backbone, 3, np.random.default_rng(0)) for prompts in (0, 3)
    )
    lengths = np.array([4, 7, 7])
    for work in ("inference_work", "training_work", "backward_work"):
        few, many = getattr(plain, work), getattr(longer, work)
        counted = many.macs(lengths.sum(), (lengths**2).sum(), 3)
        assert counted == few.macs((lengths + 3).sum(), ((lengths + 3) ** 2).sum(), 3)
    assert longer.inference_work.sram_bytes(18, 3) == plain.inference_work.sram_bytes(27, 3)
    assert (plain.extra_tokens, longer.extra_tokens) == (0, 3)


def test_vera_matrices_are_the_same_for_every_seed_and_layer(backbone):
    first, second = (get_method("vera").attach(backbone, 3, np.random.default_rng(seed)) for seed in (0, 1))
    beside = first.cell_tensors.keys() - set(backbone.linear_names())
    assert beside == {"vera.a.16", "vera.b.16"}
    for name in beside:
        assert torch.equal(first.cell_tensors[name], second.cell_tensors[name])
        assert first.placements[name] is Placement.NVM_FROZEN
    for matrix in (projection(500, 300), projection(300, 500)):
        bound = (6 / matrix.shape[1]) ** 0.5
        assert 0.999 * bound < np.abs(matrix).max() <= bound
        assert matrix.var() == pytest.approx(bound**2 / 3, rel=0.02)


@pytest.mark.parametrize(
    ("model", "method", "options", "expected"),
    [
        # 102,912 with the pooler's bias (768), which this encoder does not have
        ("bert-base-uncased", "bitfit", {}, 102_144),
        ("bert-base-uncased", "ln-tuning", {}, 38_400),
        ("vit-base-patch16-224", "ln-tuning", {}, 38_400),
        ("bert-base-uncased", "ia3", {}, 55_296),
        ("bert-base-uncased", "vera", {"rank": 256}, 24_576),
        ("t5-base", "bitfit", {}, 0),
        ("t5-base", "ln-tuning", {}, (12 * 2 + 12 * 3 + 2) * 768),
    ],
)
def test_counts(model, method, options, expected):
    assert get_method(method).count(load_shape(model), **options).trained_parameters == expected


def test_vera_programs_its_matrices_once_for_all_layers():
    count = get_method("vera").count(load_shape("bert-base-uncased"), rank=256)
    assert count.cells_frozen == 2 * 256 * 768


def test_wrong_options(backbone):
    with pytest.raises(UsageError, match="rank of vera"):
        get_method("vera", rank=0)
    with pytest.raises(UsageError, match="prompts of prompt-tuning"):
        get_method("prompt-tuning", prompts=-1)
    with pytest.raises(UsageError, match="for images take vpt"):
        get_method("prompt-tuning").attach(replace(backbone, kind="image"), 3, np.random.default_rng(0))
