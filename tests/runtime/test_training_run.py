"""Training runs: gradients as derived on paper; any interruption leads to the same bits; what is refused."""

import errno
import itertools
import logging
import math
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.runtime import Session
from edge_adapt.runtime.options import TrainOptions
from edge_adapt.runtime.state import CURRENT
from edge_adapt.runtime.training import StopTraining

OPTIONS = {
    "adamw": TrainOptions(epochs=3, save_every=2),
    "sgd": TrainOptions(optimizer="sgd", momentum=0.9, epochs=3, save_every=1, schedule="cosine", accumulate=2),
    "mezo": TrainOptions(optimizer="mezo", epochs=3, save_every=2),
    "stopping": TrainOptions(epochs=5, hold_out=0.3, patience=2, save_every=3, balanced=True, seed=4),
    "mezo stopping": TrainOptions(optimizer="mezo", epochs=4, hold_out=0.3, save_every=3),
    "replaying": TrainOptions(epochs=2, replay=6, save_every=2, seed=2),
}


def bits(state: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in state.items()}


def copy_of(bundle: Path, name: str) -> Path:
    return Path(shutil.copytree(bundle, bundle.parent / name))


def test_loss_gradients_and_logits_are_those_of_the_derivation(bundle: Path, texts, oracle) -> None:
    session = Session(bundle, threads=1)
    rng = np.random.default_rng(0)
    batch = session.batch(*texts(9, 0))
    state = {n: v + rng.normal(0, 0.3, v.shape).astype(np.float32) for n, v in session.state.items()}
    loss, gradients = session.model.engine.loss_and_gradients(state, batch)
    expected_loss, expected = oracle.loss_and_gradients(state, **batch.inputs, labels=batch.labels)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-7)
    logits = session.model.engine.infer(state, batch.inputs, ["logits"])[0]
    np.testing.assert_allclose(logits, oracle.logits(state, **batch.inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(bundle: Path, texts, name: str) -> None:
    options, data, first = OPTIONS[name], texts(22, 0), texts(10, 7)

    def trained_before(folder: Path) -> Session:
        session = Session(folder, threads=1)
        session.train(*first, TrainOptions(epochs=1, replay=options.replay))
        return session

    whole = trained_before(copy_of(bundle, "whole"))
    report = whole.train(*data, options)
    assert report.committed
    assert all(map(math.isfinite, report.losses))
    for stop in range(1, len(report.losses)):
        folder = copy_of(bundle, f"stopped-{stop}")
        trained_before(folder).close()
        with Session(folder, threads=1) as session:
            before = session.predict(data[0])

            def stop_there(done: int, _total: int, _loss: float, stop: int = stop) -> None:
                if done == stop:
                    raise StopTraining

            stopped = session.train(*data, options, on_update=stop_there)
            assert stopped.stopped
            assert not stopped.committed
            assert session.predict(data[0]) == before
        with Session(folder, threads=1) as session:
            resumed = session.train(*data, options)
            assert resumed.resumed_at in (stop - 1, stop)
            assert resumed.losses == report.losses
            assert (resumed.best_epoch, resumed.held_out_loss) == (report.best_epoch, report.held_out_loss)
            assert bits(session.state) == bits(whole.state)
            assert bits(dict(session.snapshot.tensors)) == bits(dict(whole.snapshot.tensors))
            header = replace(session.snapshot.header, counter=0, saved_unix_seconds=0)
            assert header == replace(whole.snapshot.header, counter=0, saved_unix_seconds=0)


def test_training_processes_killed_at_random_end_at_the_same_bits(bundle: Path, texts) -> None:
    options, data = TrainOptions(epochs=100, save_every=1), texts(24, 1)
    whole = Session(copy_of(bundle, "whole"), threads=1)
    whole.train(*data, options)
    expected = bits(whole.state)
    whole.close()
    chance = random.Random(1)
    kills = 0
    for _ in range(200):
        read_end, write_end = os.pipe()
        updates, further = chance.randrange(2, 40), 20
        child = os.fork()
        if child == 0:
            code = 1
            made = itertools.count(1)

            def tell(_done: int, _total: int, _loss: float, write_end=write_end, made=made, most=updates + further):
                os.write(write_end, b"!")
                if next(made) == most:  # a parent that is slow to kill gets no run that is done
                    signal.pause()

            try:
                os.close(read_end)
                with Session(bundle, threads=1) as session:
                    code = 0 if session.train(*data, options, on_update=tell).committed else 2
            finally:
                os._exit(code)
        os.close(write_end)
        while updates > 0 and (told := os.read(read_end, updates)):  # nothing: it has ended
            updates -= len(told)
        time.sleep(chance.random() * 0.003)  # anywhere between that update and those that follow
        os.kill(child, signal.SIGKILL)
        os.close(read_end)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        reader = Session(bundle, threads=1)
        if reader.snapshot.header.note == "trained":
            break
        assert bits(reader.state) == bits(reader.store.initial().part(CURRENT))
        reader.close()
    assert kills >= 300 // 60
    assert bits(reader.state) == expected
    assert reader.snapshot.header.step == 300


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_every_file_operation_of_a_run_fails_in_turn(bundle: Path, texts, failing_disk, code: int) -> None:
    options, data = TrainOptions(epochs=2, save_every=2), texts(24, 2)

    def train(folder: Path, disk) -> Session:
        with Session(folder, threads=1) as session:
            session.store.disk = disk
            session.train(*texts(8, 3), TrainOptions(epochs=1))  # so that there is a former state to keep
            session.train(*data, options)
            return session

    counting = failing_disk()
    whole = train(copy_of(bundle, "whole"), counting)
    assert counting.done > 25
    for number in range(1, counting.done + 1):
        folder = copy_of(bundle, f"failed-{number}")
        with pytest.raises(EdgeAdaptError, match="unharmed") as caught:
            train(folder, failing_disk(number, code))
        assert os.strerror(code) in str(caught.value)
        with Session(folder, threads=1) as session:
            if session.snapshot.header.step == 0:
                session.train(*texts(8, 3), TrainOptions(epochs=1))
            if session.snapshot.header.step == 1:
                session.train(*data, options)
            assert bits(session.state) == bits(whole.state)
            assert session.snapshot.header.step == whole.snapshot.header.step == 7


def test_a_session_and_the_report_of_a_run_show_one_short_line(bundle: Path, texts) -> None:
    """In a notebook both are shown when they are the last thing of a cell."""
    with Session(bundle, threads=1) as session:
        shown = repr(session)
        assert shown.startswith(f"Session(bundle={str(bundle)!r}, labels=('") and shown.endswith("state=0)")
        report = session.train(*texts(40, 1), TrainOptions(epochs=20))
        assert "state=0" not in repr(session)
    assert len(report.losses) == 100 and "losses" not in repr(report)
    assert len(repr(report)) < 400 and "\n" not in repr(report)


def test_other_examples_drop_an_unfinished_run(bundle: Path, texts, caplog: pytest.LogCaptureFixture) -> None:
    def stop(done: int, _total: int, _loss: float) -> None:
        if done == 3:
            raise StopTraining

    whole = Session(copy_of(bundle, "whole"), threads=1)
    whole.train(*texts(20, 5))
    session = Session(bundle, threads=1)
    session.train(*texts(20, 4), on_update=stop)
    assert session.snapshot.header.run is not None
    session.train(*texts(20, 5))
    assert "unfinished run with other examples or options is dropped" in caplog.text
    assert bits(session.state) == bits(whole.state)


def test_parts_of_a_batch_make_the_step_of_the_whole(bundle: Path, texts) -> None:
    states = []
    for parts in (1, 2, 3, 8):
        with Session(copy_of(bundle, f"parts-{parts}"), threads=1) as session:
            session.train(*texts(24, 6), TrainOptions(accumulate=parts, epochs=2))
            states.append(session.state)
    for state in states[1:]:
        for name, value in state.items():
            np.testing.assert_allclose(value, states[0][name], rtol=1e-4, atol=1e-5)


def test_epochs_for_a_bundle_that_trains_nothing_are_refused() -> None:
    recipe = SimpleNamespace(learning_rates={}, epochs=0, min_steps=0, batch_size=4, weight_decay=0.0, clip_norm=1.0)
    manifest: Any = SimpleNamespace(trained=(), recipe=recipe)
    with pytest.raises(UsageError, match=r"epochs = 3 has no effect: this bundle trains nothing"):
        TrainOptions(epochs=3).plan(manifest, 12)
    assert TrainOptions().plan(manifest, 12).epochs == 0


def test_the_head_starts_at_the_class_means(bundle: Path, texts, oracle) -> None:
    session = Session(bundle, threads=1)
    data = texts(30, 8)
    session.train(*data, TrainOptions(epochs=0))
    batch = session.batch(*data)
    features, _ = oracle.features(session.state, **batch.inputs)
    means = np.stack([features[batch.labels == k].mean(0) for k in (0, 1)])
    weight, bias = session.state["head.weight"], session.state["head.bias"]
    nearest = ((features[:, None] - means) ** 2).sum(2).argmin(1)
    logits = features @ weight[:2].T + bias[:2]
    assert (logits.argmax(1) == nearest).all()
    right = np.take_along_axis(logits, batch.labels[:, None], 1)[:, 0]
    margins = right - np.where(batch.labels, logits[:, 0], logits[:, 1])
    assert margins.mean() == pytest.approx(session.manifest.recipe.head_margin, rel=1e-5)
    assert (weight[2:] == 0).all()
    assert (bias[2:] == -1e4).all()


def test_the_epoch_with_the_least_held_out_loss_is_taken(bundle: Path, texts) -> None:
    data = texts(40, 9)
    rates = {"head": 1.0}  # overshoots, so that the last epoch is not the best
    losses = []
    for epochs in range(5):
        with Session(copy_of(bundle, f"epochs-{epochs}"), threads=1) as session:
            options = TrainOptions(epochs=epochs, schedule="constant", learning_rates=rates, hold_out=0.25, patience=99)
            report = session.train(*data, options)
            losses.append(report.held_out_loss)
            assert report.held_out == 10
    assert losses == sorted(losses, reverse=True)
    assert report.best_epoch is not None
    assert report.best_epoch < 4
    with Session(copy_of(bundle, "impatient"), threads=1) as session:
        stopped = session.train(*data, replace(options, epochs=50, patience=1))
        assert stopped.epochs < 50
        assert stopped.held_out_loss <= losses[1]


def test_a_guard_refuses_a_state_that_forgets(bundle: Path, texts) -> None:
    session = Session(bundle, threads=1)
    session.train(*texts(60, 10), TrainOptions(epochs=30))
    guard = texts(40, 11)
    before, state = session.evaluate(*guard).accuracy, bits(session.state)
    assert before > 0.8
    sentences, labels = texts(40, 12)
    swapped = ["up" if label == "down" else "down" for label in labels]
    report = session.train(sentences, swapped, TrainOptions(epochs=30), guard=guard)
    assert not report.committed
    assert "refused: accuracy on the 40 guard examples fell from" in report.refusal
    assert bits(session.state) == state
    assert session.snapshot.header.run is None
    allowed = session.train(sentences, swapped, TrainOptions(epochs=30, max_drop=100), guard=guard)
    assert allowed.committed
    assert session.evaluate(*guard).accuracy == allowed.guard_after < before


def test_a_class_taught_later(bundle: Path, texts) -> None:
    session = Session(bundle, threads=1)
    session.train(*texts(60, 13), TrainOptions(epochs=10, replay=20))
    sentences, labels = texts(60, 14, classes=3)
    with pytest.raises(UsageError, match=r"unknown label 'so-so'.*--teach"):
        session.train(sentences, labels)
    two = session.predict(sentences)
    assert set(two[0].probabilities) == {"down", "up"}
    report = session.train(sentences, labels, TrainOptions(epochs=40, teach=("so-so",)))
    assert report.committed
    assert session.labels == ("down", "up", "so-so")
    found = Session(bundle, threads=1).evaluate(*texts(90, 15, classes=3))
    assert found.by_label["so-so"][1] > 15
    assert found.accuracy > 0.6
    with pytest.raises(UsageError, match=r"no class is left to teach 'five': 2 were reserved .* taken by so-so"):
        session.train(sentences, labels, TrainOptions(teach=("four", "five")))
    with pytest.raises(UsageError, match="no example of the class 'four'"):
        session.train(sentences, labels, TrainOptions(teach=("four",)))


def test_untaught_classes_get_no_probability_and_no_gradient(bundle: Path, texts) -> None:
    session = Session(bundle, threads=1)
    batch = session.batch(*texts(12, 16))
    _, gradients = session.model.engine.loss_and_gradients(session.state, batch)
    assert (gradients["head.weight"][2:] == 0).all()
    assert (gradients["head.bias"][2:] == 0).all()


def test_reset_gives_the_original_outputs_bit_for_bit(bundle: Path, texts) -> None:
    sentences = texts(30, 17)[0]
    session = Session(bundle, threads=1)
    ids = session.model.encoder.encode(sentences)
    before = session.model.outputs(session.state, ids, "logits")
    session.train(*texts(30, 18))
    trained = session.state
    assert session.model.outputs(session.state, ids, "logits").tobytes() != before.tobytes()
    session.reset()
    assert session.model.outputs(session.state, ids, "logits").tobytes() == before.tobytes()
    session.roll_back()
    assert bits(session.state) == bits(trained)
    session.close()
    assert bits(Session(bundle, threads=1).state) == bits(trained)


def test_rates_that_lead_nowhere(bundle: Path, texts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    session = Session(bundle, threads=1)
    session.train(*texts(20, 19))
    before = bits(session.state)
    with pytest.raises(EdgeAdaptError, match=r"not finite 10 times.*unharmed"):  # no float32 can hold such a step
        session.train(*texts(40, 20), TrainOptions(learning_rates={"head": 1e45}, schedule="constant"))
    assert caplog.text.count("the last step is undone, learning rates halved") == 9
    assert bits(session.state) == before


def test_a_run_goes_on_after_losses_that_are_no_numbers(
    bundle: Path, texts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    session = Session(bundle, threads=1)
    real, calls = session.model.engine.loss_and_gradients, []

    def sometimes_nan(values, batch):
        calls.append(len(batch))
        loss, gradients = real(values, batch)
        return (math.nan if len(calls) in (3, 7) else loss), gradients

    monkeypatch.setattr(session.model.engine, "loss_and_gradients", sometimes_nan)
    report = session.train(*texts(40, 20), TrainOptions(epochs=2))
    assert report.committed
    assert (report.undone, report.updates) == (2, 10 - 2 * 2)
    assert [math.isnan(loss) for loss in report.losses] == [k in (2, 6) for k in range(10)]
    assert "learning rates halved to 0.25" in caplog.text
    # The last update has no later one that would notice: one more look, and it is undone as well.
    calls[:] = [0]  # call 3 is then the second update
    monkeypatch.setattr(session.model.engine, "loss", lambda *_: math.nan)
    report = session.train(*texts(40, 21), TrainOptions(epochs=1))
    assert report.undone == 2
    assert [math.isnan(loss) for loss in report.losses] == [k == 1 for k in range(5)]
    assert all(np.isfinite(value).all() for value in session.state.values())


def test_a_step_that_leads_to_nan_is_undone(bundle: Path, texts, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(bundle, threads=1)
    real = session.model.engine.loss_and_gradients
    pairs = list(zip(*texts(8, 21), strict=True))
    session.step(pairs)
    before = session.state
    session.step(pairs)
    assert bits(session.state) != bits(before)
    monkeypatch.setattr(session.model.engine, "loss_and_gradients", lambda *_: (math.nan, real(before, _[1])[1]))
    assert math.isnan(session.step(pairs))
    assert bits(session.state) == bits(before)
    monkeypatch.undo()
    assert math.isfinite(session.step(pairs))
    session.save()
    assert session.snapshot.header.optimiser.rate_factor == 0.5
    assert session.snapshot.header.step == 2


def test_steps_saved_and_opened_again_go_on_to_the_same_bits(bundle: Path, texts) -> None:
    parts = [list(zip(*texts(8, 30 + k), strict=True)) for k in range(6)]
    for kind in ("adamw", "sgd", "mezo"):
        options = TrainOptions(optimizer=kind, momentum=0.5)
        whole = Session(copy_of(bundle, f"whole-{kind}"), threads=1, options=options)
        losses = [whole.step(part) for part in parts]
        folder = copy_of(bundle, kind)
        for part, loss in zip(parts, losses, strict=True):
            with Session(folder, threads=1, options=options) as session:
                assert session.step(part, factor=1.0) == loss
                session.save()
        assert bits(Session(folder).state) == bits(whole.state)
        assert Session(folder).snapshot.header.step == 6


def test_the_state_changed_by_another_process_meanwhile(bundle: Path, texts, caplog: pytest.LogCaptureFixture) -> None:
    late, early = Session(bundle, threads=1), Session(bundle, threads=1)
    early.train(*texts(20, 22))
    with pytest.raises(EdgeAdaptError, match="another process"):
        late.step(list(zip(*texts(8, 23), strict=True)))
    early.close()
    late.step(list(zip(*texts(8, 23), strict=True)))
    assert "changed by another process meanwhile" in caplog.text
    late.save()
    assert late.snapshot.header.step == early.snapshot.header.step + 1


def test_only_the_head_is_trained_without_a_training_graph(head_bundle: Path, texts, oracle) -> None:
    session = Session(head_bundle, threads=1)
    assert "train" not in session.manifest.graphs
    batch = session.batch(*texts(11, 24))
    session.train(*texts(40, 25), TrainOptions(epochs=20))
    assert session.evaluate(*texts(60, 26)).accuracy > 0.7
    from edge_adapt.runtime.model import objective

    loss, gradients = objective(session.model).loss_and_gradients(session.state, batch)
    expected_loss, expected = oracle.loss_and_gradients(session.state, **batch.inputs, labels=batch.labels)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name in ("head.weight", "head.bias"):
        np.testing.assert_allclose(gradients[name], expected[name], atol=1e-6)
    assert session.step(batch) == pytest.approx(loss)


def test_a_head_of_class_means_needs_no_epoch(head_bundle: Path, texts) -> None:
    session = Session(head_bundle, threads=1)
    before = session.state
    report = session.train(*texts(40, 25), TrainOptions(epochs=0))
    assert report.losses == [] and report.committed
    assert not np.array_equal(session.state["head.weight"], before["head.weight"])
    assert session.evaluate(*texts(60, 26)).accuracy > 0.6


def test_more_examples_to_replay_than_a_state_holds_are_refused_first(bundle: Path, texts, monkeypatch) -> None:
    monkeypatch.setattr("edge_adapt.runtime.training.BESIDE_BYTES", 100)
    with Session(bundle) as session:
        before = session.snapshot.header.counter
        with pytest.raises(UsageError, match=r"--replay 20 would keep .* take \d or fewer"):
            session.train(*texts(30, 0), TrainOptions(replay=20))
        assert session.store.read().header.counter == before
