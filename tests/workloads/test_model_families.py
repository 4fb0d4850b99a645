"""Families of encoders, each as a tiny random model (conftest): what transformers and peft make of it is made here."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, exact_reader, get_method
from edge_adapt.methods.training.trainer import train
from edge_adapt.studies.encoding import Encoded
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.families import FAMILIES
from edge_adapt.workloads.images import Images
from edge_adapt.workloads.models import load_backbone, weights_fingerprint
from edge_adapt.workloads.peft_folder import LoraModule, save_module
from edge_adapt.workloads.pools import load_pool
from edge_adapt.workloads.task import Example
from tokenizers.processors import TemplateProcessing


def _hidden(adaptation: Any, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states of a batch."""
    encoder = adaptation.module.encoder
    given = {"pixel_values": inputs} if adaptation.module.of_images else {"input_ids": inputs, "attention_mask": mask}
    with torch.no_grad():
        states: torch.Tensor = encoder(**given).last_hidden_state
    return states


def test_the_table_has_a_model_of_every_family_that_runs(tiny_models: dict[str, Any]) -> None:
    assert {tiny.config().model_type for tiny in tiny_models.values()} == {
        kind for kind, entry in FAMILIES.items() if not entry.counted_only
    }


def test_hidden_states_are_those_of_transformers(loaded: Any) -> None:
    adaptation = loaded.attached("frozen")
    together = _hidden(adaptation, *loaded.batch())
    for row, given in enumerate(loaded.inputs()):
        with torch.no_grad():
            expected = loaded.own(**given).last_hidden_state
        (inputs,) = given.values()
        alone = _hidden(adaptation, inputs, torch.ones(inputs.shape[:2], dtype=torch.int64))
        tolerance = {"rtol": 0.0, "atol": 1e-5 * max(1.0, float(expected.abs().max()))}
        torch.testing.assert_close(alone, expected, **tolerance)
        torch.testing.assert_close(together[row : row + 1, : expected.shape[1]], expected, **tolerance)
    names = loaded.backbone.linear_names()
    assert len(names) == len(set(names)) == loaded.tiny.linears
    assert set(names) <= adaptation.cell_tensors.keys()
    if loaded.backbone.kind == "text":
        assert loaded.backbone.max_tokens == loaded.tiny.longest


