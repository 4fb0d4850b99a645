"""What an export uses of the insides of torch and transformers is there, and does what it is used for.

Another torch or transformers fails here first.
"""

import inspect
import sys
from typing import Any

import onnxruntime
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.exporters import torch_insides
from edge_adapt.exporters.torch_insides import MASK, require_proven_torch, taken_apart, with_gradients, without_mask
from torch.export import export
from transformers import BertConfig, BertModel, ViTConfig, ViTModel, masking_utils
from transformers.models.vit import modeling_vit

SIZES: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def test_this_torch_is_the_proven_one() -> None:
    require_proven_torch()
    assert torch.__version__.startswith(f"{torch_insides.PROVEN}.")


@pytest.mark.parametrize("version", ["2.12.1", "2.14.0", "3.0.0", "2.130.0"])
def test_another_torch_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(EdgeAdaptError, match=rf"needs torch 2\.13, and this is torch {version}") as caught:
        require_proven_torch()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changed", [None, lambda ep: ep, lambda ep, joint_loss_index, more: ep, 3])
@pytest.mark.parametrize("path", torch_insides.ARGUMENTS)
def test_a_torch_with_other_insides_is_refused(monkeypatch: pytest.MonkeyPatch, path: str, changed: Any) -> None:
    monkeypatch.setattr(path, changed)
    with pytest.raises(EdgeAdaptError, match="its export of gradients"):
        require_proven_torch()


def test_a_torch_without_an_onnx_exporter_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.onnx._internal.exporter._decomp", None)
    with pytest.raises(EdgeAdaptError, match="its export of gradients"):
        require_proven_torch()


class Gate(torch.nn.Module):
    """A loss with a SiLU in it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([0.3, -1.2, 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.silu(self.gain * x).sum()


def test_a_loss_is_joined_with_its_gradients() -> None:
    gate, x = Gate(), torch.tensor([1.0, 2.0, -0.5])
    joint, names = with_gradients(export(gate, (x,)))
    assert names == ["gain"]
    assert not any("empty" in str(node.target) for node in joint.graph.nodes)
    loss, gradient = joint.graph_module(*gate.parameters(), x)
    z = gate.gain.detach() * x
    s = 1 / (1 + torch.exp(-z))
    torch.testing.assert_close(loss.detach(), (z * s).sum())
    torch.testing.assert_close(gradient.detach(), x * s * (1 + z * (1 - s)))


class Sliced(torch.nn.Module):
    """A loss with a number that is written to a slice, and to a row."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([0.3, -1.2, 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        table = torch.zeros(2, 3)
        table[0, 0:] = 5
        table[1:, 1:] = 7
        return (self.gain * x * table).sum()


class Both(torch.nn.Module):
    """A loss, and another output that gradients could go through."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([0.3, -1.2, 2.0]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.nn.functional.layer_norm(self.gain * x, (3,))
        return (y**3).sum(), y.detach()


def test_other_outputs_stand_beside_the_loss_and_nothing_is_taken_apart_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program of both, translated as it is, computes what autograd does."""
    both, x = Both(), torch.tensor([1.0, 2.0, -0.5])
    joint, names = with_gradients(export(both, (x,)))
    assert names == ["gain"]
    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", None)  # a call would fail
    with taken_apart():
        program = torch.onnx.export(joint, dynamo=True, verbose=False, optimize=False)
    assert program is not None
    loss, y = both(x)
    loss.backward()
    inputs = [value.name for value in program.model.graph.inputs]
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip(inputs, [x.numpy()], strict=True)))
    for value, expected in zip(found, (loss, y, both.gain.grad), strict=True):
        torch.testing.assert_close(torch.as_tensor(value), expected.detach())


def test_a_number_written_to_a_slice_has_its_shape() -> None:
    sliced, x = Sliced(), torch.tensor([1.0, 2.0, -0.5])
    joint, _ = with_gradients(export(sliced, (x,)))
    copies = [node for node in joint.graph.nodes if node.target is torch.ops.aten.copy.default]
    assert copies
    for node in copies:
        target, source = node.args[:2]
        assert source.meta["val"].shape == target.meta["val"].shape
    numbers = [joint.constants[name] for name in joint.graph_signature.lifted_tensor_constants]
    _, gradient = joint.graph_module(*sliced.parameters(), *numbers, x)
    torch.testing.assert_close(gradient.detach(), x * torch.tensor([5.0, 12.0, 12.0]))


def test_an_encoder_of_images_makes_no_mask_meanwhile() -> None:
    """The function is where it is replaced, it is the one that makes the mask, and it is put back."""
    before = getattr(modeling_vit, MASK)
    assert before is getattr(masking_utils, MASK)
    assert f"{MASK}(" in inspect.getsource(modeling_vit)
    encoder = ViTModel(ViTConfig(**SIZES, image_size=8, patch_size=4)).eval()
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = encoder(pixels).last_hidden_state
        with without_mask(encoder):
            assert getattr(modeling_vit, MASK)(1, attention_mask=2) is None
            torch.testing.assert_close(encoder(pixels).last_hidden_state, expected)
    assert getattr(modeling_vit, MASK) is before
    with pytest.raises(TypeError), without_mask(encoder):
        encoder(1, 2, 3, 4, 5, 6)
    assert getattr(modeling_vit, MASK) is before


def test_encoders_that_make_their_masks_elsewhere_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = BertModel(BertConfig(**SIZES, vocab_size=9))
    code = inspect.getmodule(BertModel)
    monkeypatch.delattr(code, MASK)
    with without_mask(encoder):
        assert not hasattr(code, MASK)
