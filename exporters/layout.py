"""Rewrite a traced graph for the processor it will run on. The result is plain ONNX and computes the same numbers.

Of onnxscript's rewriter no use is made: its patterns look at one place of a graph, and most passes here go by what is
known of the whole: which values are gradients, which have a row for each real token, which matrix is another's
transpose, what else is summed up. The two rules that are local (`rules`) share the editor of the others.
"""

import onnx_ir as ir

from .attention import soften_masks, unfold_attention
from .cleanup import forget_origins, simplify, tidy
from .heads import gather_heads
from .lookups import scatter_by_products
from .products import fold_sums, place_weights
from .rows import pack_rows
from .rules import shorten_gradients
from .scales import absorb_scales
from .sums import read_in_place


def optimise(model: ir.Model) -> None:
    """All passes in their order, in place."""
    forget_origins(model)
    scatter_by_products(model)
    simplify(model)
    pack_rows(model)
    simplify(model)
    place_weights(model)
    read_in_place(model)
    absorb_scales(model)
    fold_sums(model)
    soften_masks(model)
    unfold_attention(model)
    shorten_gradients(model)
    absorb_scales(model)
    simplify(model)
    gather_heads(model)
    simplify(model)
    tidy(model)