def test_every_linear_of_a_block_is_read_as_often_as_its_block_runs(loaded: Any) -> None:
    adaptation, reads = loaded.attached("frozen"), []

    def note(name: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        reads.append(name)
        return torch.nn.functional.linear(x, weight)

    adaptation.use(note)
    _hidden(adaptation, *loaded.batch())
    shape = loaded.backbone.shape
    # DeBERTa's queries and keys are made of distances between tokens, too.
    tokens = [linear.name for linear in shape.linears if linear.role not in ("positions", "query", "key")]
    assert {name: reads.count(name) for name in tokens} == dict.fromkeys(tokens, shape.runs)
    inside = {
        name
        for name, child in loaded.backbone.module.named_modules()
        if isinstance(child, torch.nn.Linear) and any(name.startswith(f"{block.name}.") for block in shape.blocks)
    }
    assert inside == {linear.name for linear in shape.linears} == set(reads)


def test_ten_steps_of_training(loaded: Any) -> None:
    adaptation = loaded.attached("lora", rank=2)
    before, frozen = adaptation.state_dict(), weights_fingerprint(loaded.backbone.module)
    if loaded.backbone.kind == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        encoded: Any = Images(pixels, 8, loaded.backbone.max_tokens or 0)
    else:
        encoded = encode(loaded.backbone.tokenizer, loaded.words * 5, 32)
    recipe = replace(adaptation.recipe, epochs=1, min_steps=0, batch_size=2)
    log = train(adaptation, encoded, [0, 1, 0, 1] * 5, np.random.default_rng(0), recipe=recipe)
    assert log.steps == 10
    assert all(bool(torch.isfinite(value).all()) for value in adaptation.state.values())
    still = [name for name in adaptation.trained_names if torch.equal(before[name], adaptation.state[name])]
    assert not still
    assert weights_fingerprint(loaded.backbone.module) == frozen


def test_a_pass_goes_on_from_what_entered_a_block(loaded: Any) -> None:
    """Of the second half of the blocks, whatever enters the encoder: the same logits, and no read below."""
    rng, method = np.random.default_rng(0), get_method("telly")
    adaptation = method.attach(loaded.backbone, 2, rng, placement=Placement.NVM_STEP)
    plan, model, read = adaptation.plan, adaptation.module, []
    if not plan.resumes:
        assert loaded.backbone.shape.runs > 1 or loaded.name.startswith(("t5", "mt5"))
        return
    inputs, mask = loaded.batch()
    _, states = model.features_to_store(inputs, mask)
    expected = model(inputs, mask)
    adaptation.use(lambda name, x, weight: read.append(name) or exact_reader(name, x, weight))
    torch.testing.assert_close(model(torch.zeros_like(inputs), mask, states), expected, rtol=1e-5, atol=1e-5)
    upper = {linear.name for block in loaded.backbone.shape.blocks[plan.resumes :] for linear in block.linears}
    assert set(read) == set(plan.stored_read) == upper
    read.clear()
    model(inputs, mask)
    assert set(read) == set(plan.backbone)


@pytest.mark.filterwarnings("ignore")
def test_a_pool_in_the_format_of_peft(loaded: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    adaptation, rng = (
        loaded.attached("lora", rank=2, alpha=3.0, targets="query,value,ffn_up"),
        torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    part = lambda end: {
        name.removesuffix(end): value.numpy() for name, value in adaptation.state_dict().items() if name.endswith(end)
    }
    module = LoraModule("mine", 2, 1.5, part(".lora_a"), part(".lora_b"))
    save_module(tmp_path / "pool" / "mine", module)
    pool = load_pool(tmp_path / "pool", loaded.backbone)
    wanted = loaded.backbone.shape.with_roles(("query", "value", "ffn_up"))
    assert set(pool.target_names) == {linear.name for linear in wanted}
    for name in pool.target_names:
        np.testing.assert_array_equal(pool.modules[0].a[name], module.a[name])
    model = peft.PeftModel.from_pretrained(copy.deepcopy(loaded.own), tmp_path / "pool" / "mine").eval()
    given = loaded.inputs()[1]
    with torch.no_grad():
        changed, untouched = (one(**given).last_hidden_state for one in (model, loaded.own))
    (inputs,) = given.values()
    found = _hidden(adaptation, inputs, torch.ones(inputs.shape[:2], dtype=torch.int64))
    torch.testing.assert_close(found, changed, rtol=0, atol=2e-5 * max(1.0, float(changed.abs().max())))
    assert float((changed - untouched).abs().max()) > 1e-3


def test_the_longest_text_is_read_and_longer_ones_are_cut(loaded: Any) -> None:
    backbone, longest = loaded.backbone, loaded.tiny.longest
    if longest is None:
        assert backbone.kind == "image" or backbone.within(10_000) == 10_000
        return
    long = Example(" ".join(["w7"] * 200), 0)
    (ids,) = Encoded.of(backbone, _single_texts(), [long], 64).ids
    assert len(ids) == longest
    adaptation = loaded.attached("frozen")
    assert bool(torch.isfinite(_hidden(adaptation, torch.tensor([ids]), torch.ones(1, longest).long())).all())
    assert backbone.within(64) == longest
    assert f"cut to {longest} tokens, not 64" in str(backbone.cut_message(64))
    assert backbone.cut_message(longest) is None
    assert backbone.within(64, added=8) == longest - 8
    with pytest.raises(UsageError, match="31 prompts leave no room"):
        backbone.within(64, added=31)


def _single_texts() -> Any:
    """A task of single texts: nothing of it but its kind is looked at."""
    return type("Task", (), {"tagged": False, "augment": False})()


def test_positions_that_are_not_counted_have_no_end(family_folder: Callable[[str], Path]) -> None:
    backbone = load_backbone(family_folder("deberta-v3"))
    assert backbone.within(10_000) == 10_000
    assert len(backbone.tokenizer.encode(" ".join(["w7"] * 700)).ids) == 702


def test_pairs_are_told_apart_as_the_tokenizer_does(family_folder: Callable[[str], Path]) -> None:
    backbone = replace(load_backbone(family_folder("bert")), paired=True)
    assert backbone.separator == 2
    encoding = backbone.tokenizer.encode("w4 w5", "w6")
    model = get_method("probe").attach(backbone, 2, np.random.default_rng(0)).module
    assert model.token_types(torch.tensor([encoding.ids]))["token_type_ids"].tolist() == [encoding.type_ids]


def test_a_tokenizer_that_puts_nothing_between_two_texts(family_folder: Callable[[str], Path]) -> None:
    backbone = load_backbone(family_folder("bert"))
    backbone.tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    assert replace(backbone, paired=True).separator is None
