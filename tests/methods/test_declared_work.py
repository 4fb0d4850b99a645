"""The products that a forward pass really does outside the cells, against the digital work of the plan, for every
method: none is free.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from edge_adapt.methods import METHODS, Placement, get_method
from torch.utils.flop_counter import FlopCounterMode

SEQUENCES, CLASSES = 2, 3
EVERY = [
    pytest.param(name, place, kind, id=f"{name}-{place}-{kind}")
    for name, m in METHODS.items()
    for place in m.placements
    for kind in m.kinds
]


def scaled(adaptation, tokens):
    """Multiplications of the plan that are no product of matrices: activations times vectors, and mixtures."""
    plan = adaptation.plan
    own = plan.inference_work.scaled_per_token * tokens
    confidence = sum(t.numbers for name, t in plan.tensors.items() if name.endswith(".confidence"))
    own += SEQUENCES * confidence * (len(plan.levels) - 1)  # mean(A) * mean(F)
    if plan.method == "tinylora":  # R = sum_i v_i P_i, once a pass
        own += sum(t.numbers * 4 for name, t in plan.tensors.items() if name.endswith(".vector"))
    return own


def placed(adaptation, tokens):
    """Products with constant matrices of zeros and ones, which put vectors in their places, or add up rows of a pool:
    no multiplications.
    """
    plan = adaptation.plan
    rows = tokens // SEQUENCES if adaptation.module.of_images else tokens  # images have them in the same places
    vectors = sum(t.numbers * rows for name, t in plan.tensors.items() if name.endswith(".vectors"))
    fused = [module for module in adaptation.module.modules() if hasattr(module, "align")]
    sparse = [module for module in adaptation.module.modules() if hasattr(module, "picks")]
    vectors += sum(tokens * (module.picks.numel() + module.puts.numel()) for module in sparse)
    return vectors + sum(2 * tokens * module.align.numel() + module.spread.numel() for module in fused)


def formed(adaptation):
    """Products that form what cells hold already when an answer is given."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for name in adaptation.holds:
            adaptation.held(name)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("name", "placement", "kind"), EVERY)
def test_products_outside_the_cells_are_those_of_the_plan(request, name, placement, kind):
    texts = kind == "text"
    base = request.getfixturevalue("backbone" if texts else "image_backbone")
    pool = request.getfixturevalue("make_pool" if texts else "make_image_pool")()
    adaptation = get_method(name).attach(base, CLASSES, np.random.default_rng(0), placement=placement, pool=pool)
    adaptation.module.encoder.config._attn_implementation = "eager"
    if texts:
        inputs = torch.randint(1, 38, (SEQUENCES, 7), generator=torch.Generator().manual_seed(0))
        inputs[:, 0], inputs[:, -1] = 38, 39
        mask = torch.ones_like(inputs)
    else:
        inputs, mask, _ = (part[:SEQUENCES] for part in request.getfixturevalue("pictures").tensors())
    in_cells = [0]

    def read(_cell, x, weight):
        in_cells[0] += weight.numel() * x.numel() // x.shape[-1]
        return F.linear(x, weight)

    adaptation.use(read)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        adaptation.module(inputs, mask)
    products = counter.get_total_flops() // 2 - in_cells[0]
    length = mask.shape[1]
    tokens, pairs = SEQUENCES * length, SEQUENCES * length**2
    planned = adaptation.plan.inference_work.macs(tokens, pairs, SEQUENCES)
    products -= placed(adaptation, tokens) + formed(adaptation)
    if METHODS[name].needs_pool:  # row norms are computed in every pass here; coefficients are factors
        assert 0 < products <= adaptation.plan.training_work.macs(tokens, pairs, SEQUENCES)
        return
    assert products == planned - scaled(adaptation, tokens)
    assert placement is not Placement.DIGITAL or in_cells[0] >= tokens * base.shape.weights
