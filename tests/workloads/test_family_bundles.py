"""Bundles of every family: the export holds graphs against torch, and ten steps of the device are held against its own.

An export of even a tiny model takes some ten seconds, so a run of all tests exports one model for each kind of
operator, and EDGE_ADAPT_ALL_FAMILIES=1 asks for every model with an update of matrices and with prompts.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.exporters import bundle as bundles
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.methods import Adaptation, get_method
from edge_adapt.methods.training.optimisers.adamw import AdamW
from edge_adapt.methods.training.optimisers.sgd import Sgd
from edge_adapt.methods.training.trainer import train
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.workloads.models import Backbone
from edge_adapt.workloads.tasks import load_task
from PIL import Image

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Texts of 1 to 23 words with two labels, and images of two classes: bright above, or bright below."""
    root, rng = tmp_path_factory.mktemp("tasks"), np.random.default_rng(0)
    texts = [" ".join(f"w{4 + k}" for k in rng.integers(0, 56, rng.integers(1, 24))) for _ in range(40)]
    rows = [f"{text},{'up' if place % 2 else 'down'}" for place, text in enumerate(texts)]
    (root / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    for label, name in enumerate(("above", "below")):
        (root / "images" / name).mkdir(parents=True)
        for number in range(20):
            picture = rng.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            picture[4 * label : 4 * label + 4] += 120
            Image.fromarray(picture).save(root / "images" / name / f"{number}.png")
    return {"text": root / "texts.csv", "image": root / "images"}


def _method(kind: str, way: str) -> Any:
    if way == "updates":
        return get_method("lora", rank=2, targets="query,value,ffn_up")
    return get_method("vpt" if kind == "image" else "prompt-tuning", prompts=2)


def _moved(config: ExportConfig, backbone: Backbone, labels: int) -> Adaptation:
    """What `bundle.attach` gives, with everything that is trained away from zero: every gradient is then there from the
    first step on, and the head is not the extreme one that class means of a random model make.
    """
    adaptation = ATTACH(config, backbone, labels)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adaptation


ATTACH = bundles.attach


class Silent:
    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...


@pytest.fixture
def exports(tasks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ExportConfig]:
    """exports(model of the table, way): what the bundle `tmp_path/bundle` was asked for, once it is written."""

    def export(loaded: Any, way: str) -> ExportConfig:
        kind = loaded.backbone.kind
        config = ExportConfig(_method(kind, way), str(loaded.folder), str(tasks[kind]))
        export_bundle(config, tmp_path / "bundle", Silent())
        return replace(config, max_tokens=loaded.backbone.within(config.max_tokens, config.method.extra_tokens))

    monkeypatch.setattr(bundles, "calibrate", lambda *_, **__: {})
    monkeypatch.setattr(bundles, "attach", _moved)
    return export


def test_ten_steps_of_the_device_are_those_of_torch(
    exported_family: tuple[Any, str], exports: Callable[..., ExportConfig], tmp_path: Path
) -> None:
    """The export has compared loss, logits and gradients of both graphs, on many shapes. AdamW divides by gradients:
    one of a number that is next to nothing beside the others of its tensor may have either sign, and its step with it.
    """
    loaded, way = exported_family
    config = exports(loaded, way)
    manifest = read_manifest(tmp_path / "bundle")
    assert 0 < max(manifest.parity[kind] for kind in ("loss", "logits", "gradient")) <= 1e-4
    assert set(manifest.graphs) == {"train", "infer"}
    task = load_task(config.task)
    examples = task.train[:20]
    given: Any = [example.image or example.text for example in examples]
    labels = [example.label for example in examples]
    for name, optimiser, astray in (("adamw", AdamW(), 0.01), ("sgd", Sgd(momentum=0.0), 0.0)):
        adaptation = _moved(config, loaded.backbone, 2)
        before = {name: value.detach().numpy().copy() for name, value in adaptation.state.items()}
        recipe = replace(adaptation.recipe, epochs=1, min_steps=0, batch_size=2, optimiser=optimiser)
        recipe = replace(recipe, new_head_again=False)
        encoded = loaded.backbone.encode(examples, config.max_tokens)
        expected = train(adaptation, encoded, labels, np.random.default_rng(5), recipe=recipe, again=True)
        folder = shutil.copytree(tmp_path / "bundle", tmp_path / name)
        with Session(folder, threads=1) as session:
            options = TrainOptions(name, epochs=1, batch_size=2, seed=5, head="keep")
            report = session.train(given, [task.labels[label] for label in labels], options)
            found = session.state
        assert len(report.losses) == expected.steps == 10
        np.testing.assert_allclose(report.losses, expected.losses, rtol=1e-4, atol=1e-5)
        for tensor, value in adaptation.state.items():
            after = value.detach().numpy()
            moved = float(np.abs(after - before[tensor]).max())
            apart = np.abs(found[tensor] - after)
            assert moved > 0, tensor
            assert apart.max() <= 2 * moved, tensor
            assert np.mean(apart > 0.01 * moved + 1e-6 * np.abs(after).max()) <= astray, tensor


@pytest.mark.parametrize("loaded", ["clip_text_model", "beit with biases", "beit with shared biases"], indirect=True)
def test_prompts_that_a_model_has_no_place_for_are_refused_at_once(
    loaded: Any, exports: Callable[..., ExportConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "require_exportable", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(UsageError, match=r"there is (no place|none) for the prompts of") as caught:
        exports(loaded, "prompts")
    assert "\n" not in str(caught.value)
