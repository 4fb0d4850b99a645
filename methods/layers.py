"""Linear layers whose matrix may sit in cells, and the model built from them.

The only place where a matrix is read is `reader(name, x, weight)`: exact arithmetic by default, a crossbar when the
simulator puts its own reader there.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Reader = Callable[[str, Tensor, Tensor], Tensor]
"""reader(name, x (..., in), weight (out, in)) -> (..., out)."""


def exact_reader(name: str, x: Tensor, weight: Tensor) -> Tensor:
    """The matrix product without any hardware: x (..., in), weight (out, in) -> (..., out)."""
    return F.linear(x, weight)


def frozen(tensor: Tensor) -> nn.Parameter:
    """A parameter that shares the tensor's memory and is not trained."""
    return nn.Parameter(tensor.detach(), requires_grad=False)


class CellLinear(nn.Module):
    """y = W x + bias, with W (out, in) read through `reader` and the bias added digitally.

    The parameters share memory with the given linear unless `own` asks for copies (to train them).
    """

    def __init__(self, name: str, linear: nn.Linear, own: bool = False) -> None:
        super().__init__()
        self.cell_name = name
        self.weight = frozen(linear.weight.clone() if own else linear.weight)
        self.bias = None if linear.bias is None else frozen(linear.bias.clone() if own else linear.bias)
        self.reader: Reader = exact_reader

    def read(self, x: Tensor) -> Tensor:
        """W x, x (..., in) -> (..., out)."""
        return self.reader(self.cell_name, x, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read(x)
        return y if self.bias is None else y.add_(self.bias)  # in place: fresh memory costs more than the sum


class ChangedLinear(CellLinear):
    """A linear that a method changes: `change(linear, x)` says what it puts out for x (..., in).

    `tensors` are parameters or buffers of its own, by attribute name. What `change` multiplies by a matrix in cells
    goes through `linear.reader`; `linear.plain(x)` is what the linear alone puts out.
    """

    def __init__(self, name: str, linear: nn.Linear, change: "Change", tensors: Mapping[str, Tensor]) -> None:
        super().__init__(name, linear)
        self.change = change
        for attribute, tensor in tensors.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(attribute, tensor)
            else:
                self.register_buffer(attribute, tensor)

    def plain(self, x: Tensor) -> Tensor:
        """W x + bias."""
        return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, x)


Change = Callable[[Any, Tensor], Tensor]
"""change(linear, x (..., in)) -> (..., out)."""


def tensors_of(model: nn.Module, attribute: str) -> dict[str, nn.Parameter]:
    """A parameter of every `ChangedLinear` that has one of this name, as "linear.attribute", in order."""
    return {
        f"{linear.cell_name}.{attribute}": getattr(linear, attribute)
        for linear in model.modules()
        if isinstance(linear, ChangedLinear) and hasattr(linear, attribute)
    }


LinearFactory = Callable[[str, nn.Linear], CellLinear]


def clone_encoder(module: nn.Module, linear_names: Iterable[str], make: LinearFactory) -> nn.Module:
    """A copy of `module` with each named `nn.Linear` replaced by `make(name, linear)`.

    The copy has its own module objects; parameters and buffers share the original's memory, so that many adaptations
    of one backbone cost one backbone.
    """
    memo: dict[int, object] = {id(p): frozen(p) for p in module.parameters()}
    memo |= {id(b): b for b in module.buffers()}
    clone = copy.deepcopy(module, memo)
    for name in linear_names:
        parent, _, child = name.rpartition(".")
        linear = clone.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"{name} is a {type(linear).__name__}, not a Linear")
        setattr(clone.get_submodule(parent), child, make(name, linear))
    return clone.eval()


def own_parameters(encoder: nn.Module, paths: Collection[str], field: str) -> dict[str, nn.Parameter]:
    """Give the modules at `paths` their own copy of a parameter, to be trained; returns them by path, in the encoder's
    order.

    Parameters that are None (a linear without bias), or that a module does not have, are left out.
    """
    owned = {}
    for path, module in encoder.named_modules():
        shared = getattr(module, field, None) if path in paths else None
        if shared is not None:
            owned[f"{path}.{field}"] = nn.Parameter(shared.detach().clone())
            setattr(module, field, owned[f"{path}.{field}"])
    return owned


def patch_projection(encoder: nn.Module) -> nn.Conv2d:
    """The projection of a vision encoder's patches, (hidden_size, channels, patch, patch): done digitally."""
    return next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))


