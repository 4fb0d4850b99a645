"""Work of the digital unit, as a linear law in the size of a batch: multiply-accumulates (MACs) and SRAM traffic.

The matrices in cells cost no digital MACs; their reads are counted by the simulator.

The digital unit works through one sequence after another. Whatever it holds (a matrix, a vector of magnitudes, the
gradient sums of either) is read from SRAM once for each sequence that it is applied to, and stays in the unit while
the sequence's tokens pass: the least that is possible without batching several sequences. A gradient sum is read and
written back.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

NUMBER_BYTES = 4  # float32: trained state, gradients, matrices held digitally
ACTIVATION_BYTES = 2  # activations are held with 16 bits
EVALUATION_BATCH = 32  # sequences of a pass that only reads features


class DigitalMacs(NamedTuple):
    """MACs of one pass over a batch."""

    forward: int
    backward: int


@dataclass(frozen=True)
class DigitalWork:
    """MACs for each token, each (query, key) pair, each sequence, and each pass whatever its size; SRAM bytes alike.

    scaled_per_token: those of `per_token` that are no part of a product of matrices, but of numbers one by one.
    bytes_per_token are those of queries, keys, values and contexts, which flow through; flow_per_sequence: those of
    `bytes_per_sequence` that are such.
    """

    per_token: int = 0
    per_pair: int = 0
    per_sequence: int = 0
    per_pass: int = 0
    bytes_per_token: int = 0
    bytes_per_sequence: int = 0
    bytes_per_pass: int = 0
    scaled_per_token: int = 0
    flow_per_sequence: int = 0

    def __add__(self, other: "DigitalWork") -> "DigitalWork":
        return DigitalWork(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, often: int) -> "DigitalWork":
        """The work done so many times."""
        return DigitalWork(*(often * getattr(self, f.name) for f in fields(self)))

    def macs(self, tokens: int, attention_pairs: int, sequences: int, passes: int = 1) -> int:
        """Multiply-accumulates of `passes` passes over so many tokens, pairs and sequences in all."""
        own = self.per_token * tokens + self.per_pair * attention_pairs + self.per_sequence * sequences
        return own + self.per_pass * passes

    def sram_bytes(self, tokens: int, sequences: int, passes: int = 1) -> int:
        """Bytes between SRAM and the digital unit."""
        return self.bytes_per_token * tokens + self.bytes_per_sequence * sequences + self.bytes_per_pass * passes

    def flow_bytes(self, tokens: int, sequences: int) -> int:
        """Those of them that flow through: queries, keys, values, contexts and their gradients."""
        return self.bytes_per_token * tokens + self.flow_per_sequence * sequences


def lengthened(work: DigitalWork, tokens: int) -> DigitalWork:
    """The work on sequences that are `tokens` longer than they are counted: (n + p)^2 = n^2 + 2 p n + p^2 pairs."""
    return replace(
        work,
        per_token=work.per_token + 2 * tokens * work.per_pair,
        per_sequence=work.per_sequence + tokens * work.per_token + tokens**2 * work.per_pair,
        bytes_per_sequence=work.bytes_per_sequence + tokens * work.bytes_per_token,
        flow_per_sequence=work.flow_per_sequence + tokens * work.bytes_per_token,
    )


def attention_forward(blocks: int, hidden_size: int) -> DigitalWork:
    """Scores Q K^T and the weighted sum A V: `hidden_size` MACs each for every pair, over all heads together.

    Queries, keys and values are read once, the context is written.
    """
    return DigitalWork(per_pair=2 * blocks * hidden_size, bytes_per_token=4 * blocks * hidden_size * ACTIVATION_BYTES)


def attention_backward(blocks: int, hidden_size: int, spared: int = 0) -> DigitalWork:
    """Gradients of Q, K, V and of the attention weights: `hidden_size` MACs each for every pair.

    Queries, keys, values and the context's gradient are read, three gradients are written. `spared`: how many numbers
    of a token's Q, K and V need no gradient, since nothing is trained in front of them.
    """
    return DigitalWork(
        per_pair=4 * blocks * hidden_size - spared,
        bytes_per_token=(7 * blocks * hidden_size - spared) * ACTIVATION_BYTES,
    )


def patches_forward(weights: int, front: int = 1) -> DigitalWork:
    """The projection of an image's patches by a matrix of `weights` numbers: of every token but those in front."""
    return DigitalWork(per_token=weights, per_sequence=-front * weights, bytes_per_sequence=NUMBER_BYTES * weights)


def head_forward(hidden_size: int, classes: int, per_token: bool = False) -> DigitalWork:
    """The classifier, once for each sequence, or for each of its tokens."""
    weights = hidden_size * classes
    return DigitalWork(
        per_token=weights if per_token else 0,
        per_sequence=0 if per_token else weights,
        bytes_per_sequence=NUMBER_BYTES * weights,
    )


