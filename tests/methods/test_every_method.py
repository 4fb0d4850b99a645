"""The battery that every registered method passes under every placement it offers, on texts and on images."""

import copy
import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.methods import METHODS, BackwardNeed, Method, Placement, get_method, register
from edge_adapt.methods.layers import CellLinear
from edge_adapt.methods.plan import Size
from edge_adapt.methods.training.optimisers.adamw import AdamW
from edge_adapt.methods.training.optimisers.interpolation import Interpolation
from edge_adapt.methods.training.optimisers.proximal import Proximal
from edge_adapt.methods.training.trainer import evaluate, extract_features, train
from edge_adapt.workloads.images import Images
from edge_adapt.workloads.shapes import BlockShape, LinearShape, ModelShape, NormShape
from torch.nn.utils import prune

EVERY = [
    pytest.param(name, place, kind, id=f"{name}-{place}-{kind}")
    for name, m in METHODS.items()
    for place in m.placements
    for kind in m.kinds
]
COSTS = {  # of the optimisers of the methods' own recipes: numbers kept of n, multiplications of a step
    AdamW: lambda n: (2 * n, 8 * n),
    Proximal: lambda n: (2 * n, 8 * n),
    Interpolation: lambda n: ((n + 1) ** 2, n**3 + 4 * n**2),
}
NORM = re.compile(r"(layer_?norm|norm1|norm2)\.weight$", re.IGNORECASE)
every_method = pytest.mark.parametrize(("name", "placement", "kind"), EVERY)


@pytest.fixture
def kind():
    """What the model reads, where a test says nothing about it."""
    return "text"


@pytest.fixture
def base(kind, backbone, image_backbone):
    return {"text": backbone, "image": image_backbone}[kind]


@pytest.fixture
def data(kind, examples, pictures):
    return {"text": examples, "image": pictures}[kind]


@pytest.fixture
def pool_of(kind, make_pool, make_image_pool):
    return {"text": make_pool, "image": make_image_pool}[kind]


@pytest.fixture
def attach(base, pool_of):
    def make(name: str, placement: Placement, seed: int = 0, **options: int):
        rng = np.random.default_rng(seed)
        return get_method(name, **options).attach(base, 3, rng, placement=placement, pool=pool_of())

    return make


