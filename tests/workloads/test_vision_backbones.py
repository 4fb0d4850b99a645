"""Vision backbones: an ONNX file read back into the module it came from, resized positions, clear errors."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.workloads.fetch import fetch, is_cached
from edge_adapt.workloads.images import ImageReader
from edge_adapt.workloads.models import MODELS, load_backbone
from edge_adapt.workloads.task import Example
from edge_adapt.workloads.vision import read_onnx_dinov2
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from transformers import Dinov2Config, Dinov2Model, SwinConfig, ViTConfig, ViTModel

PUBLISHED = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


@pytest.fixture
def dino() -> Dinov2Model:
    """Two blocks of width 64 with one head, patches of 4, a grid of 5 x 5; every parameter random."""
    config = Dinov2Config(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, mlp_ratio=2, image_size=20, patch_size=4,
        use_mask_token=False,
    )  # fmt: skip
    module = Dinov2Model(config).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def _as_onnx(module: nn.Module, path: Path) -> None:
    """The module's numbers in the way of the published file: matrices nameless and transposed, positions in two."""
    initialisers, nodes = [], []
    constant = lambda name, tensor: initialisers.append(numpy_helper.from_array(tensor.detach().numpy(), name))
    linears = {name for name, child in module.named_modules() if isinstance(child, nn.Linear)}
    for current, tensor in module.state_dict().items():
        name = _published(current)
        owner = name.removesuffix(".weight")
        if name == "embeddings.position_embeddings":
            constant("onnx::Concat_1", tensor[:, :1])
            constant("onnx::Reshape_2", tensor[:, 1:].contiguous())
            nodes.append(helper.make_node("Reshape", ["onnx::Reshape_2", "s"], ["r"], "/backbone/embeddings/Reshape_1"))
            nodes.append(helper.make_node("Concat", ["onnx::Concat_1", "x"], ["c"], "/backbone/embeddings/Concat_3"))
        elif any(owner == _published(linear) for linear in linears):
            number = f"onnx::MatMul_{len(initialisers)}"
            constant(number, tensor.T.contiguous())
            nodes.append(
                helper.make_node("MatMul", ["x", number], [owner], f"/backbone/{owner.replace('.', '/')}/MatMul")
            )
        else:
            constant(f"backbone.{name}", tensor)
    constant("decoder.final.weight", torch.ones(3))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)], [])
    graph.initializer.extend(initialisers)
    onnx.save(helper.make_model(graph), path)


def _published(name: str) -> str:
    for now, then in PUBLISHED.items():
        name = name.replace(now, then)
    return name


def test_an_onnx_file_gives_back_the_module(dino: Dinov2Model, tmp_path: Path) -> None:
    _as_onnx(dino, tmp_path / "m.onnx")
    found = read_onnx_dinov2(tmp_path / "m.onnx")
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in dino.state_dict().items())
    pixels = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(  # weights that lie transposed in memory are added up in another order
            found(pixel_values=pixels).last_hidden_state, dino(pixel_values=pixels).last_hidden_state,
            rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_onnx_files_that_hold_something_else(dino: Dinov2Model, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(EdgeAdaptError, match=r"cannot be read as an ONNX file|does not hold a DINOv2"):
        read_onnx_dinov2(path)
    del dino.encoder.layer[0].mlp.fc2
    _as_onnx(dino, path)
    with pytest.raises(EdgeAdaptError, match="does not hold a DINOv2"):
        read_onnx_dinov2(path)


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
@pytest.mark.parametrize("side", [20, 32, 8])
def test_positions_are_resized_as_the_library_does(dino: Dinov2Model, tmp_path: Path, kind: str, side: int) -> None:
    if kind == "vit":
        torch.manual_seed(0)
        config = ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=20,
            patch_size=4,
        )  # fmt: skip
        original, options = ViTModel(config, add_pooling_layer=False).eval(), {"interpolate_pos_encoding": True}
        nn.init.normal_(original.embeddings.position_embeddings)
    else:
        original, options = dino, {}
    original.save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path, image_size=side)
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = original(pixel_values=pixels, **options).last_hidden_state
        torch.testing.assert_close(backbone.module(pixel_values=pixels).last_hidden_state, expected)
    tokens = 1 + (side // 4) ** 2
    assert (backbone.kind, backbone.image_size, backbone.max_tokens) == ("image", side, tokens)
    assert expected.shape[1] == tokens
    assert (backbone.blocks, backbone.special_ids, backbone.special_tokens) == (2, (), 1)
    assert len(backbone.linear_names()) == 12
    assert backbone.fingerprint == load_backbone(tmp_path).fingerprint, "a pool fits every size of image"


def test_the_preprocessor_of_a_folder_is_used(dino: Dinov2Model, tmp_path: Path) -> None:
    dino.save_pretrained(tmp_path)
    given = {"image_mean": [0.5, 0.25, 0.0], "image_std": [0.5, 0.25, 1.0], "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
    backbone = load_backbone(tmp_path)
    assert backbone.preprocessor == ImageReader(20, 4, (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), 2)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(EdgeAdaptError, match=r"preprocessor_config\.json is not usable"):
        load_backbone(tmp_path)


def test_what_does_not_fit_is_refused(dino: Dinov2Model, tmp_path: Path) -> None:
    dino.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="multiple of the model's patches of 4; got 30"):
        load_backbone(tmp_path, image_size=30)
    backbone = load_backbone(tmp_path)
    with pytest.raises(UsageError, match="reads images, and this needs a text encoder"):
        _ = backbone.tokenizer
    with pytest.raises(UsageError, match="reads images, and the task holds texts"):
        backbone.encode([Example("a text", 0)], 16)
    SwinConfig().save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="not known here"):
        load_backbone(tmp_path / "other")


@pytest.mark.download
def test_the_shipped_model_computes_what_its_onnx_file_does() -> None:
    known = MODELS["vit-s"]
    if not is_cached(known.package):
        pytest.skip(f"{known.package} is not in the cache")
    import onnxruntime

    assert known.onnx is not None
    model = onnx.load(str(fetch(known.package) / known.folder / known.onnx))
    last = [node for node in model.graph.node if node.name.startswith("/backbone/layernorm/")][-1].output[0]
    model.graph.output.append(onnx.ValueInfoProto(name=last))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    (expected,) = session.run([last], {model.graph.input[0].name: pixels})
    backbone = load_backbone("vit-s", image_size=224)
    with torch.no_grad():
        found = backbone.module(pixel_values=torch.from_numpy(pixels)).last_hidden_state.numpy()
    assert expected.std() > 1
    assert np.abs(found - expected).max() < 1e-4
    assert (backbone.blocks, backbone.hidden_size, load_backbone("vit-s").max_tokens) == (12, 384, 50)
