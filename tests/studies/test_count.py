"""`count`: the same events as a simulated run of the same shapes, exactly; estimates near what cells really do."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from edge_adapt import cli, load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import METHODS, get_method, methods_for
from edge_adapt.methods.placement import Placement
from edge_adapt.methods.plan import Plan, Size
from edge_adapt.methods.recipes import with_optimiser
from edge_adapt.reports.explain import explain
from edge_adapt.reports.records import typed
from edge_adapt.studies.count import (
    Counter,
    adaptation_events,
    choose,
    count,
    result,
    stepped_matrix,
    working_sets,
)
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.digital import training_events
from edge_adapt.studies.overlaps import Overlaps
from edge_adapt.studies.passes import Passes, adaptation_sizes
from edge_adapt.studies.samples import mean_load, program_sample, typical_codes
from edge_adapt.workloads.family_shapes import module_shape
from edge_adapt.workloads.named_shapes import load_shape
from edge_adapt.workloads.shapes import BlockShape, LinearShape, ModelShape

WIDTH, INNER, LENGTH, EXAMPLES, CLASSES, RANK = 32, 48, 9, 11, 3, 4
SIDE, PATCH = 8, 2
ROLES = {
    "query": "query", "key": "key", "value": "value", "attention.output.dense": "attention_output",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "q_proj": "query", "k_proj": "key", "v_proj": "value",
    "o_proj": "attention_output", "fc1": "ffn_up", "fc2": "ffn_down",
}  # fmt: skip
EXACT = (
    "reads", "transposed_reads", "word_line_drives", "bit_line_drives", "read_conversions", "sample_holds",
    "shift_adds", "buffer_bytes", "router_bytes", "digital_macs", "digital_adds", "sram_bytes", "array_cycles",
    "transposed_cycles", "busy_cycles", "busy_transposed_cycles", "flow_bytes", "kept_bytes", "feature_bytes",
    "moment_bytes", "bf16_macs", "fp16_macs",
)  # fmt: skip
HIDDEN = ("hidden_cycles", "hidden_transposed_cycles", "hidden_macs")
SMALL = {"array.rows": "20", "array.columns": "24", "array.slices": "2", "array.rotation": "hadamard"}
VARIANTS = [
    (name, place, kind) for name, method in METHODS.items() for kind in method.kinds for place in method.placements
]


@pytest.fixture(scope="module")
def tinies():
    """Random encoders of two blocks, of texts and of images: what `ChipTrial` needs around them, and their shapes."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        text = transformers.BertModel(
            transformers.BertConfig(vocab_size=50, intermediate_size=INNER, max_position_embeddings=32, **sizes),
            add_pooling_layer=False,
        ).eval()
        image = transformers.Dinov2Model(
            transformers.Dinov2Config(mlp_ratio=2, image_size=SIDE, patch_size=PATCH, **sizes)
        ).eval()
    return {"text": _tiny("text", text, (48, 49)), "image": _tiny("image", image, ())}


def _tiny(kind, module, special_ids):
    from torch import nn

    names = [n for n, m in module.named_modules() if isinstance(m, nn.Linear)]
    linears = [
        LinearShape(n, next(r for e, r in ROLES.items() if n.endswith(e)), *module.get_submodule(n).weight.shape, True)
        for n in names
    ]
    blocks = tuple(
        BlockShape(f"encoder.layer.{b}", tuple(x for x in linears if x.name.startswith(f"encoder.layer.{b}.")))
        for b in range(2)
    )
    patches = WIDTH * 3 * PATCH**2 if kind == "image" else 0
    shape = ModelShape("tiny", "tiny", "random", WIDTH, blocks, patch_weights=patches)
    backbone = SimpleNamespace(
        module=module, hidden_size=WIDTH, blocks=2, linear_names=lambda: names, special_ids=special_ids,
        special_tokens=len(special_ids) or 1, kind=kind, name="tiny", tagged=False, separator=None,
        shape=module_shape(module, "tiny"), pooling="mean" if kind == "text" else "cls",
    )  # fmt: skip
    return SimpleNamespace(backbone=backbone, shape=shape, pool=_pool(names), chip=load_chip("reram", SMALL))


@pytest.fixture
def tiny(tinies, kind):
    return tinies[kind]


