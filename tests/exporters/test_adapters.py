"""The trained state as an adapter of another library, read back and computed by that library."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import peft
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.exporters.adapters import origin, write_peft
from edge_adapt.exporters.bundle import ExportConfig, attach, pool_of
from edge_adapt.methods import get_method
from edge_adapt.runtime.adapter_file import write_adapter
from edge_adapt.runtime.manifest import Manifest, ModelInfo, Recipe
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.tasks import load_task
from safetensors.numpy import load_file
from transformers import BertModel

IDS = np.array([[2, 4, 5, 9, 10, 3], [2, 6, 7, 3, 0, 0]])
MASK = (IDS > 0).astype(np.int64)


def test_onnxruntime_takes_the_state_as_an_adapter(bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    initial = load_file(bundle / "initial.safetensors")
    state = {name: value + rng.normal(0, 0.1, value.shape).astype(np.float32) for name, value in initial.items()}
    file = tmp_path / "trained.onnx_adapter"
    write_adapter(file, state, counter=7)
    read = onnxruntime.AdapterFormat.read_adapter(str(file))
    assert read.get_adapter_version() == 7
    for name, value in read.get_parameters().items():
        np.testing.assert_array_equal(value.numpy(), state[name])

    session = onnxruntime.InferenceSession(str(bundle / "infer.onnx"), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": IDS, "attention_mask": MASK}
    adapter, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    adapter.Load(str(file))
    options.add_active_adapter(adapter)
    (found,) = session.run(["logits"], feeds, options)
    (fed,) = session.run(["logits"], {**feeds, **state})
    (exported,) = session.run(["logits"], feeds)
    assert found.tobytes() == fed.tobytes()
    assert np.abs(found - exported).max() > 0.01


def made(inputs: Path, name: str, options: Mapping[str, Any]) -> tuple[Manifest, Any]:
    """A trained-looking adaptation, and the manifest that an export of it would have."""
    pool = str(inputs / "pool") if "fusion" in name else None
    method = get_method(name, **options)
    config = ExportConfig(method, str(inputs / "model"), str(inputs / "reviews.csv"), pool)
    task, backbone = load_task(config.task), load_backbone(config.model)
    adaptation = attach(config, backbone, len(task.labels))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    manifest = Manifest(
        method=name,
        model=ModelInfo(backbone.name, backbone.fingerprint, backbone.hidden_size, backbone.blocks),
        task=task.name,
        labels=task.labels,
        reserved_classes=0,
        state=(),
        l1_names=(),
        recipe=Recipe({}, 1, 0, 1, 0.0, 1.0, 0.0, 1.0),
        tokenizer=None,
        graphs={},
        opset=20,
        ir_version=10,
        weights={"dtype": "float32", "source": "exact"},
        origin=origin(method, config.model, pool_of(config, backbone)),
    )
    return manifest, adaptation


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lora", {"rank": 4, "alpha": 6.0}),
        ("lorafusion", {}),
        ("lorafusion", {"cross_terms": False}),
        ("lorafusion", {"magnitude": False}),
        ("lorafusion", {"cross_terms": False, "magnitude": False}),
    ],
)
def test_peft_computes_the_same(inputs: Path, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    manifest, adaptation = made(inputs, name, options)
    state = {key: value.numpy() for key, value in adaptation.state_dict().items()}
    out = tmp_path / "adapter"
    write_peft(out, manifest, state, manifest.labels)

    base = BertModel.from_pretrained(inputs / "model", add_pooling_layer=False)
    model = peft.PeftModel.from_pretrained(base, out).eval()
    ids, mask = torch.as_tensor(IDS), torch.as_tensor(MASK)
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        features = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        head = load_file(out / "head.safetensors")
        logits = features.numpy() @ head["head.weight"].T + head["head.bias"]
        expected = adaptation.module(ids, mask).numpy()
        untouched = BertModel.from_pretrained(inputs / "model", add_pooling_layer=False)(ids, mask).last_hidden_state
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())
    assert (hidden - untouched).abs().max() > 0.01
    config = json.loads((out / "adapter_config.json").read_text())
    assert config.get("use_dora", False) == (name == "lorafusion" and options.get("magnitude", True))
    assert config["r"] == (8 if options.get("cross_terms") is False else 4)


def test_what_peft_cannot_compute_is_refused(inputs: Path, tmp_path: Path) -> None:
    manifest, adaptation = made(inputs, "lorafusion", {})
    state = {key: value.numpy() for key, value in adaptation.state_dict().items()}
    chip = {"chip": "pcm", "seed": 0, "age_seconds": 0.0}
    for changed, message in (
        (replace(manifest, method="bitfit"), "what bitfit does"),
        (replace(manifest, weights={"dtype": "float32", "source": chip}), "but those of a chip"),
        (replace(manifest, weights={"dtype": "int8", "source": "exact"}), "rounded to int8"),
        (replace(manifest, origin={}), "export it again"),
        (replace(manifest, model=replace(manifest.model, fingerprint="0" * 64)), "is not the one"),
        (replace(manifest, origin={**manifest.origin, "pool": {"path": "", "sha256": "0"}}), "pool"),
    ):
        with pytest.raises(UsageError, match=message):
            write_peft(tmp_path / "adapter", changed, state, manifest.labels, pool=str(inputs / "pool"))
        assert not list(tmp_path.iterdir())


def test_what_there_is_to_say_about_a_pool_is_said_at_export(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(inputs / "pool", tmp_path / "pool")
    shutil.copytree(inputs / "pool/m0", tmp_path / "pool/m2")
    config = ExportConfig(get_method("lorafusion"), str(inputs / "model"), "", str(tmp_path / "pool"))
    attach(config, load_backbone(config.model), 2)
    assert caplog.messages == ["pool: adapters m0, m2 are one and the same: their weights are equal"]
