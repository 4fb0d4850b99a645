"""HiRA against the peft library, its reads against its closed form, and the counts of both."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt import load_chip
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, exact_reader, get_method
from edge_adapt.methods.plan import Size
from edge_adapt.simulator import program
from edge_adapt.simulator.autograd import ChipReader
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig
from edge_adapt.studies.pipeline import forward_line, reads_in_line
from edge_adapt.workloads.named_shapes import load_shape

PLACES = get_method("hira").placements


def attach(backbone, placement=Placement.DIGITAL, **options):
    """The method on a backbone with every number of its state drawn at random."""
    adaptation = get_method("hira", **options).attach(backbone, 3, np.random.default_rng(0), placement=placement)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in adaptation.state.values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("placement", PLACES)
@pytest.mark.parametrize("rank", [1, 3])
def test_same_features_and_gradient_as_peft(backbone, examples, placement, rank):
    """Unmerged by rank + 1 products, or merged into one matrix: peft merges."""
    peft = pytest.importorskip("peft")
    adaptation = attach(backbone, placement, rank=rank)
    config = peft.HiraConfig(r=rank, target_modules=["query", "value"])
    model = peft.get_peft_model(copy.deepcopy(backbone.module), config, autocast_adapter_dtype=False).eval()
    theirs = {}
    for name in backbone.target_names():
        layer = model.base_model.model.get_submodule(name)
        theirs |= {f"{name}.hira_a": layer.hira_A["default"], f"{name}.hira_b": layer.hira_B["default"]}
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(adaptation.state[name])
    ids, mask, _ = examples.tensors()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    got = adaptation.module.features(ids, mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    expected.square().sum().backward()
    got.square().sum().backward()
    assert {name for name in adaptation.trained_names if not name.startswith("head.")} == theirs.keys()
    for name, parameter in theirs.items():
        torch.testing.assert_close(adaptation.state[name].grad, parameter.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("scale", [0.25, 2.0])
def test_unmerged_is_merged(backbone, examples, scale):
    """One matrix, W * (1 + s B A), written out number by number."""
    ids, mask, _ = examples.tensors()
    apart, at_once = (attach(backbone, place, scale=scale) for place in (Placement.DIGITAL, Placement.NVM_TASK))
    torch.testing.assert_close(apart.module(ids, mask), at_once.module(ids, mask), rtol=1e-9, atol=1e-9)
    name = backbone.target_names()[1]
    weight = backbone.module.get_submodule(name).weight
    a, b = at_once.state[f"{name}.hira_a"], at_once.state[f"{name}.hira_b"]
    for row, column in ((0, 0), (7, 3), (15, 15)):
        wanted = weight[row, column] * (1 + scale * (b[row, 0] * a[0, column] + b[row, 1] * a[1, column]))
        assert at_once.held(name)[row, column].item() == pytest.approx(wanted.item(), rel=1e-12)
    assert not apart.holds
    assert torch.equal(apart.held(name), weight)


def on_chip(adaptation, fidelity="ideal"):
    """Its matrices on a chip, and the reader."""
    weights = {name: adaptation.held(name).float().numpy() for name in adaptation.cell_tensors}
    model = program(load_chip("reram"), weights, np.random.default_rng(0), fidelity)
    reader = ChipReader(model)
    adaptation.use(reader)
    reader.watch(adaptation.module.encoder)
    return model


def test_reads_and_transposed_reads_of_a_chip(backbone, examples):
    """rank + 1 reads of query and value, as many from behind, and rank in the first block; nothing is written."""
    single = replace(backbone, module=copy.deepcopy(backbone.module).float())
    rank, (ids, mask, labels) = 3, examples.tensors()
    tokens = int(mask.sum())
    adaptation = attach(single, rank=rank)
    exact = adaptation.module(ids, mask)
    model = on_chip(adaptation)
    logits = adaptation.module(ids, mask)
    torch.testing.assert_close(logits, exact, rtol=1e-5, atol=1e-4)
    assert model.counts.reads == tokens * (12 + 4 * rank) == tokens * len(adaptation.plan.read)
    F.cross_entropy(logits, labels).backward()
    # Twelve linears without the three that embeddings enter; each of the four adapted ones rank times more.
    assert model.counts.transposed_reads == tokens * (9 + 4 * rank) == tokens * len(adaptation.plan.transposed)
    assert model.counts.cells_written == 0


def test_the_digital_work_is_two_scalings_for_each_rank(backbone):
    """A_k * x and B_k * y; on the way back both factors' gradients, and those of what they scale."""
    linears, rank, width = 4, 2, 16
    plan = attach(backbone, rank=rank).plan
    own = linears * rank * 2 * width
    assert plan.own_work.per_token == own
    frozen = get_method("frozen").plan(backbone.shape, Size(classes=3))
    back = plan.backward_work.per_token - frozen.backward_work.per_token
    assert back == 2 * own - 2 * rank * width  # x of the first query and value is frozen


