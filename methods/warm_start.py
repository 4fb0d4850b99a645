"""Starting from a state that was trained on other tasks.

Song et al., "PVP: Pre-trained Visual Parameter-Efficient Tuning", arXiv:2304.13639: the few numbers that a method
trains are first trained on data that is plentiful, with the model frozen, and every task starts from there. The head
belongs to a task's classes and is not taken over.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import EdgeAdaptError, UsageError
from ..inputs import STATE_BYTES, require_file
from ..paths import expanded
from .base import Adaptation

HEAD = "head."


def save(adaptation: Adaptation, path: str | Path) -> None:
    """Write the state without the head as safetensors, by its names, with the method's name in the metadata.

    A bundle's `initial.safetensors` has the same form. Raises `EdgeAdaptError` when the file cannot be written.
    """
    state = {name: value.contiguous() for name, value in own_state(adaptation).items()}
    target = expanded(path)
    temporary = target.with_name(f".tmp-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, temporary, metadata={"method": adaptation.method})
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        raise EdgeAdaptError(f"cannot write {target}: {error}") from error


def own_state(adaptation: Adaptation) -> dict[str, torch.Tensor]:
    """A copy of the state by name, without the head."""
    return {name: value for name, value in adaptation.state_dict().items() if not name.startswith(HEAD)}


def load(adaptation: Adaptation, path: str | Path) -> None:
    """Set the state, all but the head, to that of a file; what the file says of a head is passed over.

    Raises:
        UsageError: no such file, or one of another method, model or pool: its names or shapes differ.
        EdgeAdaptError: the file is broken, or holds numbers that are not finite.
    """
    file = expanded(path)
    head = {name: value for name, value in adaptation.state_dict().items() if name.startswith(HEAD)}
    try:
        require_file(file, STATE_BYTES)
        with safe_open(file, framework="pt") as content:
            made_by = _made_by(content.metadata() or {})
            names = [name for name in content.keys() if not name.startswith(HEAD)]  # noqa: SIM118 - no mapping
            shapes = {name: tuple(content.get_slice(name).get_shape()) for name in names}
            adaptation.require_shapes(shapes | {name: tuple(value.shape) for name, value in head.items()})
            found = {name: content.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise UsageError(f"warm start {path}: no such file") from None
    except (SafetensorError, OSError) as error:
        said = getattr(error, "strerror", None) or error
        raise EdgeAdaptError(f"warm start {path} cannot be read: {said}") from error
    except UsageError as error:
        raise UsageError(f"warm start {path}{made_by}: {error}") from error
    adaptation.load_state_dict(found | head)
    for name, value in found.items():
        if not torch.isfinite(value).all():
            raise EdgeAdaptError(f"warm start {path}: {name} holds numbers that are not finite")


def _made_by(metadata: Mapping[str, str]) -> str:
    return f" (it was written by {metadata['method'][:60]})" if "method" in metadata else ""
