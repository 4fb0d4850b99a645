"""Families that read images, and CLIP's two: other sizes, prompts among the tokens, what the head sees."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.workloads.families import FAMILIES
from edge_adapt.workloads.models import load_backbone

PICTURES = [
    "vit", "dinov2", "dinov2 with SwiGLU", "dinov2_with_registers", "deit", "beit", "beit with biases",
    "beit with shared biases", "siglip_vision_model", "clip_vision_model",
]  # fmt: skip

of_images = pytest.mark.parametrize("loaded", PICTURES, indirect=True)


def test_all_families_of_images_are_here(tiny_models: dict[str, Any]) -> None:
    reads = {name: FAMILIES[tiny.config().model_type].reads for name, tiny in tiny_models.items()}
    assert sorted(PICTURES) == sorted(name for name, kind in reads.items() if kind == "image")


def _hidden(adaptation: Any, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states of a batch."""
    encoder = adaptation.module.encoder
    given = {"pixel_values": inputs} if adaptation.module.of_images else {"input_ids": inputs, "attention_mask": mask}
    with torch.no_grad():
        states: torch.Tensor = encoder(**given).last_hidden_state
    return states


@of_images
def test_other_sizes_of_images(loaded: Any, attach: Callable[..., Any]) -> None:
    """The table of positions is resized as transformers does it: bicubic, without the tokens in front."""
    if loaded.backbone.shape.fixed_tokens:
        with pytest.raises(UsageError, match="biases for images of 8 pixels alone"):
            load_backbone(loaded.folder, image_size=12)
        return
    backbone = load_backbone(loaded.folder, image_size=12)
    pixels = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    found = _hidden(attach(backbone, "frozen"), pixels, pixels)
    takes = inspect.signature(loaded.own.forward).parameters
    kwargs = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes or "kwargs" in takes else {}
    try:
        with torch.no_grad():
            expected = loaded.own(pixel_values=pixels, **kwargs).last_hidden_state
    except TypeError:  # a family whose model always interpolates
        with torch.no_grad():
            expected = loaded.own(pixel_values=pixels).last_hidden_state
    assert found.shape[1] == backbone.max_tokens == backbone.shape.front_tokens + 9
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max())))


@of_images
def test_prompts_leave_features_to_the_patches(loaded: Any) -> None:
    """Prompts of no strength in front of the patches; pooling sees none of them."""
    if loaded.backbone.shape.fixed_tokens:
        with pytest.raises(UsageError, match="there is none for the prompts of vpt"):
            loaded.attached("vpt")
        return
    adaptation, (pixels, mask) = loaded.attached("vpt-shallow", prompts=3), loaded.batch()
    seen: list[torch.Tensor] = []
    adaptation.module.encoder.register_forward_hook(lambda _m, _a, output: seen.append(output.last_hidden_state))
    with torch.no_grad():
        features = adaptation.module.features(pixels, mask)
    front = loaded.backbone.shape.front_tokens
    assert seen[0].shape[1] == front + 3 + 4
    expected = seen[0][:, 0] if loaded.backbone.pooling == "cls" else seen[0][:, -4:].mean(1)
    if FAMILIES[loaded.own.config.model_type].norm:
        expected = loaded.own.post_layernorm(expected).detach()
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("loaded", ["clip_vision_model", "clip_text_model"], indirect=True)
def test_features_of_clip_are_its_own(loaded: Any) -> None:
    inputs, mask = loaded.batch()
    alone = loaded.inputs()
    if loaded.backbone.kind == "text":  # CLIP takes the highest id for the end of a text, as it is in its vocabulary
        inputs = torch.tensor([[1, 5, 7, 59], [1, 9, 59, 0]])
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        alone = [{"input_ids": inputs[:1]}, {"input_ids": inputs[1:, :3]}]
    with torch.no_grad():
        found = loaded.attached("frozen").module.features(inputs, mask)
        expected = torch.cat([loaded.own(**given).pooler_output for given in alone])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
