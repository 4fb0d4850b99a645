"""All that an export uses of the insides of torch and transformers, proven with the versions that are named here.

torch's joint export is experimental and needs help in six places:

- It takes operators apart, and the ONNX exporter would take the result apart once more, in as much time again: both
  tables of what to take apart are used in one go, and the second is left out.
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
import importlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec
from torch.utils import _pytree as pytree

from ..errors import EdgeAdaptError

PROVEN = "2.13"
"""The torch whose joint export is known here; `setup.cfg` asks for it, too."""

ARGUMENTS = {
    "torch.export.exported_program._decompose_exported_program": (
        "ep", "cia_to_decomp", "python_decomp_table", "joint_loss_index", "decompose_custom_triton_ops"
    ),
    "torch.export.experimental._remove_detach_pass": ("gm", "sig"),
    "torch.onnx._internal.exporter._decomp.get_onnx_implemented_overloads": ("registry",),
    "torch.onnx._internal.exporter._decomp.create_onnx_friendly_decomposition_table": ("onnx_registered_ops",),
    "torch.onnx._internal.exporter._fx_passes.decompose_with_registry": ("exported_program", "registry"),
}  # fmt: skip
"""What is used of torch's own functions, each with its arguments."""
MASK = "create_bidirectional_mask"
"""The function of transformers, imported into the module of each encoder, that makes the mask of attention."""


def require_proven_torch() -> None:
    """Raise `EdgeAdaptError` for a torch whose joint export is not the one that is known here."""
    version = ".".join(torch.__version__.split(".")[:2])
    if version != PROVEN or not all(map(_is_known, ARGUMENTS)):
        raise EdgeAdaptError(
            f"exporting needs torch {PROVEN}, and this is torch {torch.__version__}: its export of gradients is "
            f"experimental and differs from version to version; install torch {PROVEN}"
        )


def _is_known(path: str) -> bool:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
        return tuple(inspect.signature(found).parameters) == ARGUMENTS[path]
    except (ImportError, AttributeError, TypeError):
        return False


def with_gradients(program: ExportedProgram) -> tuple[ExportedProgram, list[str]]:
    """The program of a loss joined with its gradients, and the parameters that they belong to, in order.

    The loss is the program's first output; others may follow it, which no gradient goes through. What comes out is to
    be translated while `taken_apart` lasts.

    Raises:
        EdgeAdaptError: a torch that does something else.
    """
    require_proven_torch()
    from torch.export import experimental, exported_program  # what is known of them is proven only now

    joint = exported_program._decompose_exported_program(
        program,
        cia_to_decomp={},
        python_decomp_table=_table(),
        joint_loss_index=0,
        decompose_custom_triton_ops=False,
    )
    experimental._remove_detach_pass(joint.graph_module, joint.graph_signature)
    _fill(joint.graph_module)
    _spread(joint.graph_module)
    return joint, _mark_outputs(joint)


def _table() -> dict[Any, Any]:
    """How operators are taken apart: all that torch takes apart itself, and what the ONNX exporter has no form for."""
    from torch.onnx._internal.exporter import _decomp, _registration

    known = set(_decomp.get_onnx_implemented_overloads(_registration.ONNXRegistry.from_torchlib()))
    return _decomp.create_onnx_friendly_decomposition_table(known) | core_aten_decompositions()


@contextlib.contextmanager
def taken_apart() -> Iterator[None]:
    """While it lasts, the ONNX exporter takes a program as it is."""
    from torch.onnx._internal.exporter import _fx_passes

    real = _fx_passes.decompose_with_registry
    _fx_passes.decompose_with_registry = lambda exported_program, registry: exported_program
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = real


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
    others = [spec for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    if len(others) + len(trained) + 1 != len(specs) or specs[0].kind is not OutputKind.LOSS_OUTPUT:
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
