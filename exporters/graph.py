"""An adaptation as two ONNX models: the training graph (loss and gradients of the state) and the inference graph.

torch.export traces the loss, its joint export adds the backward pass by autograd, and torch's ONNX exporter translates
the result. Autograd prunes by itself: only gradients of the trained state come out, and nothing below the first trained
tensor is traversed.

Trained tensors are constants to the ONNX optimiser, which would fold them away: they become inputs before it runs.
Fused attention has no translation for its backward pass: attention is traced in its plain form. What the joint export
needs beside that is in `torch_insides`.
"""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel

from ..errors import EdgeAdaptError
from ..methods import Adaptation
from ..methods.layers import AdaptedModel
from ..methods.training.objectives import Objective
from ..workloads.vision import native_side
from .forms import processor_forms
from .matching import first_node_first
from .torch_insides import taken_apart, with_gradients, without_mask

TEXT_INPUTS = ("input_ids", "attention_mask")
IMAGE_INPUTS = ("pixel_values",)
LABELS = "labels"
LOSS = "loss"
GRADIENT = "grad/"
PREDICTED = ("logits", "features")
TOKENS = "batch*tokens"
"""Name of the extent of a batch whose examples are joined to one row of tokens."""

_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision)[.:]+\w+(?:\.\w+)*")

# Extents of the traced batch. Any two different numbers above 1 that no other extent of a model has would do.
_BATCH, _TOKENS = 5, 11


def inputs_of(adaptation: Adaptation) -> tuple[str, ...]:
    """Names of the data inputs of an adaptation's graphs, without labels."""
    return IMAGE_INPUTS if adaptation.module.of_images else TEXT_INPUTS


def features_of(model: AdaptedModel, inputs: tuple[Tensor, ...]) -> Tensor:
    """What the head sees, for the data inputs in their order."""
    return model.features(inputs[0], inputs[0] if model.of_images else inputs[1])


class _Prediction(nn.Module):
    """Logits, and the features that the head sees, of a batch (data inputs...)."""

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features = features_of(self.model, inputs)
        return self.model.head(features), features


class _Loss(_Prediction):
    """The objective's loss of a batch (data inputs..., labels), in its form for graphs, and the prediction."""

    def __init__(self, model: AdaptedModel, objective: Objective) -> None:
        super().__init__(model)
        self.objective = objective

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        logits, features = super().forward(*inputs[:-1])
        return self.objective.traced_loss(logits, inputs[-1]), logits.detach(), features.detach()


def graphs_of(adaptation: Adaptation) -> dict[str, ir.Model]:
    """The graphs of an adaptation: "train", where more than class means is trained, and "infer".

    Both have the data inputs `input_ids`, `attention_mask` (batch, tokens), or `pixel_values` (batch, 3, side, side),
    and the state by its names, without values: `with_defaults` makes it optional. The training graph has `labels`
    (batch), too, and gives `loss`, and `grad/NAME` for every trained tensor; the other gives `logits` and `features`.
    Both come from one trace: what follows from the data without labels is the same in both.
    """
    if not adaptation.trained_names:
        return {"infer": _inference_graph(adaptation)}
    wrapped = _Loss(adaptation.module, adaptation.recipe.objective)
    with _tracing(adaptation), processor_forms(wrapped):
        joint, trained = with_gradients(_traced(wrapped, adaptation, labels=True))
        with taken_apart():
            program = _translate(joint)
        names = _state_names(wrapped, adaptation)
        gradients = [GRADIENT + names[parameter] for parameter in trained]
        _name_outputs(program.model, [LOSS, *PREDICTED, *gradients])
        train = _finished(program, adaptation, names, (*inputs_of(adaptation), LABELS))
        infer = train.clone()
        _keep_outputs(train, {LOSS, *gradients})
        _keep_outputs(infer, {*PREDICTED})
        return {"train": train, "infer": infer}


def _inference_graph(adaptation: Adaptation) -> ir.Model:
    """The inference graph alone."""
    wrapped = _Prediction(adaptation.module)
    with _tracing(adaptation), processor_forms(wrapped):
        program = _translate(_traced(wrapped, adaptation, labels=False))
        _name_outputs(program.model, list(PREDICTED))
        return _finished(program, adaptation, _state_names(wrapped, adaptation), inputs_of(adaptation))