def head_backward(hidden_size: int, classes: int, through: bool, per_token: bool = False) -> DigitalWork:
    """The head's weight gradient and, when the gradient goes on into the backbone, that of its input."""
    weights = hidden_size * classes
    work = weights * (2 if through else 1)
    return DigitalWork(
        per_token=work if per_token else 0,
        per_sequence=0 if per_token else work,
        bytes_per_sequence=NUMBER_BYTES * weights * (3 if through else 2),
    )


def head_start_macs(examples: int, hidden_size: int, classes: int, shrinkage: float) -> int:
    """The metric of a head that starts from class means (`class_means`): covariance, inverse, products.

    Means alone are sums, which are not counted.
    """
    return 0 if shrinkage == 1.0 else hidden_size**2 * (examples + 2 * classes) + hidden_size**3


def matrix_forward(weights: int) -> DigitalWork:
    """Matrices of `weights` numbers in all, held digitally and applied to each token."""
    return DigitalWork(per_token=weights, bytes_per_sequence=NUMBER_BYTES * weights)


def matrix_gradient(weights: int) -> DigitalWork:
    """Outer products g x^T of each token: the weight gradient of matrices of `weights` numbers in all."""
    return DigitalWork(per_token=weights, bytes_per_sequence=2 * NUMBER_BYTES * weights)


def sum_gradient(numbers: int) -> DigitalWork:
    """Gradients of `numbers` numbers that are only added to activations: sums without a product."""
    return DigitalWork(bytes_per_sequence=2 * NUMBER_BYTES * numbers)


def scale_forward(numbers: int) -> DigitalWork:
    """Vectors of `numbers` numbers in all that each token's activations are multiplied by."""
    return DigitalWork(per_token=numbers, bytes_per_sequence=NUMBER_BYTES * numbers, scaled_per_token=numbers)


def scale_backward(numbers: int, spared: int = 0) -> DigitalWork:
    """The gradients of the scaled activations and of the vectors; `spared` of the activations need none."""
    products = 2 * numbers - spared
    return DigitalWork(
        per_token=products, bytes_per_sequence=NUMBER_BYTES * (3 * numbers - spared), scaled_per_token=products
    )


def sparse_forward(numbers: int) -> DigitalWork:
    """Sparse matrices of `numbers` numbers in all, applied to each token; a place takes as many bytes as a number."""
    return DigitalWork(per_token=numbers, bytes_per_sequence=2 * NUMBER_BYTES * numbers, scaled_per_token=numbers)


def sparse_backward(numbers: int, spared: int = 0) -> DigitalWork:
    """The gradients of what the numbers scale, of which `spared` need none, and of themselves."""
    products = 2 * numbers - spared
    return DigitalWork(
        per_token=products, bytes_per_sequence=NUMBER_BYTES * (4 * numbers - spared), scaled_per_token=products
    )


def fusion_forward(rows: int, outputs: int, cross_terms: bool, magnitude: bool) -> DigitalWork:
    """Fusion of the `rows` stacked rows of a pool in one linear (twice with cross terms), and its magnitudes."""
    scaled = outputs if magnitude else 0
    return DigitalWork(
        per_token=(2 if cross_terms else 1) * rows + scaled, bytes_per_sequence=NUMBER_BYTES * (rows + scaled)
    )


def fusion_backward(
    rows: int, outputs: int, cross_terms: bool, magnitude: bool, needs_input: bool = True
) -> DigitalWork:
    """Gradients of the drives and of the coefficients, and of the outputs and of the magnitudes.

    Without `needs_input` the gradient stops there: what the first stack gives needs none.
    """
    scaled, spared = outputs if magnitude else 0, 0 if needs_input else rows
    return DigitalWork(
        per_token=2 * ((2 if cross_terms else 1) * rows + scaled) - spared,
        # With cross terms the coefficients are read all the same, for the gradient of the fused row.
        bytes_per_sequence=NUMBER_BYTES * (3 * (rows + scaled) - (0 if cross_terms else spared)),
    )


def cross_term_norm(modules: int, outputs: int, rank: int) -> DigitalWork:
    """Row norms of a fused matrix with cross terms (`rownorm.CrossTermNorm`), once a pass."""
    low = modules * outputs * rank
    return DigitalWork(
        per_pass=2 * low + modules**2 * rank**2 + outputs * rank**2 + outputs * rank,
        bytes_per_pass=NUMBER_BYTES * (2 * low + modules**2 * rank**2 + outputs),
    )


def separate_norm(modules: int, outputs: int) -> DigitalWork:
    """Row norms of a fused matrix without cross terms (`rownorm.SeparateNorm`), once a pass."""
    numbers = modules**2 * outputs + modules * outputs + outputs
    return DigitalWork(per_pass=numbers, bytes_per_pass=NUMBER_BYTES * numbers)
