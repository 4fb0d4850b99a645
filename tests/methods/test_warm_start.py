"""A state kept in a file and started from, for every method; and PASTA on top of LoRAFusion."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.methods import METHODS, get_method, warm_start
from edge_adapt.methods.training.trainer import train
from edge_adapt.workloads.named_shapes import load_shape
from safetensors.torch import load_file, save_file

TEXT = {name: method for name, method in METHODS.items() if "text" in method.kinds}
EVERY = [pytest.param(name, place, id=f"{name}-{place}") for name, m in TEXT.items() for place in m.placements]


@pytest.mark.parametrize(("name", "placement"), EVERY)
def test_every_method_starts_where_another_run_ended(backbone, make_pool, examples, tmp_path, name, placement):
    def attach(seed, classes=3, **options):
        rng = np.random.default_rng(seed)
        return get_method(name, **options).attach(backbone, classes, rng, placement=placement, pool=make_pool())

    file = tmp_path / "state.safetensors"
    trained = attach(0)
    train(trained, examples.encoded, examples.labels, np.random.default_rng(1))
    warm_start.save(trained, file)
    started = attach(99, classes=5, warm_start=str(file))
    ids, mask, _ = examples.tensors()
    assert torch.equal(started.module.features(ids, mask), trained.module.features(ids, mask))
    assert not any(value.any() for key, value in started.state.items() if key.startswith("head."))
    train(started, examples.encoded, examples.labels, np.random.default_rng(1))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.fixture
def file(backbone, tmp_path):
    adaptation = get_method("pasta", initial_spread=1.0).attach(backbone, 3, np.random.default_rng(0))
    warm_start.save(adaptation, tmp_path / "pasta.safetensors")
    return tmp_path / "pasta.safetensors"


def start(backbone, file, name="pasta", **options):
    return get_method(name, warm_start=str(file), **options).attach(backbone, 3, np.random.default_rng(0))


def test_a_head_in_the_file_is_passed_over(backbone, file):
    state = load_file(file) | {"head.weight": torch.ones(7, 2), "head.bias": torch.ones(7)}
    save_file(state, file)
    assert not start(backbone, file).module.head.weight.any()


def test_wrong_files(backbone, file, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        start(backbone, tmp_path / "absent")
    with pytest.raises(UsageError, match=r"written by pasta\): .* does not belong to this bitfit adaptation"):
        start(backbone, file, "bitfit")
    with pytest.raises(UsageError, match=r"has shape \(2, 16\), this pasta adaptation needs \(3, 16\)"):
        start(backbone, file, special_tokens=3)
    state = load_file(file)
    state["encoder.layer.0.vectors"][0, 0] = float("nan")
    save_file(state, file)
    with pytest.raises(EdgeAdaptError, match="not finite"):
        start(backbone, file)
    file.write_bytes(b"not a tensor")
    with pytest.raises(EdgeAdaptError, match="cannot be read"):
        start(backbone, file)
    with pytest.raises(EdgeAdaptError, match="cannot write"):
        warm_start.save(get_method("pasta").attach(backbone, 3, np.random.default_rng(0)), file / "folder")
    warm_start.save(get_method("pasta").attach(backbone, 3, np.random.default_rng(0)), tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_file()


def test_pasta_on_lorafusion_is_both(backbone, make_pool, examples):
    """Without its vectors it is LoRAFusion; with a pool that does nothing, it is PASTA."""
    ids, mask, _ = examples.tensors()
    pool = make_pool()
    both = get_method("pasta+lorafusion").attach(backbone, 3, np.random.default_rng(0), pool=pool)
    fusion = get_method("lorafusion").attach(backbone, 3, np.random.default_rng(0), pool=pool)
    torch.testing.assert_close(both.module.features(ids, mask), fusion.module.features(ids, mask), rtol=0, atol=1e-11)
    pasta = get_method("pasta", initial_spread=0.5).attach(backbone, 3, np.random.default_rng(0))
    vectors = warm_start.own_state(pasta)
    with torch.no_grad():
        both.state["coefficients"].zero_()
        for name, value in vectors.items():
            both.state[name].copy_(value)
    torch.testing.assert_close(both.module.features(ids, mask), pasta.module.features(ids, mask), rtol=0, atol=1e-12)
    assert list(both.groups) == ["coefficients", "magnitudes", "vectors", "head"]
    assert list(both.state)[-2:] == ["head.weight", "head.bias"]


def test_counts_of_pasta_on_lorafusion():
    count = get_method("pasta+lorafusion", special_tokens=3).count(load_shape("minilm"))
    assert count.trained == {"coefficients": 36, "magnitudes": 4_608, "vectors": 3 * 6 * 384}
    with pytest.raises(UsageError, match="special_tokens"):
        get_method("pasta+lorafusion", special_tokens=-1)
