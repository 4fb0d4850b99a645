"""A matrix as a matrix of low rank and a sparse one: where the sparse part of an update is to be."""

import torch
from torch import Tensor

ROUNDS = 3
"""Steps of each rank before the next one is added."""


def low_rank_and_sparse(
    weight: Tensor, rank: int, numbers: int, rounds: int = ROUNDS
) -> tuple[Tensor, Tensor, list[float]]:
    """(L, S, ||W - L - S||^2 after each round) for W (out, in), with rank(L) <= rank and `numbers` places in S.

    The problem is that of the DSEE paper, and the way that it takes greedy: bilateral decomposition (Zhou and Tao,
    "Greedy Bilateral Sketch, Completion & Smoothing", AISTATS 2013). L grows by one direction at a time, the strongest
    of what is left, and comes nearer by `rounds` steps of power iteration; S takes the largest of what is left. No step
    makes more be left: S is the best for its L, and L the projection of W - S onto a space that holds at least
    as much of it as before. The authors' code bounds what S holds by a threshold of 0.01 instead, and takes the largest
    of that afterwards: with weights of this size nearly all of W is above it, and is then missing from L.
    """
    weight = weight.detach().double()
    sparse, low = torch.zeros_like(weight), torch.zeros_like(weight)
    right, left_over = weight.new_zeros(0, weight.shape[1]), []
    for _ in range(min(rank, *weight.shape)):
        rest = weight - sparse - low
        strongest = rest[rest.square().sum(1).argmax()]
        for _ in range(2):
            strongest = rest.T @ (rest @ strongest)
            strongest = strongest / strongest.norm().clamp(min=torch.finfo(weight.dtype).tiny)
        right = torch.cat([right, strongest[None]])
        for _ in range(rounds):
            basis = torch.linalg.qr((weight - sparse) @ right.T)[0]
            right = basis.T @ (weight - sparse)
            low = basis @ right
            rest = (weight - low).flatten()
            at = rest.abs().topk(numbers).indices
            sparse = torch.zeros_like(rest).index_copy(0, at, rest[at]).view_as(weight)
            left_over.append(float((weight - low - sparse).square().sum()))
    return low, sparse, left_over


def support(weight: Tensor, numbers: int, rank: int, how: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows and columns (numbers,) of what a sparse update of W (out, in) may change, in the order of W.

    how: `decomposed`: where the sparse part of `low_rank_and_sparse` is; `largest`: where W is; `random`.
    """
    if how == "random":
        scores = torch.rand(weight.numel(), generator=generator)
    elif how == "largest":
        scores = weight.detach().abs().flatten()
    else:
        scores = low_rank_and_sparse(weight, rank, numbers)[1].abs().flatten()
    chosen = scores.topk(numbers).indices.sort().values
    return chosen // weight.shape[1], chosen % weight.shape[1]
