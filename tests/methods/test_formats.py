"""Number formats: what a model computes is what rounding by hand gives; state and reads of cells keep their bits."""

import dataclasses

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method
from edge_adapt.methods.formats import DEFAULT, FORMATS
from edge_adapt.methods.plan import Size
from edge_adapt.methods.spec import require_in_bundles
from edge_adapt.simulator import CostTable, EventCounts, program
from edge_adapt.studies.count import Passes
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.digital import training_events, training_sets
from edge_adapt.studies.method_settings import MethodSettings, require_numbers
from edge_adapt.workloads.named_shapes import load_shape


def test_every_method_has_the_option_and_fp32_unless_told():
    given = MethodSettings({"recipe.numbers": "bf16", "lora.recipe.numbers": "fp16"})
    for name in METHODS:
        assert get_method(name).recipe.numbers == DEFAULT == "fp32"
        assert given.method(name).recipe.numbers == ("fp16" if name == "lora" else "bf16")
        assert "numbers" not in get_method(name).recipe.recorded()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="unknown format of numbers 'fp61'; did you mean 'fp16'"):
        MethodSettings({"recipe.numbers": "fp61"}).method("lora")
    coarse = MethodSettings({"recipe.numbers": "int8"})
    shape = load_shape("minilm")
    with pytest.raises(UsageError, match="lora trains, and numbers of int8 are too coarse for that"):
        coarse.method("lora").plan(shape, Size())
    frozen = coarse.method("frozen")
    assert frozen.plan(shape, Size()).format.bytes == 1
    with pytest.raises(UsageError, match="what int8 does to the answers of frozen is not simulated"):
        require_numbers([("frozen", frozen.recipe)], load_chip("reram"), simulated=True)
    with pytest.raises(UsageError, match="lora computes in bf16, and what a multiply-add in it takes is unknown"):
        require_numbers([("lora", MethodSettings({"recipe.numbers": "bf16"}).method("lora").recipe)],
                        load_chip("neurram"), simulated=True)  # fmt: skip
    with pytest.raises(UsageError, match="a bundle computes in fp32, and lora is to compute in bf16"):
        require_in_bundles(MethodSettings({"recipe.numbers": "bf16"}).method("lora"))


def test_a_format_costs_what_the_file_says():
    chip = load_chip("reram")
    table = CostTable.of(chip)
    each = {form.name: table.cost(EventCounts(**{form.macs: 1e12})) for form in FORMATS.values()}
    assert {name: cost.joules["digital"] for name, cost in each.items()} == pytest.approx(
        {"fp32": 2.944, "fp16": 0.96, "bf16": 0.614, "int8": 0.192}
    )
    assert len({cost.seconds["digital"] for cost in each.values()}) == 1, "a unit of any format is as fast"


def test_narrower_numbers_never_take_more():
    from edge_adapt.studies.count import count

    found = [
        count(CountConfig(method=("lora:DIGITAL",), settings=(("recipe.numbers", name),)))["results"][0]
        for name in ("fp32", "fp16", "bf16")
    ]
    for total in ("adaptation_energy_joules", "inference_energy_joules"):
        energies = [record[total] for record in found]
        assert energies == sorted(energies, reverse=True) and energies[0] > energies[2]


def test_the_bytes_of_bf16_by_hand():
    """Half of what is moved in fp32, but for activations, which have 16 bits anyway, and the optimiser's fp32."""
    shape, steps, size = load_shape("minilm"), 5, Passes.of(80, 64, 5)
    plans = [
        MethodSettings({"recipe.numbers": n}).method("lora").plan(shape, Size(), "DIGITAL") for n in ("fp32", "bf16")
    ]
    single, half = (training_events(plan, plan.head, Passes(), size, steps, 0) for plan in plans)
    assert half.kept_bytes == single.kept_bytes and half.flow_bytes == single.flow_bytes
    optimiser, flowing = 2 * plans[0].state_bytes * steps, single.kept_bytes + single.flow_bytes
    held, copies = single.sram_bytes - flowing - optimiser, 2 * plans[0].moving_numbers * steps
    assert held > 0 and half.sram_bytes == flowing + held / 2 + optimiser + copies
    assert half.bf16_macs + half.digital_macs == single.digital_macs and single.bf16_macs == 0
    assert half.digital_macs == plans[0].optimiser_macs * steps
    sets = [training_sets(plan.state_bytes, plan.moving_numbers, 0, 0, True, True, 0, plan) for plan in plans]
    # A copy of the state comes on top, and a gradient has half its bytes.
    assert sets[1].weights - sets[0].weights == 2 * (plans[0].state_numbers - plans[0].moving_numbers)
    assert sets[1].moments == sets[0].moments == 8 * plans[0].moving_numbers


@pytest.mark.parametrize("numbers", ["bf16", "fp16"])
def test_products_are_rounded_as_by_hand(numbers):
    torch = pytest.importorskip("torch")
    from edge_adapt.methods.rounding import DTYPES, compute_in
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)

        def features(self, x):
            return (x @ x.transpose(-1, -2)).mean(-1)

        def features_of(self, x):
            return x

        def features_to_store(self, x):
            return self.features(x), (x,)

        def forward(self, x):
            return self.head(self.features(x))

    torch.manual_seed(0)
    plain, model = Model(), Model()
    model.load_state_dict(plain.state_dict())
    assert compute_in(plain, "fp32") is None and plain.forward.__func__ is Model.forward
    dtype = compute_in(model, numbers)
    assert dtype is DTYPES[numbers]
    x = torch.randn(5, 8, 4)
    rounded = lambda t: t.to(dtype).float()
    features = rounded(rounded(x) @ rounded(x).transpose(-1, -2)).mean(-1)
    unit = torch.finfo(dtype).eps
    assert torch.allclose(model.features(x), features, rtol=2 * unit, atol=2 * unit)
    found, logits = model(x), rounded(features) @ rounded(model.head.weight).T + model.head.bias
    assert found.dtype is torch.float32 and torch.allclose(found, logits, rtol=6 * unit, atol=6 * unit)
    assert not torch.equal(found, plain(x)) and model.head.weight.dtype is torch.float32
    found.sum().backward()
    assert model.head.weight.grad.dtype is torch.float32


def test_a_read_of_cells_keeps_its_bits():
    torch = pytest.importorskip("torch")
    from edge_adapt.simulator.autograd import ChipReader

    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 40)).astype(np.float32)
    x = torch.from_numpy(rng.standard_normal((7, 40)).astype(np.float32))
    found = []
    for inside in (False, True):
        reader = ChipReader(program(load_chip("reram"), {"m": weight}, np.random.default_rng(1)))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=inside):
            found.append(reader("m", x, torch.from_numpy(weight)))
    assert torch.equal(*found)


def test_the_gradient_of_trained_cells_is_a_digital_product():
    torch = pytest.importorskip("torch")
    from edge_adapt.simulator.autograd import ChipReader

    reader = ChipReader(program(load_chip("reram"), {"m": np.eye(4, dtype=np.float32)}, np.random.default_rng(1)))
    third = torch.tensor([1 / 3])
    assert torch.equal(reader.rounded(third), third)
    reader.dtype = torch.bfloat16
    assert reader.rounded(third).item() == 0.333984375  # 1.0101011b / 4


def test_a_recipe_with_a_format_is_another_recipe():
    recipe = get_method("lora").recipe
    assert dataclasses.replace(recipe, numbers="bf16").recorded()["numbers"] == "bf16"
