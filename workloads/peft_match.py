"""Match an adapter to a model: what its features depend on is adapted exactly or refused, the rest is left out by name.

An adapter was trained on the bare encoder or under a task head. In the second case its paths have a prefix
("bert.encoder..."), and what lies beside the prefix (classifier, language model head, ...) is no part of the encoder.
Inside it, a pooler may follow the last hidden states, of which the features are made: the gradient of these states
tells whether they depend on a weight.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, unknown_name
from .peft_folder import LoraModule
from .peft_values import Targets

if TYPE_CHECKING:
    from .models import Backbone

_POOLER = "pooler"  # encoders are loaded without it, where transformers can
_WRAPPERS = (".base_layer", ".original_module", ".modules_to_save.default", ".modules_to_save")  # of peft, in names
_SHOWN = 8


def matched(module: LoraModule, backbone: "Backbone") -> LoraModule:
    """The adapter with the backbone's names for its linears, and a message for what the features do not use.

    Raises:
        UsageError: no linear of the adapter is in the model, or one of another shape, or the adapter changes something
            that the features depend on and that is no linear of a Transformer block.
    """
    linears = backbone.linear_names()
    renamed = _renaming(backbone)
    places = {path: _place(path, linears, renamed) for path in module.a}
    prefixes = sorted({place[0] for place in places.values() if place is not None})
    if not prefixes:
        unknown = unknown_name("linear", next(iter(module.a)), linears[:6])
        raise UsageError(
            f"adapter {module.name!r} of the pool does not fit the model {backbone.name!r}: {unknown}, ..."
        )
    if len(prefixes) > 1:
        raise UsageError(
            f"adapter {module.name!r} changes several encoders ({', '.join(repr(p) for p in prefixes)}), and a pool is "
            "for one"
        )
    names = {path: place[1] for path, place in places.items() if place is not None}
    _check_shapes(module, names, backbone)
    beside = [path for path, place in places.items() if place is None]
    ignored = _ignored(module, beside, prefixes[0], renamed, backbone)
    messages = list(module.messages)
    if absent := _absent(module, linears, names, prefixes[0]):
        messages.append(
            f"its config names linears that its file has no matrices for, and they stay as they are: {absent}"
        )
    if ignored:
        messages.append(f"features do not use, and this leaves out: {_listed(ignored)}")
    return replace(
        module,
        a={name: module.a[path] for path, name in names.items()},
        b={name: module.b[path] for path, name in names.items()},
        rank=max(len(module.a[path]) for path in names),
        others={},
        targets=Targets(),
        messages=tuple(messages),
    )


def unmatched(module: LoraModule) -> LoraModule:
    """The adapter without a model: what lies beside its matrices is named."""
    if not module.others:
        return module
    message = f"beside LoRA it holds {_listed(map(_owner, module.others))}; whether features use it, the model decides"
    return replace(module, others={}, messages=(*module.messages, message))


def _renaming(backbone: "Backbone") -> Callable[[str], str]:
    """Names of earlier versions of transformers as those of this one; the same names where it knows no others."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming

        model: Any = backbone.module
        rules = [rule for rule in get_model_conversion_mapping(model) if isinstance(rule, WeightRenaming)]
    except (ImportError, AttributeError, TypeError):  # not part of its public interface
        return lambda name: name

    def rename(name: str) -> str:
        for rule in rules:
            name = rule.rename_source_key(name)[0]
        return name

    return rename


def _place(path: str, linears: Sequence[str], renamed: Callable[[str], str]) -> tuple[str, str] | None:
    """(what comes before, the backbone's name) for a linear of one of its blocks."""
    known = set(linears)
    for candidate in (path, renamed(path)):
        parts = candidate.split(".")
        for start in range(len(parts)):
            if (name := ".".join(parts[start:])) in known:
                return candidate.removesuffix(name), name
    return None


def _check_shapes(module: LoraModule, names: dict[str, str], backbone: "Backbone") -> None:
    taken: dict[str, str] = {}
    for path, name in names.items():
        if taken.setdefault(name, path) != path:
            raise UsageError(f"adapter {module.name!r} has two changes of {name}: {taken[name]} and {path}")
        shape = tuple(backbone.module.get_parameter(f"{name}.weight").shape)
        given = (module.b[path].shape[0], module.a[path].shape[1])
        if given != shape:
            raise UsageError(
                f"adapter {module.name!r} is for a {path} of shape {given} (out, in), but that of the model "
                f"{backbone.name!r} is {shape}: it was trained on another model"
            )


