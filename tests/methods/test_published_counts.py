"""The counts that the papers print, by the command that prints them; and methods that add nothing are the model."""

import json

import numpy as np
import pytest
import torch
from edge_adapt import cli
from edge_adapt.methods import get_method


@pytest.mark.parametrize(
    ("model", "special_tokens", "expected"),
    [
        ("bert-large-cased", 2, 49_152),
        ("bert-large-cased", 3, 73_728),
        ("roberta-large", 4, 98_304),
        ("bert-base-uncased", 2, 18_432),
        ("bert-base-uncased", 3, 27_648),
        ("minilm", 2, 4_608),
    ],
)
def test_pasta_by_command(capsys, model, special_tokens, expected):
    words = ["--model", model, "--method", "pasta", "--special-tokens", str(special_tokens)]
    assert cli.main(["methods", "count", *words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["trained_parameters"], record["breakdown"]) == (expected, {"vectors": expected})
    assert record["weights_in_cells_rewritten"] == 0


@pytest.mark.parametrize(("method", "expected"), [("bitfit", 102_144), ("ln-tuning", 38_400), ("ia3", 55_296)])
def test_baselines_by_command(capsys, method, expected):
    """BERT base: 12 x (4 x 768 + 3,072 + 768 + 2 x 768) biases and those of 25 LayerNorms; 25 x 2 x 768 numbers;
    12 x (768 + 768 + 3,072) scales."""
    assert cli.main(["methods", "count", "--model", "bert-base-uncased", "--method", method, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_parameters"] == expected


@pytest.mark.parametrize("name", ["vpt", "vpt-shallow"])
def test_no_prompt_is_the_model(image_backbone, name):
    """To the rounding of sums: a processor may add up in another order where matrices lie otherwise in memory.

    Two blocks are a dozen products of 16 or 32 terms one after the other, each within 32 · 2⁻⁵³ of the size of its
    terms, and what follows widens no error a hundredfold: 12 · 32 · 2⁻⁵³ · 100 < 1e-11. One prompt moves it by 0.01.
    """
    adaptation = get_method(name, prompts=0).attach(image_backbone, 3, np.random.default_rng(0))
    pixels = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain = image_backbone.module(pixel_values=pixels).last_hidden_state[:, 0]
    mask = torch.ones(3, 5, dtype=torch.int64)
    torch.testing.assert_close(adaptation.module.features(pixels, mask), plain, rtol=1e-11, atol=1e-11)
    prompted = get_method(name, prompts=1).attach(image_backbone, 3, np.random.default_rng(0))
    assert (prompted.module.features(pixels, mask) - plain).abs().max() > 0.01
    assert adaptation.extra_tokens == adaptation.trained_parameters == 0
