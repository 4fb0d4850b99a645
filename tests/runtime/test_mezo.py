"""Training with forward passes only: published random numbers, and a list of pairs that replays bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.runtime import Session
from edge_adapt.runtime.mezo import directions, pair_seed, replay, splitmix64
from edge_adapt.runtime.options import TrainOptions
from hypothesis import given
from hypothesis import strategies as st


def splitmix_step(state: int) -> tuple[int, int]:
    """One output in Python's whole numbers, from the paper's listing."""
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def test_splitmix64_gives_the_published_numbers() -> None:
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert splitmix64(1234567, 5).tolist() == known


@given(st.integers(0, 2**64 - 1), st.integers(1, 200))
def test_splitmix64_and_signs_from_any_seed(seed: int, size: int) -> None:
    state, words = seed, []
    for _ in range(-(-size // 64)):
        state, word = splitmix_step(state)
        words.append(word)
    assert splitmix64(seed, len(words)).tolist() == words
    expected = [1.0 if words[i // 64] >> (i % 64) & 1 else -1.0 for i in range(size)]
    signs = directions(seed, {"a": (size // 2,), "b": (size - size // 2, 1)})
    assert np.concatenate([signs["a"], signs["b"].ravel()]).tolist() == expected


def test_seeds_of_different_updates_and_runs_differ() -> None:
    assert len({pair_seed(run, update) for run in range(20) for update in range(50)}) == 1000


@pytest.mark.parametrize("hold_out", [0.0, 0.3])
def test_the_pairs_replay_to_the_same_bits(bundle: Path, texts, hold_out: float) -> None:
    session = Session(bundle, threads=1)
    options = TrainOptions(optimizer="mezo", epochs=12, hold_out=hold_out)
    first = session.evaluate(*texts(60, 1)).loss
    report = session.train(*texts(60, 0), options)
    assert session.evaluate(*texts(60, 1)).loss < first
    saved = session.snapshot
    pairs = saved.part("mezo/")
    start = {name.removeprefix("start/"): value for name, value in pairs.items() if name.startswith("start/")}
    names = [tensor.name for tensor in session.manifest.trained]
    rates = json.loads(json.dumps(dict(saved.header.mezo_rates)))
    again = replay(start, zip(pairs["seeds"].tolist(), pairs["scalars"].tolist(), strict=True), rates, names)
    assert len(pairs["seeds"]) <= report.updates
    assert {n: v.tobytes() for n, v in again.items()} == {n: v.tobytes() for n, v in session.state.items()}


def test_the_training_graph_is_not_opened(bundle: Path, texts) -> None:
    session = Session(bundle, threads=1)
    (bundle / "train.onnx").unlink()
    session.train(*texts(20, 2), TrainOptions(optimizer="mezo"))
    session.train(*texts(20, 2), TrainOptions(optimizer="mezo", seed=1))
    assert session.snapshot.header.step == 24


def test_the_slope_is_that_of_the_gradient(bundle: Path, texts, oracle) -> None:
    from edge_adapt.runtime.model import GraphObjective
    from edge_adapt.runtime.rules import MezoRule, Pairs

    session = Session(bundle, threads=1)
    rng = np.random.default_rng(0)
    batch = session.batch(*texts(16, 3))
    values = {n: v + rng.normal(0, 0.3, v.shape).astype(np.float32) for n, v in session.state.items()}
    values["head.bias"][2:] = -1e4
    rates = {tensor.name: 1.0 for tensor in session.manifest.trained}
    rule = MezoRule(GraphObjective(session.model), rates, 1e-3, 5, 0.0, ())
    loss, _, pairs = rule.propose(values, Pairs(values), [batch], 1.0)
    expected_loss, gradients = oracle.loss_and_gradients(values, **batch.inputs, labels=batch.labels)
    along = directions(pair_seed(5, 0), {name: values[name].shape for name in rates})
    slope = sum((gradients[name] * along[name]).sum() for name in rates)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert np.sqrt(pairs.mean_square) == pytest.approx(abs(slope), rel=0.02)
    assert np.sign(pairs.scalars[0]) == np.sign(slope)
