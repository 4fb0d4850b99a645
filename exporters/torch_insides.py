"""All that an export uses of the insides of torch and transformers, proven with the versions that are named here.

torch's joint export is experimental and needs help in five places:

- The ONNX exporter emits only outputs marked as the user's: loss and gradients are marked as such.
- The call signature of the joint program still says one output: it is given the right number.
- The gradient of SiLU is made from a tensor without content, for which the ONNX exporter has no form: it is given one
  of zeros, which nothing reads.
- A number written to a slice (BEiT's table of distances) is a copy that the ONNX exporter does not spread over the
  slice: it is spread before.
- An encoder of images makes a mask of all the tokens that it began with, which prompts would not fit: it makes none.

Another torch is refused: it may trace something else without a word.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export import experimental as unstable
from torch.export.graph_signature import OutputKind, OutputSpec
from torch.utils import _pytree as pytree

from ..errors import EdgeAdaptError

PROVEN = "2.13"
"""The torch whose joint export is known here; `setup.cfg` asks for it, too."""

ARGUMENTS = ("ep", "joint_loss_index")
MASK = "create_bidirectional_mask"
"""The function of transformers, imported into the module of each encoder, that makes the mask of attention."""


def require_proven_torch() -> None:
    """Raise `EdgeAdaptError` for a torch whose joint export is not the one that is known here."""
    joint = getattr(unstable, "_export_forward_backward", None)
    version = ".".join(torch.__version__.split(".")[:2])
    if version != PROVEN or joint is None or tuple(inspect.signature(joint).parameters) != ARGUMENTS:
        raise EdgeAdaptError(
            f"exporting needs torch {PROVEN}, and this is torch {torch.__version__}: its export of gradients is "
            f"experimental and differs from version to version; install torch {PROVEN}"
        )


def with_gradients(program: ExportedProgram) -> tuple[ExportedProgram, list[str]]:
    """The program of a loss joined with its gradients, and the parameters that they belong to, in order.

    Raises:
        EdgeAdaptError: a torch that does something else.
    """
    require_proven_torch()
    joint = unstable._export_forward_backward(program, joint_loss_index=0)
    _fill(joint.graph_module)
    _spread(joint.graph_module)
    return joint, _mark_outputs(joint)


def _fill(module: torch.fx.GraphModule) -> None:
    """Zeros in the place of every tensor without content."""
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.empty_permuted.default:
            node.target, node.args = torch.ops.aten.full.default, (node.args[0], 0)
    module.recompile()


def _spread(module: torch.fx.GraphModule) -> None:
    """Let every copy have the shape of what it is written to."""
    for node in module.graph.nodes:
        if node.target is torch.ops.aten.copy.default:
            target, source = node.args[:2]
            shape = target.meta["val"].shape
            if source.meta["val"].shape != shape:
                with module.graph.inserting_before(node):
                    wide = module.graph.call_function(torch.ops.aten.expand.default, (source, list(shape)))
                wide.meta["val"] = source.meta["val"].expand(shape)
                node.args = (target, wide)
    module.recompile()


def _mark_outputs(joint: ExportedProgram) -> list[str]:
    """Mark loss and gradients as the program's own outputs; returns the parameters the gradients belong to."""
    specs = joint.graph_signature.output_specs
    trained = [spec.target for spec in specs if spec.kind is OutputKind.GRADIENT_TO_PARAMETER]
    if len(trained) + 1 != len(specs) or specs[0].kind is not OutputKind.LOSS_OUTPUT:
        raise EdgeAdaptError(
            f"torch {torch.__version__} exports a training graph with other outputs than loss and gradients; "
            "this version is not supported"
        )
    for place, spec in enumerate(specs):
        specs[place] = OutputSpec(OutputKind.USER_OUTPUT, spec.arg, None)
    signature = joint.module_call_graph[0].signature
    assert signature is not None
    signature.out_spec = pytree.tree_structure(tuple(range(len(specs))))
    return [str(name) for name in trained]


@contextlib.contextmanager
def without_mask(encoder: nn.Module) -> Iterator[None]:
    """While it lasts, an encoder of transformers makes no mask; those that make none of images anyway are left alone.

    There is no argument for it: given none, the encoder makes one of its own.
    """
    code = sys.modules[type(encoder).__module__]
    made = getattr(code, MASK, None)
    if made is None:
        yield
        return
    setattr(code, MASK, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(code, MASK, made)