class AdaptedModel(nn.Module):
    """Encoder, pooling, linear classifier: forward(input_ids, attention_mask) -> logits (batch, classes).

    Both inputs are (batch, tokens) integer tensors; the mask is 1 on tokens and 0 on padding. An encoder of images
    takes pixels (batch, channels, side, side) in place of the ids. `pooling`: what the classifier sees of the last
    hidden states (`workloads.families.Pooling`); `front`: tokens of an image in front of its patches, prompts included;
    `norm`: path of a norm in the encoder that an image's hidden states still pass.

    `per_token`: pooling is left out, logits are (batch, tokens, classes). `separator`: the token that ends the first
    text of a pair; what follows it is the second, and the encoder is told so.
    """

    def __init__(self, encoder: nn.Module, hidden_size: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.of_images = getattr(encoder, "main_input_name", "") == "pixel_values"
        self.head = nn.Linear(hidden_size, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.head.to(next(encoder.parameters()).dtype)
        self.pooling = "cls" if self.of_images else "mean"
        self.front = 1
        self.norm = ""
        self.per_token = False
        self.separator: int | None = None

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What is seen of the last hidden states, (batch, hidden_size); or the hidden states of all tokens."""
        if self.of_images:
            states = self.encoder(pixel_values=input_ids).last_hidden_state
            states = states[:, 0] if self.pooling == "cls" else states[:, self.front :].mean(1)
            return self.encoder.get_submodule(self.norm)(states) if self.norm else states
        types = self.token_types(input_ids)
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        return self.pool(hidden, attention_mask)

    def token_types(self, input_ids: Tensor) -> dict[str, Tensor]:
        """The encoder's argument that tells the texts of a pair apart, 0 and 1; none for single texts."""
        if self.separator is None:
            return {}
        ends = (input_ids == self.separator).long()
        return {"token_type_ids": (ends.cumsum(1) - ends).clamp(max=1)}

    def pool(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """The pooling of a text's hidden states (batch, tokens, hidden_size); all of them where each is classified."""
        if self.per_token:
            return hidden
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":  # padding stands behind a text
            behind = attention_mask.sum(1, keepdim=True) - attention_mask.cumsum(1)
            attention_mask = attention_mask * (behind == 0)
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.features(input_ids, attention_mask))


@torch.no_grad()
def set_class_mean_head(
    head: nn.Linear, features: Tensor, labels: Tensor, margin: float, shrinkage: float = 1.0, prior: bool = False
) -> None:
    """Set `head` to the nearest-class-mean classifier of `features` (n, d) with `labels` (n,).

    With class means mu_c and their mean mu, the squared distance to mu_c orders the classes as
    (mu_c - mu) . f - |mu_c|^2 / 2 does (the part common to all classes left out): a linear head found without any
    gradient. The logits are scaled so that the mean margin of the right class over the best other one is `margin` on
    the given features, or left unscaled when that mean margin is not positive.

    With `shrinkage` below 1 distances are measured in the metric of (1 - shrinkage) S + shrinkage (tr S / d) I, S the
    covariance within the classes: regularised discriminant analysis (Friedman, JASA 84, 1989). 1 is the plain distance.

    `prior`: the logarithm of each class's share of the examples is added to its logit, as discriminant analysis has it
    for classes of different size.
    """
    classes = head.out_features
    onehot = F.one_hot(labels, classes).to(features.dtype)
    counts = onehot.sum(0)
    means = (onehot.T @ features) / counts.clamp(min=1.0).unsqueeze(1)
    present = counts > 0
    centre = means[present].mean(0)
    metric = _metric(features - means[labels], shrinkage)
    weight = torch.where(present.unsqueeze(1), (means - centre) @ metric, torch.zeros_like(means))
    bias = torch.where(present, -0.5 * ((means @ metric) * means).sum(1), torch.zeros_like(counts))
    bias = torch.where(present, bias - bias[present].mean(), bias[present].min() - bias[present].mean())
    logits = features @ weight.T + bias
    right = (logits * onehot).sum(1)
    best_other = logits.masked_fill(onehot.bool(), -torch.inf).amax(1)
    mean_margin = (right - best_other).mean()
    scale = margin / mean_margin if mean_margin > 0 else torch.ones(())
    head.weight.copy_(scale * weight)
    shares = (counts.clamp(min=0.5) / len(labels)).log() if prior else torch.zeros_like(bias)
    head.bias.copy_(scale * bias + shares)


def _metric(residuals: Tensor, shrinkage: float) -> Tensor:
    """The inverse of the shrunk covariance of residuals (n, d), scaled so that it is the identity for shrinkage 1."""
    identity = torch.eye(residuals.shape[1], dtype=residuals.dtype)
    spread = residuals.square().sum() / residuals.numel()
    if shrinkage == 1.0 or spread == 0:
        return identity
    covariance = residuals.T @ residuals / len(residuals)
    return torch.linalg.inv((1 - shrinkage) / spread * covariance + shrinkage * identity)