@pytest.fixture
def kind():
    return "text"


def _pool(names):
    from edge_adapt.workloads.pools import LoraModule, Pool

    rng = np.random.default_rng(0)
    targets = tuple(n for n in names if n.endswith(("query", "value", "q_proj", "v_proj")))
    draw = lambda *size: {n: rng.normal(0, 0.1, size).astype(np.float32) for n in targets}
    modules = tuple(
        LoraModule(name=f"m{k}", rank=RANK, scale=2.0, a=draw(RANK, WIDTH), b=draw(WIDTH, RANK), task=f"t{k}")
        for k in range(3)
    )
    return Pool(modules, targets, "random", {})


def _examples(kind, rng):
    """Examples of one length: ids of texts, or images; and that length in tokens."""
    from edge_adapt.studies.workbench import Encoded
    from edge_adapt.workloads.images import Images

    labels = [i % CLASSES for i in range(EXAMPLES)]
    if kind == "text":
        return Encoded([[48, *rng.integers(0, 48, LENGTH - 2).tolist(), 49] for _ in labels], labels), LENGTH
    tokens = 1 + (SIDE // PATCH) ** 2
    pixels = rng.integers(0, 256, (EXAMPLES, SIDE, SIDE, 3), dtype=np.uint8)
    return Encoded(Images(pixels, SIDE, tokens), labels), tokens


@pytest.fixture(scope="module")
def counter(tinies):
    chip = tinies["text"].chip
    return Counter(chip, program_sample(chip))


def method_of(tiny, name, optimiser="", **changes):
    """A method of rank `RANK`, with the recipe for what the model reads, of two epochs at most."""
    method = get_method(name, **changes.pop("options", {}))
    method = dataclasses.replace(method, rank=RANK) if "rank" in method.__dataclass_fields__ else method
    method = method.image_form() if tiny.backbone.kind == "image" else method
    recipe = with_optimiser(method.recipe, optimiser, method.forward_only) if optimiser else method.recipe
    recipe = recipe.with_options(**{"epochs": min(2, recipe.epochs)} | changes)
    return dataclasses.replace(method, recipe=recipe)


def simulated(tiny, name, placement, optimiser="", **changes):
    """What one real adaptation cost, the events of one answer, the trial, and the length of its examples."""
    from edge_adapt.simulator import program
    from edge_adapt.studies.encoding import Encoded
    from edge_adapt.studies.trial import ChipTrial
    from edge_adapt.studies.variants import Variant

    method = method_of(tiny, name, optimiser, **changes)
    rng = np.random.default_rng(1)
    encoded, length = _examples(tiny.backbone.kind, rng)
    bench = SimpleNamespace(backbone=tiny.backbone, classes=CLASSES, pool=tiny.pool, chip=tiny.chip)
    attached = method.attach(tiny.backbone, CLASSES, rng, placement=placement, pool=tiny.pool)
    frozen = {n: t.detach().numpy() for n, t in attached.cell_tensors.items() if n in tiny.backbone.linear_names()
              or attached.placements[n] is Placement.NVM_FROZEN}  # fmt: skip
    base = program(tiny.chip, frozen, rng)
    trial = ChipTrial(bench, Variant(method, placement), base, 2, 0)
    trial.deploy(encoded)
    cost = trial.adapt(encoded, method.recipe)
    answered = Encoded(encoded.ids[:1], [0])
    _, answer = trial.inference(answered)
    return cost, answer, trial, length


def as_held(plan, trial):
    """The plan of what is in cells in the end: of pairs that gave up ranks, the kept ones (a plan counts all)."""
    kept = trial.adaptation.kept_ranks(gated=plan.placement is Placement.NVM_TASK)
    shapes = {name: list(tensor.shape) for name, tensor in plan.tensors.items()}
    for name, part in kept.items():
        if plan.tensors[name].in_cells:
            shapes[name][part.axis] = len(part.ranks)
    tensors = {
        name: dataclasses.replace(tensor, shape=tuple(shapes[name]))
        for name, tensor in plan.tensors.items() if 0 not in shapes[name]
    }  # fmt: skip
    return dataclasses.replace(plan, tensors=tensors, read=tuple(name for name in plan.read if name in tensors))


def compare(tiny, counter, name, placement, optimiser="", **changes):
    """Event by event: one adaptation and one answer, simulated and counted."""
    cost, answer, trial, length = simulated(tiny, name, placement, optimiser, **changes)
    plan = method_of(tiny, name, optimiser, **changes).plan(tiny.shape, Size(CLASSES, RANK, 3), placement)
    model, held = trial.model, as_held(plan, trial)
    config = CountConfig(examples=EXAMPLES, tokens=length, classes=CLASSES, rank=RANK, pool_size=3)
    counts, steps = adaptation_events(config, counter, plan)
    assert steps == cost.steps
    gated = placement is Placement.NVM_STEP and any(pair.gate for pair in plan.low_rank)
    expected = {n: getattr(counts, n) for n in EXACT}
    # Rows that are written are rotated before: of pairs that gave up ranks, fewer.
    expected["digital_adds"] = adaptation_events(config, counter, held)[0].digital_adds
    if gated:
        assert cost.counts.digital_adds <= expected["digital_adds"]
        expected["digital_adds"] = cost.counts.digital_adds
    assert expected == {n: getattr(cost.counts, n) for n in EXACT}
    sizes, overlaps = adaptation_sizes(config, plan), Overlaps(tiny.chip, tiny.shape, plan)
    hidden = overlaps.of_training(*sizes.passed, sizes.stored if plan.cached else None, plan.waiting, sizes.early)
    assert {n: getattr(hidden, n) for n in HIDDEN} == {n: getattr(cost.counts, n) for n in HIDDEN}
    for part, whole in zip(HIDDEN, ("array_cycles", "transposed_cycles", "macs"), strict=True):
        assert 0 <= getattr(hidden, part) < max(1, getattr(counts, whole))
    assert plan.low_rank or cost.sets == working_sets(config, plan, steps)
    record = result(config, counter, tiny.shape, held, deployed=0)
    happened = record.inference_event_counts
    assert {n: happened[n] for n in EXACT} == {n: getattr(answer, n) for n in EXACT}
    if held.read == plan.read:
        assert {n: happened[n] for n in HIDDEN} == {n: getattr(answer, n) for n in HIDDEN}
    matrices = held.matrices
    assert set(matrices) == set(model.names)
    layouts = [model.matrix(n).layout for n in model.names]
    assert counter.cells(matrices) == sum(layout.cells for layout in layouts)
    assert counter.arrays(matrices) == sum(layout.arrays for layout in layouts)
    # Every cell of a weight that may change is looked at in every write; pulses come on top. A chip looks at those
    # that do change: with the first values all, then some. Where a gate is 0 at a step, its rank is left alone.
    changed = steps * plan.recipe.optimiser.changes(plan.directions)
    cells = counter.cells({n: matrices[n] for n in held.rewritten}) if held.rewritten else 0
    looks = cells
    if placement is Placement.NVM_STEP:
        looks *= any(n in plan.extra for n in plan.rewritten)
        looks += changed * counter.cells({n: stepped_matrix(tiny.chip, held, n) for n in held.rewritten})
    if not any(tensor.changing for tensor in plan.tensors.values()):  # else a few cells of a matrix
        assert counts.verify_conversions >= looks
    pulses = cost.counts.set_pulses + cost.counts.reset_pulses
    assert pulses <= cost.counts.verify_conversions <= pulses + max(cells, looks)
    assert bool(counts.verify_conversions) == bool(cost.counts.verify_conversions) == bool(cells)


@pytest.mark.parametrize(("name", "placement", "kind"), VARIANTS, ids=[f"{n}:{p}-{k}" for n, p, k in VARIANTS])
def test_counts_are_those_of_a_simulated_run(tiny, counter, name, placement, kind):
    compare(tiny, counter, name, placement)


@pytest.mark.parametrize(
    ("name", "placement", "optimiser", "changes"),
    [
        ("lora", Placement.NVM_STEP, "sgd", {}),
        ("pasta", Placement.DIGITAL, "sgd", {"momentum": 0.0}),
        ("lorafusion", Placement.DIGITAL, "mezo", {}),  # what has a rate of 0 stays
        ("lora", Placement.NVM_STEP, "mezo", {"queries": 2, "rule": "conservative"}),
        ("lora", Placement.NVM_TASK, "mezo", {"estimate": "one-sided", "rule": "adam"}),
        ("full", Placement.NVM_STEP, "mezo", {"block_wise": True}),
        ("probe", Placement.DIGITAL, "mezo", {}),
        ("prompt-tuning", Placement.DIGITAL, "mezo", {"block_wise": True, "rule": "momentum"}),
        ("vera", Placement.DIGITAL, "mezo", {}),  # matrices that are shared, read again, read while others are trained
        ("loca", Placement.DIGITAL, "mezo", {}),
        ("hira", Placement.DIGITAL, "mezo", {}),
        ("dsee", Placement.NVM_TASK, "mezo", {}),
        ("spdf", Placement.NVM_STEP, "mezo", {"options": {"mode": "keep"}}),
        ("spdf", Placement.NVM_STEP, "", {"options": {"mode": "keep"}}),
        ("spdf", Placement.NVM_TASK, "", {"options": {"mode": "keep"}}),
        ("dsee", Placement.NVM_STEP, "", {"options": {"density": 0.5}}),
        ("dsee", Placement.NVM_TASK, "", {"options": {"density": 0.5}}),
        ("dsee", Placement.DIGITAL, "", {"options": {"density": 0.5}}),
        ("lst", Placement.NVM_STEP, "mezo", {}),  # on from stored states
        ("unipt", Placement.DIGITAL, "mezo", {}),
        ("lorafusion", Placement.DIGITAL, "interpolation", {}),
    ],
)
def test_every_optimiser_and_option_is_counted_as_it_is(tiny, counter, name, placement, optimiser, changes):
    compare(tiny, counter, name, placement, optimiser, **changes)


WAITING = {"hooks": "rank-allocation", "reduced_share": 0.1}  # of four pairs none gets fewer ranks: all are kept


@pytest.mark.parametrize("name", ["lora", "adalora"])
def test_what_waits_for_its_first_write_is_counted_as_it_is(tiny, counter, name):
    """A hook looks at the examples first: by then matrices that are trained in cells are in none."""
    compare(tiny, counter, name, Placement.NVM_STEP, **WAITING)


def test_what_waits_for_its_first_write_is_multiplied_digitally(tiny):
    """Without a step: A and B of four linears, for each token of the pass that starts the head."""
    plain, waiting = (
        simulated(tiny, "lora", Placement.NVM_STEP, epochs=0, **hooks)[0].counts for hooks in ({"hooks": ""}, WAITING)
    )
    assert plain.reads - waiting.reads == EXAMPLES * LENGTH * 8
    assert waiting.digital_macs - plain.digital_macs == EXAMPLES * LENGTH * 4 * RANK * 2 * WIDTH


@pytest.mark.parametrize("placement", list(Placement)[1:])
def test_hira_in_cells_keeps_the_frozen_weights_in_memory(tiny, placement):
    """What its cells hold is W * (1 + B A): W of four linears is needed beside it, to form the next one."""
    cost, _, trial, length = simulated(tiny, "hira", placement)
    numbers = 4 * RANK * 2 * WIDTH + CLASSES * (WIDTH + 1)  # A and B, and the head
    held = 0 if placement is Placement.DIGITAL else 4 * WIDTH**2
    kept = 2 * trial.adaptation.plan.kept_outputs * EXAMPLES * length
    assert cost.memory_bytes == 4 * (4 * numbers + held) + kept  # with two moments and a gradient


@pytest.mark.parametrize("name", ["lora:DIGITAL", "lora:NVM_STEP", "lorafusion:DIGITAL", "full:NVM_TASK"])
def test_formats_are_counted_as_simulated(tiny, counter, name):
    numbers = "fp16" if name == "lora:DIGITAL" else "bf16"
    compare(tiny, counter, name.partition(":")[0], Placement(name.partition(":")[2]), numbers=numbers)


@pytest.mark.parametrize("kind", ["image"])
def test_the_prompt_of_an_image_is_kept_as_its_patches_are(tiny):
    """What the six matrices of the last block put out for it: 2 bytes each, in memory, and there and back."""
    cost, _, trial, length = simulated(tiny, "idpt", Placement.DIGITAL)
    plan, outputs = trial.adaptation.plan, 5 * WIDTH + 2 * WIDTH
    numbers = WIDTH * (WIDTH + 3) + CLASSES * (WIDTH + 1)
    assert cost.memory_bytes == 4 * 4 * numbers + 2 * outputs * EXAMPLES * (length + 1)
    trained = Passes.of(EXAMPLES, length, EXAMPLES)
    with_prompt, without = (
        training_events(of, plan.head, Passes(), trained, 1, 0).sram_bytes
        for of in (plan, dataclasses.replace(plan, late_tokens=0))
    )
    assert with_prompt - without == 2 * 2 * outputs * EXAMPLES


def test_gradients_stop_at_the_embeddings():
    shape = load_shape("flan-t5-base")
    names = [linear.name for linear in shape.front({linear.name for linear in shape.linears}).entries]
    assert names == [f"{stack}.block.0.layer.0.SelfAttention.{m}" for stack in ("encoder", "decoder") for m in "qkv"]


# --- estimates
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reram", "pcm", "sram"])
def test_the_sample_predicts_another_matrix(name):
    """Pulses, energy and turns of programming a matrix of another shape, from cells that were never seen."""
    from edge_adapt.simulator import program
    from edge_adapt.simulator.counting import write_events

    chip, rng = load_chip(name), np.random.default_rng(7)
    sample = program_sample(chip)
    outputs = 3 * sample.programming.layout.outputs_per_array
    model = program(chip, {"w": rng.standard_normal((outputs, 300))}, rng)
    found = write_events(model.write_log)
    expected = sample.programming.events(model.matrix("w").layout)
    for field in ("verify_conversions", "set_pulses", "cells_written", "pulse_joules", "pulse_turns", "verify_turns"):
        assert getattr(expected, field) == pytest.approx(getattr(found, field), rel=0.06), field
    model.matvec("w", rng.standard_normal((200, 300)).astype(np.float32))
    joules = sample.read_joules_per_cell * model.matrix("w").layout.cells * 200
    assert joules == pytest.approx(model.counts.cell_read_joules, rel=0.05)


@pytest.mark.parametrize("name", ["pcm-compensated", "reram-milo"])
def test_drift_compensation_is_counted_as_it_is_simulated(name):
    """The second look of a simulated matrix, event by event; what cells conduct, of the first, before they drift."""
    from edge_adapt.simulator import program

    chip = load_chip(name, {"array.drift_compensation": "matrix"})
    outputs, inputs = 70, 300
    model = program(chip, {"w": np.random.default_rng(7).standard_normal((outputs, inputs))}, np.random.default_rng(3))
    model.set_time(1e3)
    earlier = dataclasses.replace(model.counts)
    model.set_time(1e6)
    found = model.counts.minus(earlier)
    counter = Counter(chip, program_sample(chip))
    expected = counter.looks([(outputs, inputs)])
    assert found.reads == 32
    assert {n: getattr(expected, n) for n in EXACT} == {n: getattr(found, n) for n in EXACT}
    fresh = model.matrix("w").baseline.events.cell_read_joules / 2
    assert expected.cell_read_joules == pytest.approx(fresh, rel=0.05)


def test_reports_of_a_count_have_drift_compensation_where_the_chip_has_it(capsys):
    for device in ("pcm", "pcm-compensated"):
        assert cli.main(["count", "--model", "bert-tiny", "--device", device, "--method", "probe", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        (record,) = report["results"]
        said = any("drift compensation" in message for message in report["messages"])
        assert said == (record["compensation_energy_joules"] is not None) == (device == "pcm-compensated")
    parts = explain(typed(report), "compensation_energy_joules", typed(report).results[0])
    assert parts.total == record["compensation_energy_joules"]
    assert cli.main(["count", "--model", "bert-tiny", "--device", "pcm-compensated", "--method", "probe"]) == 0
    assert "drift compensation takes" in " ".join(capsys.readouterr().out.split())


def test_the_mean_load_of_one_bit_drives_is_the_mean_number_of_ones():
    chip, rng = load_chip("reram"), np.random.default_rng(0)
    x = np.abs(np.random.default_rng(0).standard_normal(4096, dtype=np.float32))
    from edge_adapt.simulator.converters import best_range

    codes = np.clip(np.rint(x / best_range(x, 8) * 127), 0, 127).astype(int)
    assert mean_load(chip, typical_codes(chip, rng)) == pytest.approx(
        np.mean([code.bit_count() for code in codes.tolist()])
    )


@pytest.mark.parametrize(("unchanged", "looked_at"), [("skip", 0.0), ("verify", 1.0)])
def test_the_share_of_changed_weights_scales_pulses(unchanged, looked_at):
    """And looks, unless the chip looks at every cell."""
    chip = load_chip("reram", {"write.unchanged": unchanged})
    few, all_of_them, none = (program_sample(chip, share).step.log for share in (0.25, 1.0, 0.0))
    assert none.cells_pulsed == 0
    pulses = lambda log: log.set_pulses + log.reset_pulses
    assert pulses(few) / pulses(all_of_them) == pytest.approx(0.25, abs=0.01)
    looks = all_of_them.verifies - pulses(all_of_them)
    assert none.verifies == looked_at * looks
    assert few.verifies - pulses(few) == pytest.approx(max(0.25, looked_at) * looks, rel=0.02)


# --- time
# ---------------------------------------------------------------------------------------------------------------------


def test_what_the_placement_writes():
    report = count(CountConfig(model="bert-tiny", method=("lora", "lorafusion", "probe")))
    by_name = {(r["method"], r["placement"]): r for r in report["results"]}
    assert by_name["lorafusion", "DIGITAL"]["write_energy_joules"] == 0
    assert by_name["lora", "DIGITAL"]["cells_written"] == 0 == by_name["lora", "DIGITAL"]["cells_in_placement"]
    task, step = by_name["lora", "NVM_TASK"], by_name["lora", "NVM_STEP"]
    assert task["cells_in_placement"] == step["cells_in_placement"] == 2 * 2 * 2 * 16 * 2 * 128
    assert 0 < task["write_energy_joules"] < step["write_energy_joules"]
    assert "upper bound" in step["note"] and step["endurance_share_per_task"] > task["endurance_share_per_task"]
    fewer = count(CountConfig(model="bert-tiny", method=("lora:NVM_STEP",), changed_share=0.1))["results"][0]
    assert fewer["write_energy_joules"] < 0.5 * step["write_energy_joules"] and "10 %" in fewer["note"]
    assert fewer["adaptation_event_counts"]["read_conversions"] == step["adaptation_event_counts"]["read_conversions"]


def test_all_methods_and_the_matrices_that_layers_share():
    report = count(CountConfig(model="minilm", method=("all",), tokens=20))
    assert [r["method"] for r in report["results"]] == [
        n for n in methods_for(load_shape("minilm")) for _ in METHODS[n].placements
    ]
    by_name = {r["method"]: r for r in report["results"]}
    # MiniLM has 12 adapted linears: VeRA's two matrices are read for each of them, one after another.
    assert by_name["vera"]["inference_interval_seconds"] == pytest.approx(
        12 * by_name["frozen"]["inference_interval_seconds"]
    )
    # Eight prompts more in every sequence.
    reads = {name: record["inference_event_counts"]["reads"] for name, record in by_name.items()}
    assert reads["prompt-tuning"] / reads["frozen"] == pytest.approx(28 / 20)
    # What is programmed once is there once, whoever reads it: VeRA's two matrices, LoCA's two, a pool of LoRAs, ...
    once = {
        name: plan.tensors[name].numbers
        for plan in choose(CountConfig(method=("all",)), load_shape("minilm"))
        for name in set(plan.extra) - set(plan.rewritten)
    }
    named = [number for name, number in once.items() if name.startswith(("vera.", "loca."))]
    assert sorted(named) == [256 * 384, 256 * 384, 384 * 384, 384 * 384]
    assert report["programming"]["pool"]["cells"] == 2 * sum(once.values())


def test_unknown_methods_and_placements(tiny):
    with pytest.raises(UsageError, match="unknown method that can be counted 'lorra'; did you mean 'lora'"):
        count(CountConfig(model="bert-tiny", method=("lorra",)))
    with pytest.raises(UsageError, match="unknown placement 'nvm' of lora"):
        count(CountConfig(model="bert-tiny", method=("lora:nvm",)))
    with pytest.raises(UsageError, match="placement for lorafusion"):
        get_method("lorafusion").plan(tiny.shape, Size(), Placement.NVM_STEP)
    assert isinstance(get_method("lora").plan(tiny.shape), Plan)
