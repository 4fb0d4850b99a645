"""Bundles of a tiny random vision Transformer: what is in them, and that they train on images."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from edge_adapt import cli
from edge_adapt.errors import UsageError
from edge_adapt.exporters.bundle import ExportConfig, attach, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest, verify_files
from edge_adapt.runtime.memory import measured
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.training import StopTraining
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.tasks import load_task
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

SIDE, PATCH = 16, 4


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, a tiny random DINOv2, and `task`, pictures of two classes: bright above, or bright below."""
    root = tmp_path_factory.mktemp("pictures")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
        Dinov2Model(Dinov2Config(**sizes, image_size=SIDE, patch_size=PATCH)).save_pretrained(root / "model")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("above", "below")):
        (root / "task" / name).mkdir(parents=True)
        for i in range(30):
            picture = rng.integers(0, 90, (10, 10), dtype=np.uint8)
            picture[5 * label : 5 * label + 5] += 120
            Image.fromarray(picture).save(root / "task" / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def vpt(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of vpt with two prompts in each block."""
    return exported(pictures, tmp_path_factory.mktemp("vpt"), "vpt", prompts=2)


def config_of(pictures: Path, method: str, size: int | None = None, **options: object) -> ExportConfig:
    model, task = str(pictures / "model"), str(pictures / "task")
    return ExportConfig(get_method(method, **options), model, task, reserved_classes=1, image_size=size)


def exported(pictures: Path, folder: Path, method: str, size: int | None = None, **options: object) -> Path:
    class Silent:
        def start(self, total: int) -> None: ...
        def stage(self, text: str) -> None: ...
        def advance(self, units: float = 1, kind: str = "") -> None: ...

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_adapt.exporters.bundle.calibrate", lambda *_, **__: {})
        export_bundle(config_of(pictures, method, size, **options), folder / "bundle", Silent())
    return folder / "bundle"


def examples(pictures: Path, start: int, end: int) -> tuple[list[str], list[str]]:
    labels = [name for _ in range(start, end) for name in ("above", "below")]
    files = [pictures / "task" / name / f"{i}.png" for i in range(start, end) for name in ("above", "below")]
    return list(map(str, files)), labels


def test_the_manifest_says_how_images_are_read(vpt: Path, pictures: Path) -> None:
    manifest = read_manifest(vpt)
    verify_files(vpt, manifest)
    reader = load_backbone(pictures / "model").preprocessor
    assert manifest.model.kind == "image" and manifest.tokenizer is None
    assert manifest.images is not None
    assert (manifest.images.side, manifest.images.tokens) == (SIDE, 17)
    assert (manifest.images.mean, manifest.images.deviation) == (reader.mean, reader.deviation)
    assert manifest.graphs["train"].inputs == ("pixel_values", "labels")
    assert not (vpt / "tokenizer.json").exists()
    assert 0 < max(manifest.parity[kind] for kind in ("loss", "logits", "gradient")) <= 1e-4
    assert len({tuple(shape) for shape in manifest.parity["batches"]}) > 4
    for name in ("train", "infer"):
        model = onnx.load(vpt / f"{name}.onnx", load_external_data=False)
        shape = model.graph.input[0].type.tensor_type.shape.dim
        assert [extent.dim_param or extent.dim_value for extent in shape] == ["batch", 3, SIDE, SIDE]


def test_gradients_of_the_prompts_by_finite_differences(vpt: Path, pictures: Path) -> None:
    rng = np.random.default_rng(0)
    with Session(vpt, threads=1) as session:
        state = session.state
        state["head.weight"][:2] = rng.normal(size=(2, 64)) * 0.2
        batch = session.batch(*examples(pictures, 0, 4))
        _, gradients = session.model.engine.loss_and_gradients(state, batch)
        prompts = [name for name in gradients if name.endswith("prompts")]
        assert len(prompts) == 2
        for name in prompts:
            direction = gradients[name] / np.linalg.norm(gradients[name])
            step = np.float32(0.02)
            up, down = (
                session.model.engine.loss({**state, name: state[name] + sign * step * direction}, batch)
                for sign in (1, -1)
            )
            assert (up - down) / (2 * step) == pytest.approx(np.linalg.norm(gradients[name]), rel=0.02)


@pytest.mark.parametrize(
    ("method", "size", "options"), [("probe", 12, {}), ("vpt", None, {"prompts": 2}), ("idpt", None, {})]
)
def test_same_as_torch_after_training(
    vpt: Path, pictures: Path, tmp_path: Path, method: str, size: int | None, options: dict
) -> None:
    folder = tmp_path / "bundle"
    if method == "vpt":
        shutil.copytree(vpt, folder)
    else:
        exported(pictures, tmp_path, method, size)
    files, labels = examples(pictures, 0, 8)
    with Session(folder, threads=1) as session:
        session.train(files, labels, TrainOptions(epochs=3))
        found = session.predict(files)
        state = session.state
    config = config_of(pictures, method, size, **options)
    backbone = load_backbone(pictures / "model", size)
    adaptation = attach(config, backbone, 2)
    adaptation.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
    arrays = [np.asarray(Image.open(file)) for file in files]
    (batch,) = backbone.preprocessor.encode(arrays, augment=False).batches([0] * len(arrays), len(arrays))
    with torch.no_grad():
        logits = adaptation.module(torch.as_tensor(batch.pixel_values), torch.as_tensor(batch.attention_mask))
        expected = torch.softmax(logits[:, :2].double(), 1).numpy()
    np.testing.assert_allclose(
        [[p.probabilities["above"], p.probabilities["below"]] for p in found], expected, atol=1e-5
    )


def test_prompts_learn_what_pictures_show(vpt: Path, pictures: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vpt, tmp_path / "bundle"))
    arrays = lambda files: [np.asarray(Image.open(file).resize((SIDE, SIDE)).convert("RGB")) for file in files]
    files, labels = examples(pictures, 0, 15)
    held_files, held = examples(pictures, 15, 30)
    with Session(folder, threads=1) as session:
        report = session.train(files, labels, TrainOptions(epochs=8, batch_size=10, replay=5))
        assert sum(report.losses[-3:]) < sum(report.losses[:3])  # the last epoch and the first
        assert session.evaluate(held_files, held).accuracy > 0.9
        by_file, by_array = session.predict(files[:4]), session.predict(np.stack(arrays(files[:4])))
        assert [one.label for one in by_file] == [one.label for one in by_array]
        again = session.train(files, labels, TrainOptions(epochs=1, replay=5))
        assert again.replayed == 5


def test_an_interrupted_run_on_crops_ends_at_the_same_numbers(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(load_task(str(pictures / "task")), augment=True)
    monkeypatch.setattr("edge_adapt.exporters.config.load_task", lambda _name, **_options: task)
    folder = exported(pictures, tmp_path, "vpt", prompts=2)
    images = read_manifest(folder).images
    assert images is not None and (images.side, images.crop_from) == (SIDE, 18)
    files, labels = examples(pictures, 0, 12)
    options = TrainOptions(epochs=2, batch_size=8)

    def stop(done: int, _planned: int, _loss: float) -> None:
        if done == 4:
            raise StopTraining

    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    with Session(whole, threads=1) as session:
        losses = session.train(files, labels, options).losses
        expected = session.state
    with Session(folder, threads=1) as session:
        assert session.train(files, labels, options, on_update=stop).stopped
    with Session(folder, threads=1) as session:
        assert session.train(files, labels, options).losses == losses
        for name, value in session.state.items():
            np.testing.assert_array_equal(value, expected[name])
        assert session.evaluate(files, labels).accuracy > 0.9


def test_memory_of_images_is_measured(vpt: Path) -> None:
    peaks = measured(vpt, 2, 17)
    assert peaks["peak_bytes"] > peaks["base_bytes"] > 0


def test_texts_are_refused(vpt: Path) -> None:
    with Session(vpt, threads=1) as session, pytest.raises(UsageError, match="cannot be read as an image"):
        session.predict(["a film that I liked"])


def test_texts_and_images_do_not_mix(pictures: Path, inputs: Path, tmp_path: Path, silent) -> None:
    config = ExportConfig(get_method("probe"), str(pictures / "model"), str(inputs / "reviews.csv"))
    with pytest.raises(UsageError, match="reads images, and task 'reviews' holds texts"):
        export_bundle(config, tmp_path / "bundle", silent)
    assert not list(tmp_path.iterdir())


def test_commands_of_the_device_on_folders_of_images(vpt: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    folder = str(shutil.copytree(vpt, tmp_path / "bundle"))
    assert cli.main(["train", folder, str(pictures / "task"), "--epochs", "2", "--threads", "1"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", folder, str(pictures / "task"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["examples"] == 60 and found["accuracy"] > 0.9
    one = pictures / "task" / "above" / "3.png"
    assert cli.main(["predict", folder, str(one)]) == 0
    assert capsys.readouterr().out.startswith("above\t")
    assert cli.main(["predict", folder, str(pictures / "task" / "below")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 30
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", pictures / "task" / "above"):
        assert cli.main(["train", folder, str(wrong)]) == 2
        assert "holds no images; put those of each class into a folder" in capsys.readouterr().err
    assert cli.main(["plan", folder, "--seq", "5", "--measure"]) == 2
    assert "--seq 17, of an image" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["plan", folder, "--batch", "2", "--measure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured_peak_bytes"] > 0


def test_answers_stand_beside_the_names_of_their_pictures(vpt: Path, pictures: Path, tmp_path: Path, capsys) -> None:
    """One line a picture, in the order of the names; the same on standard input's way and in JSON."""
    task = pictures / "task"
    names = [str(path) for path in sorted(task.rglob("*.png"))]
    assert cli.main(["predict", str(vpt), str(task)]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[2] for row in rows] == names and {len(row) for row in rows} == {3}
    assert cli.main(["predict", str(vpt), str(task), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [(item["image"], item["label"]) for item in found] == [(row[2], row[0]) for row in rows]
    assert cli.main(["predict", str(vpt), names[0]]) == 0
    assert capsys.readouterr().out == "\t".join(rows[0]) + "\n"


def test_names_of_pictures_on_standard_input(vpt: Path, pictures: Path, capsys, monkeypatch) -> None:
    """What is no picture is named with its line, or left out and said."""
    names = [str(path) for path in sorted((pictures / "task").rglob("*.png"))[:2]]
    given = "\n".join([names[0], "none.png", names[1]]).encode()
    for words, code in ((), 2), (("--on-error", "skip"), 0):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert cli.main(["predict", str(vpt), *words]) == code
        out, err = capsys.readouterr()
        assert "standard input" in err and "line 2: none.png cannot be read as an image: No such file" in err
        assert [line.split("\t")[2] for line in out.splitlines()] == ([] if code else names)


def test_texts_given_to_a_bundle_of_images(vpt: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "d.csv").write_text("text,label\na,b\n")
    for command in ("train", "evaluate", "predict"):
        assert cli.main([command, str(vpt), str(tmp_path / "d.csv")]) == 2
        said = capsys.readouterr().err
        assert "d.csv is a file" in said and "this bundle labels images: give a" in said and said.count("\n") == 1
