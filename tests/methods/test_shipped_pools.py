"""The pools that come with the package: what was promised of them."""

import shlex

import numpy as np
import pytest
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.models import MODELS, load_backbone
from edge_adapt.workloads.pools import default_pool, load_pool

SHIPPED = ("minilm", "bert-tiny")
UNSEEN = "movie"


@pytest.mark.parametrize("model", SHIPPED)
def test_metadata_says_how_to_make_it_again(model):
    pool = load_pool(default_pool(model))
    config = pool.metadata["config"]
    words = shlex.split(str(pool.metadata["command"]))
    assert words[:3] == ["edge-adapt", "pool", "train"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options["--model"] == model == config["model"]
    assert options["--seed"] == str(config["seed"])
    assert options["--tasks"].split(",") == config["tasks"] == [entry["name"] for entry in pool.metadata["modules"]]
    assert sorted(config["tasks"]) == [module.name for module in pool.modules]
    for module in pool.modules:
        assert module.rank == config["rank"]
        assert module.base_fingerprint == pool.metadata["base_fingerprint"]
        assert all(np.isfinite(module.delta(name)).all() and module.delta(name).any() for name in pool.target_names)
    for entry in pool.metadata["modules"]:
        assert entry["held_out_accuracy"] > 0.7


def test_minilm_pool_is_diverse_small_and_never_saw_the_unseen_task():
    folder = default_pool("minilm")
    pool = load_pool(folder)
    assert len(pool.modules) >= 6
    assert {module.rank for module in pool.modules} == {16}
    seen = {part for module in pool.modules for part in str(module.task).split("+")}
    assert UNSEEN not in seen
    assert {"tweets", "amazon", "nyt"} <= seen
    assert len(seen - {"tweets", "amazon", "nyt"}) >= 2
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 4e6
    assert len(pool.target_names) == 12


@pytest.mark.download
@pytest.mark.parametrize("model", SHIPPED)
def test_pool_belongs_to_the_model(model):
    if not is_cached(MODELS[model].package):
        pytest.skip(f"{MODELS[model].package} is not in the cache")
    backbone = load_backbone(model)
    pool = load_pool(default_pool(model), backbone)
    assert pool.metadata["base_fingerprint"] == backbone.fingerprint
    assert pool.target_names == tuple(n for n in backbone.linear_names() if n.endswith(("query", "value")))
