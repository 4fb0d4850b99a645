"""Row norms of a fused weight W + dW from products that are computed once, so that no array is ever read for them.

Notation: module k of a pool has A_k (r, in), B_k (out, r); a_k is its coefficient with the square root of its scale
inside. All functions are plain tensor products, independent of any hardware.
"""

import torch
from torch import Tensor, nn


class CrossTermNorm(nn.Module):
    """|| W + (sum_k a_k B_k)(sum_k a_k A_k) || for each output row.

    With b_i row i of the fused B, P = sum_k a_k W A_k^T and G = sum_jk a_j a_k A_j A_k^T:
    n_i^2 = |W_i|^2 + 2 b_i . P_i + b_i G b_i. The products W A_k^T and A_j A_k^T are the ones computed once.
    """

    weight_squared: Tensor
    b: Tensor
    projection: Tensor
    gram: Tensor

    def __init__(self, weight: Tensor, a: Tensor, b: Tensor) -> None:
        """weight (out, in); a (K, r, in) and b (K, out, r), zero-padded to a common rank r."""
        super().__init__()
        self.register_buffer("weight_squared", weight.square().sum(1))
        self.register_buffer("b", b)
        self.register_buffer("projection", torch.einsum("oi,kri->kor", weight, a))
        self.register_buffer("gram", torch.einsum("jri,ksi->jkrs", a, a))

    def forward(self, scaled: Tensor) -> Tensor:
        """Row norms (out,) for scaled coefficients a_k (K,)."""
        b = torch.einsum("k,kor->or", scaled, self.b)
        projection = torch.einsum("k,kor->or", scaled, self.projection)
        gram = torch.einsum("j,k,jkrs->rs", scaled, scaled, self.gram)
        squared = self.weight_squared + (b * (2.0 * projection + b @ gram)).sum(1)
        return squared.clamp(min=0.0).sqrt()


class SeparateNorm(nn.Module):
    """|| W + sum_k w_k B_k A_k || for each output row.

    n_i^2 = |W_i|^2 + 2 sum_k w_k <W, B_k A_k>_i + sum_jk w_j w_k <B_j A_j, B_k A_k>_i, both products computed once.
    """

    weight_squared: Tensor
    projection: Tensor
    gram: Tensor

    def __init__(self, weight: Tensor, a: Tensor, b: Tensor) -> None:
        """weight (out, in); a (K, r, in) and b (K, out, r), zero-padded to a common rank r."""
        super().__init__()
        updates = torch.einsum("kor,kri->koi", b, a)
        self.register_buffer("weight_squared", weight.square().sum(1))
        self.register_buffer("projection", torch.einsum("oi,koi->ko", weight, updates))
        self.register_buffer("gram", torch.einsum("joi,koi->jko", updates, updates))

    def forward(self, weights: Tensor) -> Tensor:
        """Row norms (out,) for the weights w_k (K,) of the modules, their scale included."""
        cross = torch.einsum("j,k,jko->o", weights, weights, self.gram)
        return (self.weight_squared + 2.0 * weights @ self.projection + cross).clamp(min=0.0).sqrt()
