"""Array reads one after another when layers are pipelined, against a walk token by token."""

import dataclasses

from edge_adapt.methods import Placement, get_method
from edge_adapt.studies.pipeline import backward_line, forward_line, reads_in_line, segments
from edge_adapt.workloads.named_shapes import load_shape
from hypothesis import given, settings
from hypothesis import strategies as st


def test_segments_of_known_models():
    assert segments(load_shape("bert-tiny")) == [1, 4, 3]
    assert segments(load_shape("llama-3-70b")) == [1, *[4] * 79, 3]
    plan = get_method("lora").plan(load_shape("bert-tiny"))
    assert segments(load_shape("bert-tiny"), plan.adapted) == [2, 5, 3]
    # Behind a linear: h, then D h, then U a, one after another, wherever an adapter stands.
    plan = get_method("adapter", targets="attention_output,ffn_down").plan(load_shape("bert-tiny"))
    assert segments(load_shape("bert-tiny"), plan.adapted) == [1, 8, 7]
    assert segments(load_shape("bert-tiny"), get_method("adapter").plan(load_shape("bert-tiny")).adapted) == [1, 6, 5]
    digital = get_method("adapter").plan(load_shape("bert-tiny"), placement=Placement.DIGITAL)
    assert segments(load_shape("bert-tiny"), digital.adapted) == [1, 4, 3]


def walk(depths, tokens):
    """When the last token leaves the last matrix, token by token and matrix by matrix."""
    start = 0
    for depth in depths:
        free = [start] * depth
        for _ in range(tokens):
            now = start
            for stage in range(depth):
                now = max(now, free[stage]) + 1
                free[stage] = now
        start = free[-1]
    return start


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4))
def test_a_pipelined_sequence_walked_through(tokens, blocks):
    shape = load_shape("minilm")
    shape = dataclasses.replace(shape, blocks=shape.blocks[:blocks])
    plan = get_method("frozen").plan(shape)
    assert reads_in_line(forward_line(shape, plan, plan.read), tokens) == walk(segments(shape), tokens)


def depths(line):
    return [segment.depth for segment in line.segments]


def test_a_gradient_goes_back_the_same_way():
    """Of two blocks: down, up, output; queries and the same of the block below; nothing in front of its queries."""
    shape = load_shape("bert-tiny")
    digital = get_method("lora").plan(shape, placement=Placement.DIGITAL)
    assert depths(backward_line(shape, digital, digital.transposed)) == [3, 4]
    # In cells: A behind B beside the upper queries, and B alone at the lowest, whose inputs need no gradient.
    cells = get_method("lora").plan(shape, placement=Placement.NVM_STEP)
    assert depths(forward_line(shape, cells, cells.read)) == [2, 5, 3]
    assert depths(backward_line(shape, cells, cells.transposed)) == [3, 5, 1]
    full = get_method("full").plan(shape, placement=Placement.NVM_STEP)
    assert depths(backward_line(shape, full, full.transposed)) == [3, 4]
    prompts = get_method("prompt-tuning").plan(shape)
    assert depths(backward_line(shape, prompts, prompts.transposed)) == [3, 4, 1]


def test_what_is_not_read_in_training_takes_no_arrays():
    shape = load_shape("bert-tiny")
    task = get_method("lora").plan(shape, placement=Placement.NVM_TASK)
    assert depths(forward_line(shape, task, task.read)) == [2, 5, 3]
    assert depths(forward_line(shape, task, task.read_in_training)) == [1, 4, 3]
    full = get_method("full").plan(shape, placement=Placement.NVM_TASK)
    assert depths(forward_line(shape, full, full.read_in_training)) == [0]


def test_arrays_that_layers_share_take_one_sequence_at_a_time():
    shape = load_shape("minilm")
    lines = [forward_line(shape, plan, plan.read) for plan in (get_method(n).plan(shape) for n in ("vera", "lora"))]
    assert [line.exclusive for line in lines] == [True, False]
    assert {segment.busy for segment in lines[0].segments} == {2}  # twelve times in seven segments
    again = dataclasses.replace(shape, blocks=shape.blocks[:1], runs=3)
    albert = get_method("frozen").plan(again)
    line = forward_line(again, albert, albert.read)
    assert line.exclusive and depths(line) == [1, 4, 4, 3]


# --- the whole study and the command
# ---------------------------------------------------------------------------------------------------------------------