def snapshot(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


@every_method
def test_training_changes_the_declared_state_and_nothing_else(attach, base, data, name, placement, kind):
    adaptation = attach(name, placement)
    parameters = dict(adaptation.module.named_parameters())
    named = {id(parameter): key for key, parameter in parameters.items()}
    declared = {named[id(parameter)] for parameter in adaptation.state.values()}
    before, backbone_before = snapshot(adaptation.module), snapshot(base.module)
    log = train(adaptation, data.encoded, data.labels, np.random.default_rng(1))
    changed = {key for key, value in parameters.items() if not torch.equal(value, before[key])}
    assert changed <= declared
    if adaptation.backward_need is BackwardNeed.NONE:
        assert changed == {"head.weight", "head.bias"}
    else:
        # The bias of a key projection moves all scores of a query alike: softmax does not see it.
        assert {key for key in declared - changed if not key.endswith(("key.bias", "k_proj.bias"))} == set()
    assert (log.steps > 0) == bool(adaptation.trained_names)
    for key, value in base.module.named_parameters():
        assert torch.equal(value, backbone_before[key]), f"{name} changed the backbone it was given: {key}"


@every_method
def test_only_trained_state_asks_for_gradients(attach, name, placement, kind):
    adaptation = attach(name, placement)
    wanted = {id(adaptation.state[key]) for key in adaptation.trained_names}
    assert {id(parameter) for parameter in adaptation.module.parameters() if parameter.requires_grad} == wanted


@every_method
def test_every_tensor_has_a_placement_that_fits(attach, base, name, placement, kind):
    adaptation = attach(name, placement)
    assert adaptation.placements.keys() == adaptation.state.keys() | adaptation.cell_tensors.keys()
    assert set(base.linear_names()) <= adaptation.cell_tensors.keys()
    for key in adaptation.cell_tensors:
        assert adaptation.placements[key] is not Placement.DIGITAL
        written = key in adaptation.state or key in adaptation.holds
        expected = placement if written else Placement.NVM_FROZEN
        assert adaptation.placements[key] is expected
    for key in adaptation.state.keys() - adaptation.cell_tensors.keys():
        assert adaptation.placements[key] is Placement.DIGITAL
    linears = [module for module in adaptation.module.encoder.modules() if isinstance(module, torch.nn.Linear)]
    assert not linears, "a matrix is read past the reader"


@every_method
def test_initial_state_is_the_base_model(attach, base, data, name, placement, kind):
    """With coefficients at zero (the only state that does not start there), or without prompts, every method is the
    frozen encoder, pruned as its plan says; but for a network beside it, which starts at random.
    """
    adaptation = attach(name, placement, **({"prompts": 0} if "prompts" in METHODS[name].__dataclass_fields__ else {}))
    if adaptation.plan.side is not None or adaptation.plan.late_tokens:
        pytest.skip("a side network, or a prompt that an example makes itself, is not the model from the start")
    if "coefficients" in adaptation.state:
        with torch.no_grad():
            adaptation.state["coefficients"].zero_()
    ids, mask, _ = data.tensors()
    module = copy.deepcopy(base.module)
    for linear, kept in adaptation.plan.kept_weights.items():
        pruned = module.get_submodule(linear)
        prune.l1_unstructured(pruned, "weight", amount=pruned.weight.numel() - kept)
    if kind == "text":
        hidden = module(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    else:
        expected = module(pixel_values=ids).last_hidden_state[:, 0]
    torch.testing.assert_close(adaptation.module.features(ids, mask), expected, rtol=0, atol=1e-12)


@every_method
def test_state_round_trip(attach, data, name, placement, kind):
    trained = attach(name, placement)
    train(trained, data.encoded, data.labels, np.random.default_rng(1))
    fresh = attach(name, placement, seed=99)
    fresh.load_state_dict(trained.state_dict())
    ids, mask, _ = data.tensors()
    torch.testing.assert_close(fresh.module(ids, mask), trained.module(ids, mask), rtol=0, atol=0)
    state = trained.state_dict()
    with pytest.raises(UsageError, match="differs"):
        fresh.load_state_dict({key: value for key, value in state.items() if key != list(state)[-1]})
    with pytest.raises(UsageError, match="shape"):
        fresh.load_state_dict(state | {list(state)[-1]: torch.zeros(9)})


@every_method
def test_same_seed_same_result(attach, data, name, placement, kind):
    states = []
    for _ in range(2):
        adaptation = attach(name, placement)
        train(adaptation, data.encoded, data.labels, np.random.default_rng(1))
        states.append(adaptation.state_dict())
    for key in states[0]:
        assert torch.equal(states[0][key], states[1][key]), key


@every_method
def test_every_cell_matrix_is_read_through_the_reader(attach, data, name, placement, kind):
    """Reading zeros instead must be seen for each matrix, and reading exactly must change nothing."""
    adaptation = attach(name, placement)
    train(adaptation, data.encoded, data.labels, np.random.default_rng(1))
    ids, mask, _ = data.tensors()
    exact = adaptation.module(ids, mask)
    for target, tensor in adaptation.cell_tensors.items():
        seen = []

        def read(key, x, weight, target=target, tensor=tensor, seen=seen):
            if key == target:  # the tensor itself, or what follows from the state
                held = target in adaptation.holds and torch.equal(weight, adaptation.held(target))
                seen.append(held or weight.data_ptr() == tensor.data_ptr())
            return F.linear(x, torch.zeros_like(weight) if key == target else weight)

        adaptation.use(read)
        assert not torch.equal(adaptation.module(ids, mask), exact), target
        assert set(seen) == {True}, target
    adaptation.use(F_linear)
    torch.testing.assert_close(adaptation.module(ids, mask), exact, rtol=1e-11, atol=1e-11)  # another order of sums


def F_linear(_name: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.linear(x, weight)


def shape_of(base) -> ModelShape:
    roles = {"query": "query", "key": "key", "value": "value", "q_proj": "query", "k_proj": "key", "v_proj": "value"}
    patches = sum(m.weight.numel() for m in base.module.modules() if isinstance(m, torch.nn.Conv2d))
    blocks = []
    for block in range(base.blocks):
        prefix = f"encoder.layer.{block}"
        linears = []
        for name in base.linear_names():
            if name.startswith(prefix):
                linear = base.module.get_submodule(name)
                role = "ffn_down" if linear.in_features > linear.out_features else "ffn_up"
                role = roles.get(name.rsplit(".", 1)[-1], role)
                role = "attention_output" if name.endswith(("attention.output.dense", "o_proj")) else role
                linears.append(LinearShape(name, role, linear.out_features, linear.in_features, True))
        blocks.append(BlockShape(prefix, tuple(linears)))
    norms = [name.removesuffix(".weight") for name, _ in base.module.named_parameters() if NORM.search(name)]
    named = tuple(NormShape(name, base.hidden_size, True) for name in norms)
    return ModelShape("tiny", "tiny", "test", base.hidden_size, tuple(blocks), patch_weights=patches, named_norms=named)


@every_method
def test_what_is_built_is_what_is_planned(base, pool_of, name, placement, kind):
    """Tensor by tensor, from a shape that knows no weights: name, shape, placement, and the group that trains it."""
    method = get_method(name)
    adaptation = method.attach(base, 3, np.random.default_rng(0), placement=placement, pool=pool_of((3, 3)))
    tensors = {**adaptation.state, **adaptation.cell_tensors}
    group_of = {key: group for group, names in adaptation.groups.items() for key in names}
    built = {
        key: (tuple(tensor.shape), adaptation.placements[key], group_of.get(key, "")) for key, tensor in tensors.items()
    }
    plan = method.plan(shape_of(base), Size(classes=3, rank=3, modules=2), placement)
    assert built == {key: (t.shape, t.placement, t.group) for key, t in plan.tensors.items()}
    assert {key for key, t in plan.tensors.items() if t.in_state} == adaptation.state.keys()
    work = (adaptation.inference_work, adaptation.training_work, adaptation.backward_work)
    assert (plan.inference_work, plan.training_work, plan.backward_work) == work
    assert (plan.state_bytes, plan.optimiser_macs) == (adaptation.state_bytes, adaptation.optimiser_macs)


def test_what_is_not_built_as_planned_is_refused(backbone):
    class Forgetful(type(METHODS["bitfit"])):
        def build(self, site):
            built = super().build(site)
            return dataclasses.replace(built, state=dict(list(built.state.items())[1:]))

    with pytest.raises(EdgeAdaptError, match=r"bitfit is not built as planned: state 'embeddings.LayerNorm.bias'"):
        Forgetful(recipe=METHODS["bitfit"].recipe).attach(backbone, 3, np.random.default_rng(0))


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_serves_two_placements_is_the_same(base, image_backbone, name):
    """`shares_training`: matrices that wait for their write are read, and multiplied, as those held digitally are."""
    method = METHODS[name]
    if not {Placement.DIGITAL, Placement.NVM_TASK} <= set(method.placements):
        assert method.shares_training
        return
    shape = (base if "text" in method.kinds else image_backbone).shape
    digital, task = (method.plan(shape, placement=place) for place in (Placement.DIGITAL, Placement.NVM_TASK))
    trained = [
        (p.read_in_training, p.transposed, p.training_work, p.backward_work, p.trained_by_group)
        for p in (digital, task)
    ]
    assert method.shares_training == (trained[0] == trained[1])


def test_plans_need_no_torch():
    code = (
        "import sys; from edge_adapt.methods import METHODS; from edge_adapt.workloads.named_shapes import load_shape; "
        "[METHODS[n].plan(load_shape('vit-s' if 'image' in METHODS[n].kinds else 'minilm')) for n in METHODS]; "
        "print([m for m in ('torch', 'transformers', 'numba', 'rich') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@every_method
def test_count_from_shapes_equals_the_attached_state(base, pool_of, name, placement, kind):
    options = {"rank": 3} if "rank" in METHODS[name].__dataclass_fields__ else {}
    pool = pool_of((3, 3))
    adaptation = get_method(name, **options).attach(base, 3, np.random.default_rng(0), placement=placement, pool=pool)
    count = METHODS[name].count(shape_of(base), rank=3, pool_size=2)
    assert count.trained_parameters == adaptation.trained_parameters
    assert adaptation.head_parameters == adaptation.plan.head_numbers
    if adaptation.plan.head_kind == "linear":
        assert adaptation.head_parameters == 3 * adaptation.plan.head[1] + 3
    beside = {key: t for key, t in adaptation.cell_tensors.items() if key not in base.linear_names()}
    frozen = sum(t.numel() for key, t in beside.items() if key not in adaptation.state)
    assert count.cells_frozen == frozen
    written = adaptation.state.keys() | adaptation.holds.keys()
    rewritten = sum(adaptation.plan.tensors[key].rewritable for key in adaptation.cell_tensors if key in written)
    assert rewritten == (0 if placement is Placement.DIGITAL else count.cells_trained)


@every_method
def test_groups_cover_the_trained_state_once(attach, name, placement, kind):
    adaptation = attach(name, placement)
    groups = adaptation.parameter_groups()
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(parameters) == len(set(parameters))
    assert set(parameters) == {id(adaptation.state[key]) for key in adaptation.trained_names}
    moving = sum(adaptation.state[key].numel() for key in adaptation.moving_names)
    total = sum(parameter.numel() for parameter in adaptation.state.values())
    recipe = adaptation.recipe
    kept, macs = COSTS[type(recipe.optimiser)](moving)
    assert adaptation.state_bytes == 4 * (total + kept + moving * sum(hook.kept_numbers for hook in recipe.hooks))
    assert adaptation.optimiser_macs == macs + moving * sum(hook.step_macs for hook in recipe.hooks)


@every_method
def test_digital_work_grows_with_the_batch(attach, name, placement, kind):
    adaptation = attach(name, placement)
    one, two = adaptation.digital_macs(10, 60, 2), adaptation.digital_macs(20, 120, 4)
    inference = adaptation.digital_macs(10, 60, 2, training=False)
    attention_and_head = 2 * 2 * 16 * 60 + 2 * 16 * 3
    assert attention_and_head <= inference.forward <= one.forward < two.forward <= 2 * one.forward
    assert inference.backward == 0
    if adaptation.backward_need in (BackwardNeed.THROUGH, BackwardNeed.FULL):
        # Of two blocks one at least is passed: a gradient may end behind the first attention. How far that of a method
        # goes, product by product, is in test_gradient_reach.py.
        assert one.backward >= 2 * (2 * 16 * 60 + 2 * 16 * 3)


@every_method
def test_training_beats_guessing_on_separable_examples(attach, name, placement, kind):
    """Each class has its own token, or colour: any method must learn that, given the steps (default recipes suit real
    data).
    """
    rng = np.random.default_rng(0)
    labels = [i % 3 for i in range(36)]
    encoded = [[38, *[1 + 13 * label] * int(rng.integers(3, 7)), 39] for label in labels]
    if kind == "image":
        shades = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
        encoded = Images(np.broadcast_to(shades[labels][:, None, None], (36, 8, 8, 3)), 8, 5)
    # An eighth of 16 numbers is next to nothing.
    options = {"reduction": 2} if "reduction" in METHODS[name].__dataclass_fields__ else {}
    right = 0.0
    for epochs in (10, 100):  # most need few
        adaptation = attach(name, placement, **options)
        recipe = dataclasses.replace(adaptation.recipe, epochs=epochs)
        train(adaptation, encoded, labels, np.random.default_rng(1), recipe=recipe)
        right = evaluate(adaptation, encoded, labels)
        if right > 0.9:
            break
    assert right > 0.9


def test_features_come_in_one_pass_with_their_labels(attach, examples):
    adaptation = attach("frozen", Placement.DIGITAL)
    features, labels = extract_features(adaptation, examples.encoded, examples.labels)
    order = np.argsort([len(tokens) for tokens in examples.encoded], kind="stable")
    assert labels.tolist() == [examples.labels[i] for i in order]
    ids = torch.tensor([examples.encoded[order[0]]])
    torch.testing.assert_close(features[0], adaptation.module.features(ids, torch.ones_like(ids))[0])


def test_wrong_names_are_refused(backbone):
    with pytest.raises(UsageError, match="did you mean 'lorafusion'"):
        get_method("lorafusoin")
    with pytest.raises(UsageError, match="did you mean 'cross_terms'"):
        get_method("lorafusion", cross_term=False)
    with pytest.raises(UsageError, match="placement for probe"):
        get_method("probe").attach(backbone, 3, np.random.default_rng(0), placement=Placement.NVM_STEP)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="already registered"):
        register(METHODS["probe"])


def test_registered_methods_are_described():
    assert {"lorafusion", "lora", "full", "probe", "frozen"} <= METHODS.keys()
    for name, method in METHODS.items():
        assert isinstance(method, Method)
        assert method.name == name
        assert method.summary
        assert method.source
        assert method.placements


def test_shared_memory_with_the_backbone(backbone):
    """A second adaptation of the same backbone costs no second backbone."""
    adaptation = get_method("lora").attach(backbone, 3, np.random.default_rng(0))
    for module in adaptation.module.modules():
        if isinstance(module, CellLinear):
            original = backbone.module.get_submodule(module.cell_name).weight
            assert module.weight.data_ptr() == original.data_ptr()
