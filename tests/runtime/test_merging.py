"""A federated round: the mean of states against a closed form, clipping and noise, what is refused, and two devices."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import UsageError
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest
from edge_adapt.runtime.merging import merge
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.store import StateStore
from edge_adapt.runtime.tensor_file import tensor_file
from safetensors import safe_open
from safetensors.numpy import load_file

Arrays = dict[str, np.ndarray]


def drawn(seed: int, size: float = 1.0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "matrix": (size * rng.normal(size=(40, 30))).astype(np.float32),
        "vector": (size * rng.normal(size=50)).astype(np.float32),
    }


def flat(state: Arrays) -> np.ndarray:
    return np.concatenate([state[name].ravel().astype(np.float64) for name in sorted(state)])


def test_the_weighted_mean() -> None:
    start, states, weights = drawn(0), [drawn(seed) for seed in (1, 2, 3)], (3, 1, 4)
    expected = np.average([flat(state) for state in states], axis=0, weights=weights)
    found = merge(start, states, weights)
    np.testing.assert_array_equal(flat(found.state), expected.astype(np.float32))
    np.testing.assert_allclose(found.norms, [np.linalg.norm(flat(s) - flat(start)) for s in states], rtol=1e-12)
    assert found.factors == (1, 1, 1) and found.deviation == 0


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_equal_states_merge_to_themselves_bit_for_bit(count: int) -> None:
    rng = np.random.default_rng(count)
    state = {"a": (rng.normal(size=5000) * 10.0 ** rng.integers(-38, 38, 5000)).astype(np.float32)}
    state["a"][:3] = np.finfo(np.float32).tiny / 8, np.finfo(np.float32).max, 0.0
    start = {"a": np.full(5000, -1e4, np.float32)}
    found = merge(start, [state] * count, rng.uniform(1e-3, 1e6, count).tolist(), clip=1e40)
    assert found.state["a"].tobytes() == state["a"].tobytes()


def test_long_updates_are_shortened_and_short_ones_left() -> None:
    start, near, far = drawn(0), drawn(1, 0.1), drawn(2, 5.0)
    near = {name: start[name] + value for name, value in near.items()}
    clip = float(np.linalg.norm(flat(near) - flat(start))) + 0.1
    found = merge(start, [near, far], (1, 2), clip=clip)
    update = flat(far) - flat(start)
    cut = flat(start) + update * clip / np.linalg.norm(update)
    np.testing.assert_allclose(flat(found.state), (flat(near) + 2 * cut) / 3, rtol=1e-6, atol=1e-6)
    assert found.factors[0] == 1 and found.factors[1] == pytest.approx(clip / found.norms[1])
    one = merge(start, [far], (5,), clip=0.25)
    assert np.linalg.norm(flat(one.state) - flat(start)) == pytest.approx(0.25, rel=1e-4)


def test_noise_has_the_stated_deviation() -> None:
    """z C max(w) / sum(w): what one device can move the mean by, z times. 40 seeds of 1,200 numbers: the mean is known
    to 0.5 % of the deviation, the deviation to 0.3 %.
    """
    start, states, weights = drawn(0), [drawn(1), drawn(2)], (3.0, 1.0)
    plain = merge(start, states, weights, clip=0.5)
    draws = []
    for seed in range(40):
        found = merge(
            start, states, weights, clip=0.5, noise=2.0, rng=np.random.default_rng(seed), untouched=("vector",)
        )
        assert found.deviation == 2.0 * 0.5 * 3 / 4
        np.testing.assert_array_equal(found.state["vector"], plain.state["vector"])
        draws.append(found.state["matrix"] - plain.state["matrix"])
    noise = np.array(draws, np.float64)
    assert abs(noise.mean()) < 5 * 0.75 / math.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.75, rel=5 / math.sqrt(2 * noise.size))
    assert (np.abs(np.corrcoef(noise.reshape(40, -1)) - np.eye(40)) < 0.2).all(), "each seed its own"
    rows = merge(start, states, weights, clip=0.5, noise=2.0, rng=np.random.default_rng(0), rows={"matrix": 10})
    changed = (rows.state["matrix"] != plain.state["matrix"]).any(axis=1)
    assert changed[:10].all() and not changed[10:].any()


def test_noise_beyond_float32_is_refused() -> None:
    with pytest.raises(UsageError, match="beyond those of float32"):
        merge(drawn(0), [drawn(1)], (1,), clip=1e38, noise=1e6, rng=np.random.default_rng(0))


# --- the command
# ----------------------------------------------------------------------------------------------------------------------


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return dict(file.metadata())


def test_two_devices_train_on_halves_and_the_merged_state_predicts(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path, texts
) -> None:
    out, server = tmp_path / "merged.safetensors", devices[2]
    code, printed, err = command("merge-states", server, *files, "--out", out)
    assert (code, err) == (0, "")
    assert "anna.safetensors: 66.7 %" in printed and "the mean of 2 states, counted from state 0 of" in printed
    one, other = map(load_file, files)
    for name, value in load_file(out).items():
        expected = (40 * one[name].astype(float) + 20 * other[name].astype(float)) / 60
        np.testing.assert_array_equal(value, expected.astype(np.float32))
    told, steps = metadata(out), [int(metadata(file)["step"]) for file in files]
    assert (told["examples"], told["step"]) == ("60", str(max(steps)))
    sentences, labels = texts(200, 7)
    for home in devices:
        code, printed, err = command("state", "import", home, out)
        assert code == 0 and "imported" in printed, err
        with Session(home, threads=1) as session:
            assert session.evaluate(sentences, labels).accuracy > 0.8
            assert session.snapshot.header.step == max(steps)
    with Session(devices[0], threads=1) as session:  # the next round goes on from there: the head stays what it is
        before = session.state["head.weight"]
        session.train(sentences[:8], labels[:8], TrainOptions(epochs=1, learning_rates={"head": 1e-9}))
        np.testing.assert_allclose(session.state["head.weight"], before, atol=1e-6)
        session.roll_back()
        np.testing.assert_array_equal(session.state["head.weight"], before)


def test_weights_clip_and_noise(devices: list[Path], files: list[Path], command: Callable, tmp_path: Path) -> None:
    out, server = tmp_path / "merged.safetensors", devices[2]
    words = ["merge-states", server, *files, "--out", out, "--weights", "1,3", "--json"]
    plain = json.loads(command(*words)[1])
    assert [row["share"] for row in plain["states"]] == [0.25, 0.75] and plain["noise_deviation"] == 0
    norms = [row["update_norm"] for row in plain["states"]]
    clip = min(norms) / 2
    cut = json.loads(command(*words, "--clip", clip)[1])
    assert [row["shortened_to"] for row in cut["states"]] == pytest.approx([clip / norm for norm in norms])
    expected = load_file(out)
    noisy = json.loads(command(*words, "--clip", clip, "--noise", 0.5, "--seed", 3)[1])
    assert noisy["noise_deviation"] == pytest.approx(0.5 * clip * 3 / 4)
    first = load_file(out)
    command(*words, "--clip", clip, "--noise", 0.5, "--seed", 3)
    for name, value in load_file(out).items():
        np.testing.assert_array_equal(value, first[name])
        used = 2 if name.startswith("head.") else len(value)  # rows of classes that may be taught are left alone
        assert (value[:used] != expected[name][:used]).any()
        np.testing.assert_array_equal(value[used:], expected[name][used:])
    drawn = []
    for _ in range(2):
        command(*words, "--clip", clip, "--noise", 0.5)
        drawn.append(out.read_bytes())
    assert drawn[0] != drawn[1], "without a seed nobody can take the noise off"


def test_states_that_do_not_say_how_many_examples(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path
) -> None:
    out, server = tmp_path / "merged.safetensors", devices[2]
    silent = []
    for file in files:
        silent.append(file.with_name("silent-" + file.name))
        told = {name: text for name, text in metadata(file).items() if name != "examples"}
        silent[-1].write_bytes(tensor_file(load_file(file), told))
    code, _, err = command("merge-states", server, *silent, "--out", out)
    assert code == 0 and "all count the same" in err and "examples" not in metadata(out)
    one, other = map(load_file, files)
    for name, value in load_file(out).items():
        np.testing.assert_array_equal(value, ((one[name].astype(float) + other[name]) / 2).astype(np.float32))
    code, _, err = command("merge-states", server, silent[0], files[1], "--out", out)
    assert code == 2 and "silent-anna" in err and "--weights" in err


def changed(file: Path, told: dict[str, str] | None = None, **tensors: np.ndarray) -> bytes:
    kept = {name: text for name, text in (metadata(file) | (told or {})).items() if text}
    return tensor_file(load_file(file) | tensors, kept)


WRONG: dict[str, tuple[Callable[[Path], bytes], int, str]] = {
    "of another bundle": (lambda f: changed(f, {"bundle": "0" * 64}), 2, "a state of another bundle ('by-hand'"),
    "of no bundle": (lambda f: changed(f, {"bundle": ""}), 2, "does not say which bundle"),
    "a hostile name": (lambda f: changed(f, {"bundle": "1", "model": "\x1b[2J\n"}), 2, r"'\x1b[2J\n'"),
    "not a number": (lambda f: changed(f, coefficients=np.full(3, np.nan, np.float32)), 2, "not finite"),
    "another shape": (lambda f: changed(f, coefficients=np.ones(4, np.float32)), 2, "not float32 (3,)"),
    "another type": (lambda f: changed(f, coefficients=np.ones(3)), 2, "float64"),
    "a tensor too many": (lambda f: changed(f, more=np.ones(3, np.float32)), 2, "'more' is none of this bundle"),
    "other labels": (lambda f: changed(f, {"labels": '["a", "b"]'}), 2, "not those of the bundle"),
    "labels that are none": (lambda f: changed(f, {"labels": "[" * 9999}), 2, "no list of names"),
    "other tensors": (lambda f: changed(f, coefficients=np.ones(3, np.float32)), 2, "tensors are not those that"),
    "a start that is none": (lambda f: changed(f, {"start_sha256": "A" * 64}), 2, "which is no digest"),
    "a digest that is none": (lambda f: changed(f, {"state_sha256": "1"}), 2, "'1', which is no digest"),
    "a step that is none": (lambda f: changed(f, {"step": "-1"}), 2, "'-1', which is no whole number"),
    "many digits": (lambda f: changed(f, {"examples": "9" * 5000}), 2, "no whole number"),
    "other classes": (lambda f: changed(f, {"labels": '["down", "up", "so-so"]'}), 2, "teach the same classes"),
    "no file of tensors": (lambda f: b"\xff" * 100, 2, "is not a file that `edge-adapt state export` wrote"),
    "nothing": (lambda f: b"", 2, "is not a file that"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_state_of_this_bundle_is_refused_by_name(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path, name: str
) -> None:
    make, wanted, words = WRONG[name]
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(make(files[1]))
    out = tmp_path / "merged.safetensors"
    asked = [("merge-states", devices[2], files[0], wrong, "--out", out)]
    if name != "other classes":  # which could be taught
        asked.append(("state", "import", devices[2], wrong))
    for one in asked:
        code, printed, err = command(*one)
        assert (code, printed) == (wanted, ""), err
        assert len(err.splitlines()) == 1 and "wrong.safetensors" in err and words in err
    assert not out.exists()
    manifest = read_manifest(devices[2])
    assert StateStore(devices[2], manifest).read().header.note == "exported"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--noise", "1"], "--noise needs --clip"),
        (["--seed", "1"], "--seed is of the noise"),
        (["--weights", "1,2,3"], "one number for each state, such as 3,1; got 3 for 2 states"),
        (["--weights", "1,0"], "'0' is not a number above 0"),
        (["--weights", "1,nan"], "'nan' is not a number above 0"),
        (["--clip", "-1"], "'-1' is not a number above 0"),
        (["--clip", "1", "--noise", "inf"], "'inf' is not a number above 0"),
        (["--clip", "1", "--noise", "1", "--seed", "-1"], "whole number"),
    ],
)
def test_wrong_options(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path, words: list[str], said: str
) -> None:
    code, _, err = command("merge-states", devices[2], *files, "--out", tmp_path / "out", *words)
    assert code == 2 and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_no_state_counts_twice_and_nothing_is_written_into_the_bundle(
    devices: list[Path], files: list[Path], command: Callable, tmp_path: Path
) -> None:
    again = tmp_path / "link"
    again.symlink_to(files[0])
    code, _, err = command("merge-states", devices[2], files[0], again, "--out", tmp_path / "out")
    assert code == 2 and "given twice" in err
    code, _, err = command("merge-states", devices[2], *files, "--out", devices[2] / "state" / "a")
    assert code == 2 and "lies in the bundle" in err


def test_a_class_that_was_taught_is_merged_and_not_clipped(
    devices: list[Path], command: Callable, tmp_path: Path, texts
) -> None:
    sentences, labels = texts(30, 1, classes=3)
    files = []
    for home in devices[:2]:
        with Session(home, threads=1) as session:
            session.train(sentences, labels, TrainOptions(epochs=1, teach=("so-so",)))
        files.append(home.parent / "state.safetensors")
        command("state", "export", home, files[-1])
    out = tmp_path / "merged.safetensors"
    code, _, err = command("merge-states", devices[2], *files, "--out", out, "--clip", 1)
    assert code == 2 and "an update that taught a class" in err
    assert command("merge-states", devices[2], *files, "--out", out)[0] == 0
    assert command("state", "import", devices[2], out)[0] == 0
    assert Session(devices[2]).labels == ("down", "up", "so-so")
