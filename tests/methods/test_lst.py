"""LST against its equations, torch's own Transformer blocks, and the paper's code's count."""

import numpy as np
import pytest
import torch
from edge_adapt.errors import UsageError
from edge_adapt.methods import Placement, get_method
from edge_adapt.studies.pipeline import forward_line, reads_in_line
from edge_adapt.workloads.named_shapes import load_shape
from torch import nn


def attach(backbone, spread=0.3, **options):
    """The method on a backbone, its state moved from the start at random."""
    adaptation = get_method("lst", **{"reduction": 2, **options}).attach(backbone, 3, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in adaptation.state.items():
            size = 0.02 if name == "side.gates" else spread
            value.add_(size * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return adaptation


def blocks_of_torch(state, rungs, width, inner):
    """torch's encoder layers, norms in front, with the weights of the ladder's blocks."""
    found = []
    for number in rungs:
        own = {k.removeprefix(f"side.{number}."): v.detach() for k, v in state.items() if f"side.{number}." in k}
        layer = nn.TransformerEncoderLayer(
            width, 2, inner, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
        ).eval()
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(torch.cat([own[part] for part in ("query", "key", "value")]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([own[f"{part}.bias"] for part in ("query", "key", "value")]))
            for theirs, ours in (
                (layer.self_attn.out_proj, "output"), (layer.linear1, "ffn_up"), (layer.linear2, "ffn_down")
            ):  # fmt: skip
                theirs.weight.copy_(own[ours])
                theirs.bias.copy_(own[f"{ours}.bias"])
            for theirs, ours in ((layer.norm1, "attention_norm"), (layer.norm2, "ffn_norm")):
                theirs.weight.copy_(own[f"{ours}.weight"])
                theirs.bias.copy_(own[f"{ours}.bias"])
        found.append(layer)
    return found


@pytest.mark.parametrize("skip", ["", "0", "1"])
def test_the_equations_with_blocks_of_torch(backbone, examples, skip):
    adaptation = attach(backbone, skip=skip)
    state, (ids, mask, _) = adaptation.state, examples.tensors()
    rungs = [number for number in (0, 1) if str(number) != skip]
    hidden = backbone.module(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states

    def linear(name, x):
        return x @ state[name].T + state[f"{name}.bias"]

    stream = linear("side.first", hidden[0])
    layers = blocks_of_torch(state, rungs, 8, 12)
    for place, (number, layer) in enumerate(zip(rungs, layers, strict=True)):
        gate = 1 / (1 + torch.exp(-state["side.gates"][place] / 0.1))
        stream = layer(gate * stream + (1 - gate) * linear(f"side.{number}.down", hidden[number + 1]),
                       src_key_padding_mask=mask == 0)  # fmt: skip
    norm = nn.functional.layer_norm(stream, (8,), state["side.norm.weight"], state["side.norm.bias"])
    expected = (linear("side.up", norm) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(adaptation.module.features(ids, mask), expected, rtol=0, atol=1e-10)


def test_open_gates_ignore_the_backbone_and_closed_ones_the_stream(backbone, examples):
    adaptation, (ids, mask, _) = attach(backbone), examples.tensors()
    states = adaptation.module.observe(ids, mask)
    others = tuple(torch.randn_like(state) for state in states)

    def out(states):
        return adaptation.module.features_of(states, mask)

    with torch.no_grad():
        adaptation.state["side.gates"].fill_(1e3)
        assert torch.equal(out(states), out((states[0], *others[1:])))
        adaptation.state["side.gates"].fill_(-1e3)
        assert torch.equal(out(states), out((*others[:-1], states[-1])))


def test_the_ladder_starts_as_a_mixture_of_what_the_blocks_put_out(backbone, examples):
    """Half of the stream goes on at each gate, and no block changes it."""
    adaptation = get_method("lst", reduction=2).attach(backbone, 3, np.random.default_rng(0))
    (ids, mask, _), state = examples.tensors(), adaptation.state
    states = adaptation.module.observe(ids, mask)
    names, weights = ("side.first", "side.0.down", "side.1.down"), (0.25, 0.25, 0.5)
    stream = sum(w * (h @ state[name].T) for name, w, h in zip(names, weights, states, strict=True))
    expected = nn.functional.layer_norm(stream, (8,)) @ state["side.up"].T
    torch.testing.assert_close(adaptation.module.side(states, attention_mask=mask), expected, rtol=0, atol=1e-12)


def test_the_count_is_that_of_the_authors_code():
    """BERT base, r = 8: 12 blocks of 111,840 numbers; 13 matrices 96 x 768 with biases; 12 gates, the last norm, and
    the matrix back to 768 with its bias.
    """
    count = get_method("lst").count(load_shape("bert-base-uncased"))
    attention, feed_forward, norms = 4 * (96 * 96 + 96), 2 * 96 * 384 + 384 + 96, 4 * 96
    assert attention + feed_forward + norms == 111_840 and 12 * 111_840 == 1_342_080
    assert 13 * (96 * 768 + 96) == 959_712
    rest = 12 + 2 * 96 + 96 * 768 + 768
    assert count.trained_parameters == 1_342_080 + 959_712 + rest == 2_376_492
    assert count.trained["gates"] == 12
    assert (count.cells_trained, count.cells_frozen) == (count.trained["matrices"], 0)
    skipped = get_method("lst", skip="0,4,8").count(load_shape("bert-base-uncased"))
    assert count.trained_parameters - skipped.trained_parameters == 3 * (111_840 + 96 * 768 + 96 + 1)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_bytes_that_are_saved_for_the_backward_pass(request, kind):
    """By torch's own hooks, each storage once, against a formula by hand: of every token the states that the ladder
    takes, and in each rung what enters or leaves a product, a norm or a gate; nothing else of the backbone is in it.
    """
    base = request.getfixturevalue("backbone" if kind == "text" else "image_backbone")
    adaptation, saved = attach(base), {}
    inputs = torch.randint(1, 38, (3, 7)) if kind == "text" else torch.randn(3, 3, 8, 8, dtype=torch.float64)
    mask = torch.ones_like(inputs) if kind == "text" else torch.ones(3, 5, dtype=torch.int64)
    own = {p.untyped_storage().data_ptr() for p in adaptation.module.parameters()}

    def note(tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in own and tensor.is_floating_point():
            saved[place] = tensor.untyped_storage().nbytes()
        return tensor

    states = adaptation.module.observe(inputs, mask)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        adaptation.module.side(states, attention_mask=None)
    batch, length = mask.shape
    rungs, taken, w, inner, heads = 2, 3 * 16, 8, 12 if kind == "text" else 16, 2
    gate = 2 * w  # the stream, and Down h
    norm = 2 * w + 2  # what enters it, its mean and its deviation; what leaves it for a matrix
    attention = 4 * w + heads * length  # queries, keys, values, what they come to; weights
    feed_forward = 2 * inner  # in front of gelu and behind it
    a_token = taken + rungs * (gate + 2 * norm + attention + feed_forward) + norm
    assert sum(saved.values()) == 8 * (batch * length * a_token + 2 * rungs)  # and each gate, and what it leaves of 1


def test_reads_that_follow_one_another():
    """The ladder goes along with the backbone. Behind its last block come Down and the queries, the wait of the
    attention, and four more matrices.
    """
    shape = load_shape("bert-tiny")
    plan = get_method("lst").plan(shape, placement=Placement.NVM_STEP)
    assert plan.side.behind == (2, 4)
    whole, alone = (reads_in_line(forward_line(shape, plan, read), 10) for read in (plan.read, plan.backbone))
    assert whole == alone + 2 + 4 + 9
    assert get_method("lst").plan(shape).side.behind == ()


def test_what_cannot_be_is_refused():
    for options, message in (
        ({"reduction": 0}, "reduction of lst must be at least 1; got 0"),
        ({"skip": "1,x"}, "skip of lst takes numbers of blocks with commas between; got 'x'"),
        ({"skip": "-1"}, "got '-1'"),
    ):
        with pytest.raises(UsageError, match=message):
            get_method("lst", **options)
    shape = load_shape("bert-tiny")
    with pytest.raises(UsageError, match="skip of lst names block 2; bert-tiny has the blocks 0 to 1"):
        get_method("lst", skip="2").plan(shape)
    with pytest.raises(UsageError, match="leaves none of the 2 blocks"):
        get_method("lst", skip="0,1").plan(shape)