def _absent(module: LoraModule, linears: Sequence[str], names: dict[str, str], prefix: str) -> str:
    """Linears of the model that the adapter's config names and its file lacks, as those of a file that was cut."""
    if module.targets.modules is None:
        return ""
    there = set(names.values())
    return _listed(n for n in linears if n not in there and module.targets.left_out_by(f"{prefix}{n}") is None)


def _ignored(
    module: LoraModule, beside: Sequence[str], prefix: str, renamed: Callable[[str], str], backbone: "Backbone"
) -> list[str]:
    """Names of the parts of an adapter that features do not use; raises `UsageError` for one that they do."""
    parameters = dict(backbone.module.named_parameters())
    buffers = {name for name, _ in backbone.module.named_buffers()}
    ignored, doubtful = [], {}
    for tensor in (*(f"{path}.lora_A.weight" for path in beside), *module.others):
        shown, names = _owner(tensor), (_parameter(tensor), _parameter(renamed(tensor)))
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        name = next((name for name in inside if name in parameters), inside[0] if inside else None)
        if name is None or (name not in parameters and name.split(".")[0] == _POOLER):
            ignored.append(shown)
            continue
        if name in buffers or (name in parameters and _same(module.others.get(tensor), parameters[name])):
            continue  # a copy of what the model has
        if name not in parameters:
            raise UsageError(
                f"adapter {module.name!r} of the pool does not fit the model {backbone.name!r}: it changes {shown}, "
                "which the model lacks"
            )
        doubtful[name] = shown
    used = _used(backbone, doubtful)
    if wrong := [shown for name, shown in doubtful.items() if name in used]:
        raise UsageError(
            f"adapter {module.name!r} changes {_listed(wrong)}, which the features depend on, by something else than "
            "the LoRA matrices of a linear layer in a Transformer block: train it without (target_modules, "
            "exclude_modules, modules_to_save, bias)"
        )
    return [*ignored, *doubtful.values()]


def _owner(tensor: str) -> str:
    """The module that a tensor of an adapter file changes."""
    for wrapper in _WRAPPERS:
        tensor = tensor.replace(f"{wrapper}.", ".")
    return tensor.split(".lora_")[0] if ".lora_" in tensor else tensor.rpartition(".")[0] or tensor


def _parameter(tensor: str) -> str:
    """The parameter of the model that a tensor of an adapter file changes or replaces."""
    for wrapper in _WRAPPERS:
        tensor = tensor.replace(f"{wrapper}.", ".")
    return f"{tensor.split('.lora_')[0]}.weight" if ".lora_" in tensor else tensor


def _same(values: np.ndarray | None, parameter: Any) -> bool:
    return values is not None and np.array_equal(values, parameter.detach().float().cpu().numpy())


def _used(backbone: "Backbone", names: Iterable[str]) -> set[str]:
    """Those of the model's parameters that its last hidden states, of which features are made, depend on."""
    import torch

    weights = {name: backbone.module.get_parameter(name) for name in names}
    if not weights:
        return set()
    if backbone.kind == "image":
        side, channels = backbone.image_size or 0, getattr(backbone.module.config, "num_channels", 3)
        inputs = {"pixel_values": torch.zeros(1, channels, side, side)}
    else:
        ids = torch.zeros(1, 2, dtype=torch.int64)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with contextlib.ExitStack() as undo, torch.enable_grad():
        for weight in weights.values():
            undo.callback(weight.requires_grad_, weight.requires_grad)
            weight.requires_grad_(True)
        states = backbone.module(**inputs).last_hidden_state
        if not states.requires_grad:
            return set()
        found = torch.autograd.grad(states.sum(), list(weights.values()), allow_unused=True)
    return {name for name, gradient in zip(weights, found, strict=True) if gradient is not None}


def _listed(names: Iterable[str]) -> str:
    """Names in order and without repetition, cut where there are many."""
    unique = sorted(set(names))
    more = f" and {len(unique) - _SHOWN} more" if len(unique) > _SHOWN else ""
    return ", ".join(unique[:_SHOWN]) + more
