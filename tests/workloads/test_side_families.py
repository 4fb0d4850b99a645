"""Networks beside the backbone, and prompts that an image makes itself, on a model of every family."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, BackwardNeed
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.batches import encode
from edge_adapt.workloads.images import Images

BESIDE = [name for name, method in METHODS.items() if method.backward_need is BackwardNeed.SIDE]


def _examples(loaded: Any) -> Any:
    if loaded.backbone.kind == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
        return Images(pixels, 8, loaded.backbone.max_tokens or 0)
    return encode(loaded.backbone.tokenizer, loaded.words * 2, 32)


def _two_steps(loaded: Any, name: str) -> None:
    adaptation, encoded = loaded.attached(name), _examples(loaded)
    before = adaptation.state_dict()
    recipe = replace(adaptation.recipe, epochs=2, batch_size=4)
    train(adaptation, encoded, [0, 1] * (len(encoded) // 2), np.random.default_rng(0), recipe=recipe)
    after = adaptation.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in after if not key.startswith("head."))


def test_a_side_network_trains_on_every_family(loaded: Any) -> None:
    for name in BESIDE:
        if loaded.backbone.kind in METHODS[name].kinds:
            _two_steps(loaded, name)


def test_a_late_prompt_trains_on_every_family_of_images(loaded: Any) -> None:
    if loaded.backbone.kind != "image":
        with pytest.raises(UsageError, match="idpt is for models of images"):
            loaded.attached("idpt")
    elif loaded.backbone.shape.fixed_tokens:
        with pytest.raises(UsageError, match="there is none for idpt's prompt"):
            loaded.attached("idpt")
    else:
        _two_steps(loaded, "idpt")
