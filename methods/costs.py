"""Multiply-accumulates (MACs) of the digital unit, as a linear law in the size of a batch.

The matrices in cells cost no digital MACs; their reads are counted by the simulator.
"""

from dataclasses import dataclass
from typing import NamedTuple


class DigitalMacs(NamedTuple):
    """MACs of one pass over a batch."""

    forward: int
    backward: int


@dataclass(frozen=True)
class DigitalWork:
    """MACs for each token, each (query, key) pair, each sequence, and each pass whatever its size."""

    per_token: int = 0
    per_pair: int = 0
    per_sequence: int = 0
    per_pass: int = 0

    def __add__(self, other: "DigitalWork") -> "DigitalWork":
        return DigitalWork(
            self.per_token + other.per_token,
            self.per_pair + other.per_pair,
            self.per_sequence + other.per_sequence,
            self.per_pass + other.per_pass,
        )

    def macs(self, tokens: int, attention_pairs: int, sequences: int) -> int:
        return self.per_token * tokens + self.per_pair * attention_pairs + self.per_sequence * sequences + self.per_pass


def attention_forward(blocks: int, hidden_size: int) -> DigitalWork:
    """Scores Q K^T and the weighted sum A V: `hidden_size` MACs each for every pair, over all heads together."""
    return DigitalWork(per_pair=2 * blocks * hidden_size)


def attention_backward(blocks: int, hidden_size: int) -> DigitalWork:
    """Gradients of Q, K, V and of the attention weights: `hidden_size` MACs each for every pair."""
    return DigitalWork(per_pair=4 * blocks * hidden_size)


def head_forward(hidden_size: int, classes: int) -> DigitalWork:
    return DigitalWork(per_sequence=hidden_size * classes)


def head_backward(hidden_size: int, classes: int, through: bool) -> DigitalWork:
    """The head's weight gradient and, when the gradient goes on into the backbone, that of its input."""
    return DigitalWork(per_sequence=hidden_size * classes * (2 if through else 1))


def matrix_forward(weights: int) -> DigitalWork:
    """Matrices of `weights` numbers in all, held digitally and applied to each token."""
    return DigitalWork(per_token=weights)


def matrix_gradient(weights: int) -> DigitalWork:
    """Outer products g x^T of each token: the weight gradient of matrices of `weights` numbers in all."""
    return DigitalWork(per_token=weights)
