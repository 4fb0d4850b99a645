"""Array reads one after another when layers are pipelined, against a walk token by token."""

import dataclasses

from edge_adapt.methods import Placement, get_method
from edge_adapt.studies.pipeline import reads_in_line, segments
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
    assert reads_in_line(shape, tokens) == walk(segments(shape), tokens)


# --- the whole study and the command
# ---------------------------------------------------------------------------------------------------------------------