def _keep_outputs(model: ir.Model, names: set[str]) -> None:
    """Drop all other outputs of a model, what only they need, and labels that nothing looks at any more."""
    graph = model.graph
    kept = [value for value in graph.outputs if value.name in names]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    RemoveUnusedNodesPass()(model)
    for value in [value for value in graph.inputs if value.name == LABELS and not value.uses()]:
        graph.inputs.remove(value)


def with_defaults(model: ir.Model, adaptation: Adaptation) -> None:
    """Give the state inputs of an inference graph their present values: inputs that may be left out."""
    values = {value.name: value for value in model.graph.inputs}
    for name, parameter in adaptation.state.items():
        if name in values:
            values[name].const_value = ir.tensor(parameter.detach().numpy().copy(), name=name)
            model.graph.initializers[name] = values[name]


@contextlib.contextmanager
def _tracing(adaptation: Adaptation) -> Iterator[None]:
    """Plain attention, of images without a mask, and torch's remarks about its own experiments kept to itself."""
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
            with without_mask(encoder) if adaptation.module.of_images else contextlib.nullcontext():
                yield
    except EdgeAdaptError:
        raise
    except Exception as error:  # torch, its exporter and each model's code raise errors of their own
        raise _cannot_be_exported(encoder, error) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _cannot_be_exported(encoder: nn.Module, error: Exception) -> EdgeAdaptError:
    """The error for a model that torch cannot make a graph of, with the operator or the reason that is named deepest in
    its own.
    """
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    operators = [found[0] for cause in reversed(causes) if (found := _OPERATOR.search(str(cause)))]
    reason = " ".join(str(causes[-1]).split())[:200] or type(causes[-1]).__name__
    why = f"its exporter has no form for {operators[0]}" if operators else reason
    family = getattr(getattr(encoder, "config", None), "model_type", type(encoder).__name__)
    return EdgeAdaptError(
        f"a model of the family {family!r} cannot be exported with torch {torch.__version__}: {why}; simulate it "
        "instead, with --trainer torch"
    )


def _traced(wrapped: nn.Module, adaptation: Adaptation, labels: bool) -> ExportedProgram:
    arguments: tuple[Tensor, ...]
    extents: tuple[dict[int, object], ...]
    if adaptation.module.of_images:
        side = native_side(adaptation.module.encoder)
        arguments, extents = (torch.zeros(_BATCH, 3, side, side),), ({0: Dim.DYNAMIC},)
    else:
        ids = torch.arange(_BATCH * _TOKENS).reshape(_BATCH, _TOKENS) % 7 + 1
        mask = (torch.arange(_TOKENS) < torch.arange(_BATCH).unsqueeze(1) + 3).long()
        arguments, extents = (ids, mask), ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},) * 2
    if labels:
        arguments, extents = (*arguments, torch.zeros(_BATCH, dtype=torch.int64)), (*extents, {0: Dim.DYNAMIC})
    return torch.export.export(wrapped, arguments, dynamic_shapes=(extents,), strict=False)


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


def _finished(
    program: torch.onnx.ONNXProgram, adaptation: Adaptation, names: dict[str, str], inputs: tuple[str, ...]
) -> ir.Model:
    """The model with its data inputs named, its state as inputs, constants folded, and the free extents named."""
    for value, name in zip(program.model.graph.inputs, inputs, strict=True):
        value.name = name
    _state_as_inputs(program.model, adaptation, names)
    with first_node_first():
        program.optimize()
    model = program.model
    _name_extents(model.graph)
    return model


def _name_extents(graph: ir.Graph) -> None:
    """Call the free extents "batch", "tokens" and "batch*tokens" wherever a shape is known."""
    batch, tokens, *_ = (str(extent) for extent in _shape(graph.inputs[0]))
    names = {batch: "batch"}
    if len(_shape(graph.inputs[0])) == 2:  # of images all but the number of examples is fixed
        names |= {tokens: "tokens", f"{batch}*{tokens}": TOKENS, f"{tokens}*{batch}": TOKENS}
    values = [output for node in graph.all_nodes() for output in node.outputs]
    for value in (*graph.inputs, *values):
        if value.shape is not None:
            value.shape = ir.Shape([names.get(str(extent), extent) for extent in value.shape])


def _shape(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return value.shape
