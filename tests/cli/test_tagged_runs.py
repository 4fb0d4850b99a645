"""Named entities on the chip, end to end: a file of words with tags in, F1 of entities out."""

import json

import numpy as np
import pytest
from edge_adapt.reports import validate
from edge_adapt.studies.test_sets import with_pool
from edge_adapt.workloads.tasks import load_task

TAGS = {"film": "B-thing", "plot": "B-thing", "cast": "I-thing", "good": "B-mood", "bad": "B-mood"}


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """Sentences whose tags follow from the words: what a random encoder can tell, too."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(120):
        words = [
            str(word) for word in rng.permutation(["film", "good", "bad", "the", "was", "very"])[: rng.integers(2, 6)]
        ]
        if rng.random() < 0.5:
            words += ["plot", "cast"]
        lines += [*(f"{word}\t{TAGS.get(word, 'O')}" for word in words), ""]
    path = tmp_path_factory.mktemp("tagged") / "mine.conll"
    path.write_text("\n".join(lines))
    return path


def test_entities_on_the_chip(cli, local, tagged, tmp_path):
    out = cli(
        *local.words("--task", str(tagged)), "--shots", "60", "--test-examples", "40", "--jobs", "1",
        "--device", "reram", "--seeds", "1", "--method", "frozen", "probe", "prompt-tuning",
        "--set", "probe.recipe.epochs=80", "--set", "prompt-tuning.recipe.epochs=3",
        "--fidelity", "ideal", "--out", str(tmp_path / "report"),
    )  # fmt: skip
    assert out.code == 0, out.err
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    validate(report)
    assert report["task"]["metric"] == "entity-F1"
    assert report["task"]["labels"] == ["O", "B-mood", "I-mood", "B-thing", "I-thing"]
    assert any("accuracy stands for entity-F1" in message for message in report["messages"])
    assert "60 shots: entity-F1" in out.out
    by_name = {record["method"]: record for record in report["results"]}
    assert by_name["probe"]["accuracy_exact"] > 0.8
    assert by_name["frozen"]["accuracy_exact"] > 0.9, "class means tell words apart"
    for name in ("probe", "prompt-tuning"):
        assert by_name[name]["accuracy_chip"] == pytest.approx(by_name[name]["accuracy_exact"], abs=0.03), name
    # State, AdamW's two moments, a gradient, and the features of every word that is learnt from.
    pooled = with_pool(load_task(tagged, 40), (60,))
    words = sum(len(e.words) for e in pooled.few_shot(60, 0).train)
    assert by_name["probe"]["training_memory_bytes"] == 4 * (4 * (5 * 16 + 5) + 16 * words)
    assert by_name["probe"]["right_chip"] is None and report["pool_fit"] is None
    assert {c["error_of"] for c in report["comparisons"]} == {"runs"}
    # The head works on every token.
    task = load_task(tagged, 40)
    tokens = np.mean([len(e.words) for e in task.test])
    macs = by_name["probe"]["inference_event_counts"]["digital_macs"]
    squares = np.mean([len(e.words) ** 2 for e in task.test])
    assert macs == pytest.approx(tokens * 16 * 5 + 2 * 2 * 16 * squares, rel=1e-6)


def test_a_bundle_of_entities_is_refused(cli, local, tagged, tmp_path):
    refused = cli(
        "export", "--model", str(local.model), "--method", "lora", "--task", str(tagged), "--out", str(tmp_path / "b")
    )
    refused.assert_refused(2, "a bundle classifies one text, or one image, at a time so far", "words with tags")
