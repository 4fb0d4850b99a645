"""A bundle whose files are links, and damaged ones: one line that says what to do, never what a library says."""

import shutil
from pathlib import Path

import pytest
from edge_adapt.runtime.manifest import BundleError
from edge_adapt.runtime.session import Session

HINT = "copy the bundle from where its files are, with: cp -rL"


def answers(folder: Path, verify: bool = True) -> int:
    with Session(folder, verify=verify) as session:
        return len(session.predict(["the good film"]))


def moved_out(bundle: Path, name: str) -> Path:
    """Put a file of the bundle elsewhere, with a link to it in its place."""
    elsewhere = bundle.parent / "elsewhere"
    elsewhere.mkdir()
    (bundle / name).rename(elsewhere / name)
    (bundle / name).symlink_to(elsewhere / name)
    return elsewhere / name


def test_weights_that_are_a_link_out_of_the_bundle(bundle: Path) -> None:
    target = moved_out(bundle, "weights.data")
    try:
        assert answers(bundle) == 1  # an onnxruntime that follows links
    except BundleError as error:
        said = str(error)
        assert f"weights.data is a link out of the folder, to {target}; {HINT}" in said and "\n" not in said
        assert "[ONNXRuntimeError]" not in said
    copied = bundle.parent / "copied"
    shutil.copytree(bundle, copied)  # the files, as cp -rL does
    assert answers(copied) == 1


@pytest.mark.parametrize(
    "name", ["weights.data", "infer.onnx", "initial.safetensors", "tokenizer.json", "manifest.json"]
)
def test_links_to_nothing(bundle: Path, name: str) -> None:
    target = moved_out(bundle, name)
    target.unlink()
    with pytest.raises(
        BundleError, match=rf"{name} cannot be read.*it is a link to {target}, which is not there; {HINT}"
    ):
        answers(bundle)
    if name in ("weights.data", "infer.onnx"):
        with pytest.raises(BundleError, match=rf"infer\.onnx: {name}: it is a link to .*{HINT}"):
            answers(bundle, verify=False)


def test_bundles_that_are_links_work(bundle: Path) -> None:
    """The folder itself, and files that link to others of one folder."""
    (bundle.parent / "linked").symlink_to(bundle)
    assert answers(bundle.parent / "linked") == 1
    (bundle / "blob").write_bytes((bundle / "weights.data").read_bytes())
    (bundle / "weights.data").unlink()
    (bundle / "weights.data").symlink_to("blob")
    assert answers(bundle) == 1


@pytest.mark.parametrize("name", ["infer.onnx", "initial.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"\xff" * 64, b'{"a": 1}'])
def test_damaged_files_that_nobody_verified(bundle: Path, name: str, content: bytes) -> None:
    """What the libraries say of them becomes one line with the name of the file."""
    (bundle / name).write_bytes(content)

    def use() -> None:
        with Session(bundle, verify=False) as session:
            session.predict(["the good film"])
            session.reset()

    with pytest.raises(BundleError, match=name) as caught:
        use()
    assert "\n" not in str(caught.value) and "[ONNXRuntimeError]" not in str(caught.value)
