"""A model of images on the chip, end to end: a folder of pictures in, a report with the raw-pixel line out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from edge_adapt import cli
from edge_adapt.reports import validate
from edge_adapt.studies import raw_pixels
from edge_adapt.studies.raw_pixels import fit, raw_pixel_accuracy
from edge_adapt.studies.test_sets import with_pool
from edge_adapt.workloads.task import Example
from edge_adapt.workloads.tasks import load_task
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

SIDE, PATCH = 8, 4


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random DINOv2 in Hugging Face format, and pictures of two classes: bright above, or bright below."""
    root = tmp_path_factory.mktemp("images")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=SIDE, patch_size=PATCH)).save_pretrained(root / "model")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("above", "below")):
        (root / "task" / name).mkdir(parents=True)
        for i in range(30):
            picture = rng.integers(0, 90, (10, 10), dtype=np.uint8)
            picture[5 * label : 5 * label + 5] += 120
            Image.fromarray(picture).save(root / "task" / name / f"{i}.png")
    return root


def test_simulate_on_images(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--device", "reram", "--model", str(here / "model"), "--task", str(here / "task"),
             "--method", "vpt", "vpt-shallow", "probe", "pasta", "--shots", "20", "--test-examples", "20",
             "--jobs", "1", "--set", "vpt.recipe.epochs=3", "--set", "vpt.prompts=2", "--image-size", "12",
             "--seeds", "1", "--out", str(tmp_path / "report")]  # fmt: skip
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    validate(report)
    assert [record["method"] for record in report["results"]] == ["vpt", "vpt-shallow", "probe", "pasta"]
    by_name = {record["method"]: record for record in report["results"]}
    assert by_name["vpt"]["trained_parameters"] == 2 * 2 * 16
    assert by_name["pasta"]["trained_parameters"] == 2 * 16
    assert by_name["vpt"]["cells_written"] == 0
    assert by_name["probe"]["train_tokens"] == 16 * (1 + 3 * 3), "16 pictures of 9 patches and [CLS]"
    # Every matrix is read for each token of each picture; the prompts are tokens, too.
    tokens = by_name["vpt"]["inference_event_counts"]["reads"] / by_name["probe"]["inference_event_counts"]["reads"]
    assert tokens == pytest.approx((10 + 2) / 10)
    (raw,) = report["raw_pixels"]
    task = load_task(here / "task", test_examples=20)
    few = with_pool(task, (20,)).few_shot(20, 0)
    assert raw == {"shots": 20, "seed": 0, "accuracy": raw_pixel_accuracy(few.train, few.validation, task.test, 2)}
    assert raw["accuracy"] > 0.9, "bright above or below is easily seen in the pixels"
    assert "logistic regression on the pixels, no model" in " ".join(printed.split())


def test_training_in_a_bundle_gives_the_same_answers(here: Path, tmp_path: Path, capsys) -> None:
    """The runtime draws another order of the pictures: a few answers of 20 may differ; the chip's part is the same."""
    words = ["simulate", "--device", "reram", "--model", str(here / "model"), "--task", str(here / "task"), "--method",
             "vpt", "probe", "--shots", "20", "--test-examples", "20", "--jobs", "1", "--image-size", "12", "--json",
             "--set", "vpt.prompts=2"]  # fmt: skip
    found = {}
    for trainer in ("torch", "onnxruntime"):
        assert cli.main([*words, "--trainer", trainer, "--out", str(tmp_path / trainer)]) == 0
        found[trainer] = json.loads(capsys.readouterr().out)["results"]
    for mine, usual in zip(found["onnxruntime"], found["torch"], strict=True):
        assert mine["accuracy_exact"] == pytest.approx(usual["accuracy_exact"], abs=0.1)
        assert mine["accuracy_exact"] > 0.7
        assert mine["accuracy_chip"] == usual["accuracy_chip"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "{task}", "--method", "prompt-tuning"), "method 'prompt-tuning' is for texts, and task"),
        (("--task", "{text}", "--method", "vpt"), "method 'vpt' is for images, and task"),
        (("--task", "{text}", "--method", "probe"), "reads images, and task 'text' holds texts; give a --task"),
        (("--task", "{task}", "--image-size", "30", "--method", "probe"), "multiple of the model's patches of 4; got"),
    ],
)  # fmt: skip
def test_what_does_not_fit(here: Path, tmp_path: Path, capsys, more: tuple[str, ...], message: str) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"word {i}", "label": "ab"[i % 2]}) + "\n" for i in range(40)))
    given = [word.format(task=here / "task", text=text) for word in more]
    words = ["simulate", "--model", str(here / "model"), "--shots", "8", "--out", str(tmp_path / "out"), *given]
    assert cli.main(words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_images_for_a_model_of_texts_is_refused(here: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "bundle"
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(20)))
    words = ["export", "--model", str(here / "model"), "--task", str(tmp_path / "texts.csv"), "--method", "vpt"]
    assert cli.main([*words, "--out", str(out)]) == 2
    assert "model 'model' reads images, and task 'texts' holds texts" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_the_regression_is_at_its_minimum() -> None:
    """The gradient in the space of the pixels vanishes, although the search went through sums of pictures."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 40, generator=generator, dtype=torch.float64)
    y = torch.arange(12) % 3
    weights, bias = (tensor.requires_grad_() for tensor in fit(x, y, 3, 0.05))
    value = torch.nn.functional.cross_entropy(x @ weights.T + bias, y) + 0.025 * weights.square().sum()
    value.backward()
    assert weights.grad is not None and bias.grad is not None
    assert float(weights.grad.abs().max()) < 1e-4
    assert float(bias.grad.abs().max()) < 1e-4


def test_the_regression_is_that_of_scikit_learn() -> None:
    """Which has the sum over the examples where the mean is taken here."""
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    centres, y = rng.normal(0, 0.3, (4, 60)), np.arange(80) % 4
    x, new = (centres[y] + rng.normal(0, 0.3, (80, 60)) for _ in range(2))
    for penalty in (1e-3, 1e-1):
        weights, bias = fit(torch.tensor(x), torch.tensor(y), 4, penalty)
        other = linear.LogisticRegression(C=1 / (80 * penalty), max_iter=5000, tol=1e-9).fit(x, y)
        ours = torch.softmax(torch.tensor(new) @ weights.T + bias, 1).numpy()
        np.testing.assert_allclose(ours, other.predict_proba(new), atol=1e-3)


def test_large_pictures_are_reduced_and_small_ones_kept() -> None:
    large = np.zeros((56, 56), np.uint8)
    large[:, 28:] = 255
    same = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    rows, labels = raw_pixels.pixels([Example("a", 0, large), Example("b", 1, same)])
    first, second = rows.reshape(2, 28, 28, 3)
    assert (first[:, :14] == 0).all() and (first[:, 14:] == 1).all()
    np.testing.assert_allclose(second, same / 255)
    assert labels.tolist() == [0, 1]
