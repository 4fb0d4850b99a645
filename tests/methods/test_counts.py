"""The published parameter counts of LoRAFusion (GLSVLSI 2025: 148K against LoRA's 4700K), from shapes alone."""

import pytest
from edge_adapt.methods import get_method
from edge_adapt.workloads.named_shapes import load_shape


def count(model: str, method: str, **options):
    return get_method(method).count(load_shape(model), **options)


def test_flan_t5_large_with_20_modules_of_rank_16():
    fusion = count("flan-t5-large", "lorafusion", rank=16, pool_size=20)
    assert fusion.trained == {"coefficients": 960, "magnitudes": 147_456}
    assert fusion.trained_parameters == 148_416
    assert fusion.cells_frozen == 20 * 4_718_592
    assert fusion.cells_trained == 0
    assert count("flan-t5-large", "lora", rank=16).trained_parameters == 4_718_592


def test_minilm_with_6_modules_of_rank_16():
    fusion, lora = count("minilm", "lorafusion", rank=16, pool_size=6), count("minilm", "lora", rank=16)
    assert fusion.trained == {"coefficients": 6 * 6, "magnitudes": 4_608}
    assert lora.trained_parameters == 147_456
    assert fusion.trained_parameters / lora.trained_parameters == pytest.approx(0.0315, abs=5e-4)


def test_bert_base():
    """12 encoder layers of 7,087,872 numbers, of which 3,072 are the two LayerNorms'."""
    assert count("bert-base-uncased", "lora", rank=8).trained_parameters == 294_912
    assert count("bert-base-uncased", "lora", rank=16).trained_parameters == 589_824
    full = count("bert-base-uncased", "full")
    assert full.trained_parameters == 12 * (7_087_872 - 3_072)
    assert full.trained["matrices"] == full.cells_trained == 12 * (4 * 768**2 + 2 * 768 * 3072)


def test_without_magnitudes_only_coefficients_are_trained():
    method = get_method("lorafusion", magnitude=False)
    assert method.count(load_shape("flan-t5-large"), pool_size=20).trained == {"coefficients": 960}


@pytest.mark.parametrize("method", ["probe", "frozen"])
def test_nothing_but_the_head(method):
    assert count("minilm", method).trained_parameters == 0
