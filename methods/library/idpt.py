"""IDPT: a prompt that each image makes itself, in front of the last block alone.

Zha et al., "Instance-aware Dynamic Prompt Tuning for Pre-trained Point Cloud Models", ICCV 2023, arXiv:2304.07221,
section 3.3; the variant that its code calls "mlp". With c the [CLS] token and E the patches behind block L - 1,

    p = max over the patches of LeakyReLU(Norm(Linear(E)))        slope 0.2, one maximum for each number
    [c_L, -, E_L] = Block_L([c, p, E])                            features of c_L, or of E_L, as the model makes them

The gradient passes the last block alone, which has one token more. No cell is written.

Norm is a LayerNorm of each patch here, where the authors take a BatchNorm: on a device examples come one at a time, and
statistics over a batch would make an answer depend on its neighbours. The authors' main generator, which looks for each
patch's nearest neighbours among points in space, is not built; nor do [CLS] and positions move, nor does the head see
the prompt beside [CLS].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import UsageError
from ...workloads.shapes import ModelShape
from ..costs import NUMBER_BYTES, DigitalWork, sum_gradient
from ..placement import Placement
from ..plan import Part, Size, TensorPlan
from ..recipes import Recipe
from ..spec import Method, register

if TYPE_CHECKING:
    from ..attaching import Built, Site


@dataclass(frozen=True)
class InstancePromptTuning(Method):
    """There are no options but those of every method."""

    name = "idpt"
    title = "IDPT"
    family = "prompts"
    summary = "a prompt that each image makes itself, in front of the last block, which alone the gradient passes"
    source = (
        "Zha et al., Instance-aware Dynamic Prompt Tuning for Pre-trained Point Cloud Models, ICCV 2023, "
        "arXiv:2304.07221"
    )
    kinds = ("image",)
    other_kind = "prompt-tuning"
    groups = ("matrices", "vectors")
    candidates: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"rate.matrices": 3e-3, "rate.vectors": 3e-3},
        {"rate.matrices": 1e-4, "rate.vectors": 1e-4},
        {"recipe.epochs": 16},
        {"rate.head": 1e-3},
    )

    def part(self, shape: ModelShape, placement: Placement, size: Size) -> Part:
        if shape.fixed_tokens:
            raise UsageError("this model has a bias for each pair of its own tokens: there is none for idpt's prompt")
        if shape.runs > 1:
            raise UsageError("the blocks of this model share their weights: idpt needs a last block of its own")
        width, front = shape.hidden_size, shape.front_tokens
        weights, norms = width**2, 2 * width
        forward = DigitalWork(
            per_token=weights,
            per_sequence=-front * weights,
            bytes_per_sequence=NUMBER_BYTES * (weights + width + norms),
        )
        # The patches come from frozen blocks and need no gradient; gains have a product for each number of a patch.
        backward = DigitalWork(
            per_token=weights + width,
            per_sequence=-front * (weights + width),
            bytes_per_sequence=2 * NUMBER_BYTES * (weights + width),
        )
        return Part(
            (
                TensorPlan("prompt.linear.weight", (width, width), group="matrices"),
                TensorPlan("prompt.linear.bias", (width,), group="vectors"),
                TensorPlan("prompt.norm.weight", (width,), group="vectors"),
                TensorPlan("prompt.norm.bias", (width,), group="vectors"),
            ),
            late_tokens=1,
            inference_work=forward,
            backward_work=backward + sum_gradient(2 * width),
        )

    def build(self, site: "Site") -> "Built":
        import torch

        from ..attaching import Built
        from ..prompts import InstancePrompt

        encoder, generator, width = site.encoder(), site.generator(), site.shape.hidden_size
        prompt = InstancePrompt(width, site.shape.front_tokens, site.dtype)
        with torch.no_grad():
            prompt.linear.weight.uniform_(-(width**-0.5), width**-0.5, generator=generator)
            prompt.linear.bias.zero_()
        model = site.model(encoder)
        model.add_module("prompt", prompt)
        prompt.install(encoder, site.shape.blocks[-1].name)
        return Built(model, {f"prompt.{name}": tensor for name, tensor in prompt.named_parameters()})


# The rates have not been searched yet.
register(
    InstancePromptTuning(
        recipe=Recipe(learning_rates={"matrices": 1e-3, "vectors": 1e-3, "head": 3e-3}, head_margin=1.0)
    )
)
