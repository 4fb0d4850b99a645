"""Tiny random encoders of texts and images in float64, random pools for them, and a handful of examples of each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from edge_adapt.workloads.family_shapes import module_shape
from edge_adapt.workloads.images import Images
from edge_adapt.workloads.pools import LoraModule, Pool
from edge_adapt.workloads.shapes import ModelShape
from torch import nn
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model


@dataclass(frozen=True)
class TinyBackbone:
    module: nn.Module
    hidden_size: int
    blocks: int
    kind: str = "text"
    special_ids: tuple[int, ...] = (38, 39)
    special_tokens: int = 2
    tagged: bool = False
    separator: int | None = None

    @property
    def shape(self) -> ModelShape:
        return module_shape(self.module, "tiny")

    @property
    def pooling(self) -> str:
        return "mean" if self.kind == "text" else "cls"

    def linear_names(self) -> list[str]:
        return [linear.name for linear in self.shape.linears]

    def target_names(self) -> list[str]:
        return [name for name in self.linear_names() if name.endswith(("query", "value", "q_proj", "v_proj"))]


@pytest.fixture(scope="session")
def backbone() -> TinyBackbone:
    """Two blocks of width 16, two heads; weights large enough that every path matters."""
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = BertModel(config, add_pooling_layer=False).double().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return TinyBackbone(module, 16, 2)


@pytest.fixture(scope="session")
def image_backbone() -> TinyBackbone:
    """As `backbone`, of images of 8 pixels in patches of 4: [CLS] and 4 patches."""
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=8, patch_size=4,
        use_mask_token=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = Dinov2Model(config).double().eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return TinyBackbone(module, 16, 2, "image", (), 1)


def pool_for(backbone: TinyBackbone) -> Callable[..., Pool]:
    """make(ranks, scales=None): a pool of random modules on query and value of every block."""

    def make(ranks: tuple[int, ...] = (3, 3, 3), scales: tuple[float, ...] | None = None) -> Pool:
        rng = np.random.default_rng(11)
        names = backbone.target_names()
        scales = scales or (2.0,) * len(ranks)
        modules = [
            LoraModule(
                name=f"module-{k}",
                rank=rank,
                scale=scale,
                a={name: rng.normal(0, 0.3, (rank, 16)).astype(np.float32) for name in names},
                b={name: rng.normal(0, 0.3, (16, rank)).astype(np.float32) for name in names},
                task=f"task-{k}",
            )
            for k, (rank, scale) in enumerate(zip(ranks, scales, strict=True))
        ]
        return Pool(tuple(modules), tuple(names), "a pool of random modules", {})

    return make


@pytest.fixture(scope="session")
def make_pool(backbone: TinyBackbone) -> Callable[..., Pool]:
    """make_pool(ranks, scales=None): a random pool for `backbone`."""
    return pool_for(backbone)


@pytest.fixture(scope="session")
def make_image_pool(image_backbone: TinyBackbone) -> Callable[..., Pool]:
    """As `make_pool`, for `image_backbone`."""
    return pool_for(image_backbone)


@dataclass(frozen=True)
class Examples:
    encoded: list[list[int]]
    labels: list[int]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        width = max(map(len, self.encoded))
        ids = torch.zeros(len(self.encoded), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(self.encoded):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask, torch.tensor(self.labels)


@pytest.fixture(scope="session")
def examples() -> Examples:
    """24 random sentences of 3 to 8 tokens between two special ones, in 3 classes."""
    rng = np.random.default_rng(3)
    encoded = [[38, *rng.integers(1, 38, size=rng.integers(3, 9)).tolist(), 39] for _ in range(24)]
    return Examples(encoded, [i % 3 for i in range(24)])


@dataclass(frozen=True)
class Pictures:
    encoded: Images
    labels: list[int]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        (batch,) = self.encoded.batches(self.labels, len(self.labels))
        return tuple(map(torch.as_tensor, (batch.inputs, batch.attention_mask, batch.labels)))


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """24 random images of 8 x 8 pixels in 3 classes."""
    pixels = np.random.default_rng(3).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    return Pictures(Images(pixels, 8, 5), [i % 3 for i in range(24)])
