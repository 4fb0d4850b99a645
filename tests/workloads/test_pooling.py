"""What a head sees of the last hidden states, where the folder of a model says it (sentence-transformers)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.workloads.models import load_backbone


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"word_embedding_dimension": 16, "pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_a_folder_says_what_a_head_sees(
    config: dict[str, Any], pooling: str, family_folder: Callable[[str], Path], attach: Callable[..., Any]
) -> None:
    folder = family_folder("bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    backbone = load_backbone(folder)
    assert backbone.pooling == pooling
    assert any("1_Pooling/config.json" in message for message in backbone.messages) == (pooling != "mean")
    ids, mask = torch.tensor([[1, 7, 8, 2, 0], [1, 9, 2, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        hidden = backbone.module(input_ids=ids, attention_mask=mask).last_hidden_state
        found = attach(backbone, "frozen").module.features(ids, mask)
    rows = {"cls": [hidden[0, 0], hidden[1, 0]], "last": [hidden[0, 3], hidden[1, 2]],
            "mean": [hidden[0, :4].mean(0), hidden[1, :3].mean(0)]}  # fmt: skip
    torch.testing.assert_close(found, torch.stack(rows[pooling]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_max_tokens": True}, "made by max_tokens; allowed is one of mean_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "made by mean_tokens and cls_token"),
        ({}, "made by no pooling"),
    ],
)
def test_a_pooling_that_is_none_here(
    config: dict[str, Any], message: str, family_folder: Callable[[str], Path]
) -> None:
    folder = family_folder("bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        load_backbone(folder)