@pytest.mark.parametrize("placement", [Placement.NVM_TASK, Placement.NVM_STEP])
def test_merging_is_counted_once_a_pass(backbone, placement):
    """The products of forming W' and of the factors' gradients, as torch does them; and those of dL/dW'."""
    adaptation = attach(backbone, placement, rank=2)
    dense, tokens = 4 * 16 * 16, 10
    frozen = get_method("frozen").plan(backbone.shape, Size(classes=3))
    own = adaptation.training_work.macs(tokens, 0, 2, 3) - frozen.training_work.macs(tokens, 0, 2, 3)
    digital = placement is Placement.NVM_TASK
    assert own == 3 * (2 + 1) * dense + (tokens * dense if digital else 0)
    back = adaptation.backward_work.macs(tokens, 0, 0, 3)
    assert back == 3 * (2 * 2 + 1) * dense + tokens * dense + (tokens * dense // 2 if digital else 0)


@pytest.mark.parametrize("placement", PLACES)
def test_factors_of_one_are_the_frozen_model(backbone, examples, placement):
    ids, mask, _ = examples.tensors()
    rng = np.random.default_rng(0)
    got = get_method("hira").attach(backbone, 3, rng, placement=placement).module.features(ids, mask)
    wanted = get_method("frozen").attach(backbone, 3, rng).module.features(ids, mask)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_counts_of_reads_and_of_writes():
    """Held digitally: no write, and 1 + rank 4/12 of the reads, for query and value are 2 of 12 squares of the width
    for each rank. Written: every cell of both, and the backbone's own reads.
    """
    shape = load_shape("bert-base-uncased")
    counted = get_method("hira", rank=2).count(shape)
    assert counted.trained_parameters == 24 * 2 * (768 + 768)
    assert (counted.cells_frozen, counted.cells_trained) == (0, 24 * 768 * 768)
    report = count(CountConfig(model="bert-base-uncased", method=("hira", "frozen")))
    digital, task, step, frozen = report["results"]
    reads = [record["inference_event_counts"]["reads"] for record in report["results"]]
    assert [number / 64 for number in reads] == [72 + 24 * 2, 72, 72, 72]
    assert digital["cells_written"] == 0 == digital["cells_in_placement"]
    assert task["cells_in_placement"] == step["cells_in_placement"] == 2 * 24 * 768 * 768
    assert 0 < task["write_energy_joules"] < step["write_energy_joules"]
    conversions = [r["inference_event_counts"]["read_conversions"] for r in (digital, frozen)]
    assert conversions[0] / conversions[1] == pytest.approx(1 + 2 * 2 / 12)


def test_the_next_token_waits_for_arrays_that_read_again():
    """A block of 4 in line: with 2 reads more, a token leaves query and value every third read."""
    shape = load_shape("bert-tiny")
    plan = get_method("hira", rank=2).plan(shape)
    tokens = 10
    first, between, last = 3 + 9 * 3, 3 + 1 + 2 + 9 * 3, 3 + 9
    assert reads_in_line(forward_line(shape, plan, plan.read), tokens) == first + between + last
    alone = [name for name in plan.backbone if name not in plan.read_again]
    assert reads_in_line(forward_line(shape, plan, alone), tokens) == (1 + 9) + (4 + 9) + (3 + 9)
    merged = get_method("hira").plan(shape, placement=Placement.NVM_TASK)
    assert not merged.read_again and not merged.adapted


def test_a_hidden_read_would_be_seen(backbone, examples):
    """Each read with an input of its own, and of the matrix itself."""
    adaptation, seen = attach(backbone, rank=2), {}
    ids, mask, _ = examples.tensors()

    def look(cell, x, weight):
        seen.setdefault(cell, []).append((x.detach(), weight))
        return exact_reader(cell, x, weight)

    adaptation.use(look)
    adaptation.module(ids, mask)
    for name in backbone.target_names():
        (x, weight), *again = seen[name]
        assert len(again) == 2 and all(torch.equal(matrix, weight) for _, matrix in again)
        for (driven, _), row in zip(again, adaptation.state[f"{name}.hira_a"], strict=True):
            torch.testing.assert_close(driven, x * row)


def test_what_cannot_be_is_refused():
    for options, message in (
        ({"rank": 0}, "rank of hira must be at least 1; got 0"),
        ({"scale": 0.0}, "scale of hira must be above 0; got 0.0"),
        ({"targets": "qery"}, "did you mean 'query'"),
    ):
        with pytest.raises(UsageError, match=message):
            get_method("hira", **options)
