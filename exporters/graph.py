"""An adaptation as two ONNX models: the training graph (loss and gradients of the state) and the inference graph.

torch.export traces the loss, its joint export adds the backward pass by autograd, and torch's ONNX exporter translates
the result. Autograd prunes by itself: only gradients of the trained state come out, and nothing below the first trained
tensor is traversed.

The joint export is experimental in torch (hence the pinned range of versions) and needs help in four places:

- The ONNX exporter emits only outputs marked as the user's: loss and gradients are marked as such.
- The call signature of the joint program still says one output: it is given the right number.
- Trained tensors are constants to the optimiser, which would fold them away: they become inputs before it runs.
- Fused attention has no translation for its backward pass: attention is traced in its plain form.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.experimental import _export_forward_backward
from torch.export.graph_signature import OutputKind, OutputSpec
from torch.utils import _pytree as pytree
from transformers import PreTrainedModel

from ..errors import EdgeAdaptError
from ..methods import Adaptation
from ..methods.cells import AdaptedModel
from .forms import processor_forms

INPUTS = ("input_ids", "attention_mask")
LABELS = "labels"
LOSS = "loss"
GRADIENT = "grad/"
TOKENS = "batch*tokens"
"""Name of the extent of a batch whose examples are joined to one row of tokens."""

# Extents of the traced batch. Any two different numbers above 1 that no other extent of a model has would do.
_BATCH, _TOKENS = 5, 11


class _Loss(nn.Module):
    """Mean cross entropy of a batch, written with a one-hot product: its gradient has no scatter."""

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        logits = self.model(input_ids, attention_mask)
        onehot = (labels.unsqueeze(1) == torch.arange(logits.shape[1])).to(logits.dtype)
        return (torch.logsumexp(logits, 1) - (onehot * logits).sum(1)).mean()


class _Prediction(nn.Module):
    """Logits, and the features that the head sees."""

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.features(input_ids, attention_mask)
        return self.model.head(features), features


def training_graph(adaptation: Adaptation) -> ir.Model:
    """Inputs: `input_ids`, `attention_mask` (batch, tokens), `labels` (batch), and the state by its names.
    Outputs: `loss`, and `grad/NAME` for every trained tensor.
    """
    wrapped = _Loss(adaptation.module)
    with _tracing(adaptation), processor_forms(wrapped):
        joint = _export_forward_backward(_traced(wrapped, labels=True), joint_loss_index=0)
        trained = _mark_outputs(joint)
        program = _translate(joint)
        names = _state_names(wrapped, adaptation)
        _name_outputs(program.model, [LOSS, *(GRADIENT + names[parameter] for parameter in trained)])
        return _finished(program, adaptation, names)


def inference_graph(adaptation: Adaptation) -> ir.Model:
    """Inputs: `input_ids`, `attention_mask`, and the state by its names, without values. Outputs: `logits`, `features`.

    `with_defaults` makes the state optional.
    """
    wrapped = _Prediction(adaptation.module)
    with _tracing(adaptation), processor_forms(wrapped):
        program = _translate(_traced(wrapped, labels=False))
        _name_outputs(program.model, ["logits", "features"])
        return _finished(program, adaptation, _state_names(wrapped, adaptation))


def with_defaults(model: ir.Model, adaptation: Adaptation) -> None:
    """Give the state inputs of an inference graph their present values: inputs that may be left out."""
    values = {value.name: value for value in model.graph.inputs}
    for name, parameter in adaptation.state.items():
        if name in values:
            values[name].const_value = ir.tensor(parameter.detach().numpy().copy(), name=name)
            model.graph.initializers[name] = values[name]


@contextlib.contextmanager
def _tracing(adaptation: Adaptation) -> Iterator[None]:
    """Plain attention, and torch's remarks about its own experimental state kept to itself."""
    encoder = adaptation.module.encoder
    if isinstance(encoder, PreTrainedModel):
        encoder.set_attn_implementation("eager")
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _traced(wrapped: nn.Module, labels: bool) -> ExportedProgram:
    ids = torch.arange(_BATCH * _TOKENS).reshape(_BATCH, _TOKENS) % 7 + 1
    mask = (torch.arange(_TOKENS) < torch.arange(_BATCH).unsqueeze(1) + 3).long()
    arguments: tuple[Tensor, ...] = (ids, mask)
    extents: tuple[dict[int, object], ...] = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},) * 2
    if labels:
        arguments, extents = (*arguments, torch.zeros(_BATCH, dtype=torch.int64)), (*extents, {0: Dim.DYNAMIC})
    return torch.export.export(wrapped, arguments, dynamic_shapes=extents, strict=False)


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


def _translate(program: ExportedProgram) -> torch.onnx.ONNXProgram:
    """The program in ONNX, not optimised: that would fold the state away."""
    translated = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False)
    assert translated is not None
    return translated


def _state_names(wrapped: nn.Module, adaptation: Adaptation) -> dict[str, str]:
    """Name in `Adaptation.state` of each parameter of the traced module that belongs to the state."""
    by_identity = {id(parameter): name for name, parameter in adaptation.state.items()}
    parameters = wrapped.named_parameters(remove_duplicate=False)
    return {name: by_identity[id(parameter)] for name, parameter in parameters if id(parameter) in by_identity}


def _name_outputs(model: ir.Model, names: list[str]) -> None:
    for value, name in zip(model.graph.outputs, names, strict=True):
        value.name = name


def _state_as_inputs(model: ir.Model, adaptation: Adaptation, names: dict[str, str]) -> None:
    """Turn the state's initialisers into inputs in the order of `Adaptation.state`; the others lose the wrapper's
    prefix.
    """
    graph = model.graph
    inputs: dict[str, ir.Value] = {}
    for name in list(graph.initializers):
        value = graph.initializers.pop(name)
        if name in names:
            value.name, value.const_value = names[name], None
            inputs[names[name]] = value
        else:
            value.name = name.removeprefix("model.")
            graph.initializers.add(value)
    graph.inputs.extend(inputs[name] for name in adaptation.state if name in inputs)


def _finished(program: torch.onnx.ONNXProgram, adaptation: Adaptation, names: dict[str, str]) -> ir.Model:
    """The model with its state as inputs, then constants folded, and the two free extents named."""
    _state_as_inputs(program.model, adaptation, names)
    program.optimize()
    model = program.model
    _name_extents(model.graph)
    return model


def _name_extents(graph: ir.Graph) -> None:
    """Call the free extents "batch", "tokens" and "batch*tokens" wherever a shape is known."""
    batch, tokens = (str(extent) for extent in _shape(graph.inputs[0]))
    names = {batch: "batch", tokens: "tokens", f"{batch}*{tokens}": TOKENS, f"{tokens}*{batch}": TOKENS}
    values = [output for node in graph.all_nodes() for output in node.outputs]
    for value in (*graph.inputs, *values):
        if value.shape is not None:
            value.shape = ir.Shape([names.get(str(extent), extent) for extent in value.shape])


def _shape(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return value.shape
