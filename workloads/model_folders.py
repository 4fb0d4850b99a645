"""Model folders in Hugging Face format: their configuration and weights, as data alone.

Nothing in a folder is ever run: Python files are not looked at, pickled weights are not read, and nothing is asked for
on the terminal. A configuration is built by transformers' own class for its `model_type`, never by the folder's.
"""

import contextlib
import inspect
import math
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import inputs
from ..errors import UsageError
from ..inputs import NotJsonError
from .families import Pooling, family
from .vision import check_vision_config

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

POOLING_FILE = "1_Pooling/config.json"
_POOLINGS: dict[str, Pooling] = {
    "mean_tokens": "mean",
    "mean": "mean",
    "cls_token": "cls",
    "cls": "cls",
    "lasttoken": "last",
}

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")

# What would make transformers run code of a folder, or fetch some: the values are left out of a configuration.
_RUNNING_CODE = ("auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation", "use_kernels")
_POINTER = b"version https://git-lfs"
HEADER_BYTES = 16 << 20
_ROOM = 10_000_000  # numbers that a model may have beside those of its file: tied weights, tables that are computed
_MOST = {"layer": 1000, "": 1 << 40}  # of whole numbers in config.json, by what is in their key
_FLOATS = ("F64", "F32", "F16", "BF16")
_INDICES = ("I64", "I32", "I16", "BOOL")  # of buffers: position ids and the like
_LEFT_OVER = ("inv_freq", "position_ids", "masked_bias")  # buffers of older versions; computed anew today


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UsageError: there is none, or the file cannot be read.
    """
    try:
        require_content(path)
        content = inputs.read_json(path, finite=False)
    except (OSError, NotJsonError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or one_line(error)}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected an object, found {type(content).__name__}")
    return content


def require_content(path: Path) -> None:
    """Raise `UsageError` for a file that is Git LFS's pointer to what should be there."""
    with inputs.open_file(path, sys.maxsize) as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise UsageError(f"{path} is not the file but Git LFS's pointer to it; fetch the file: git lfs pull")


def read_config(folder: Path) -> "PretrainedConfig":
    """The configuration of any model that transformers knows.

    Raises:
        UsageError: an adapter's folder, a model that needs code of its own, or a quantised one.
        UsageError: no config.json, or a broken one.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    content, path = read_content(folder), folder / "config.json"
    kind = content["model_type"]
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = "; its own code (auto_map) is never run" if "auto_map" in content else ""
        raise UsageError(f"{path}: transformers has no model_type {kind!r}{code}")
    if (quantised := content.get("quantization_config")) is not None:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        raise UsageError(
            f"{folder} holds quantised weights ({method}); cells are programmed from float weights: give the folder "
            "of the model that they were made from"
        )
    _require_sizes(path, content)
    values = {key: value for key, value in content.items() if key not in _RUNNING_CODE}
    try:
        config = CONFIG_MAPPING[kind].from_dict(values)
        config.name_or_path = str(folder)
        return config
    except Exception as error:  # each class checks its values in its own way
        raise UsageError(f"{path}: {one_line(error)}") from error


def read_content(folder: Path) -> dict[str, Any]:
    """What config.json says, with a model_type; no torch.

    Raises:
        UsageError: an adapter's folder, no config.json, or one that does not say what the model is.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise UsageError(f"{folder} holds an adapter, not a model; give its base model, and the folder as a --pool")
        raise UsageError(f"{folder} has no config.json: not a model folder in Hugging Face format")
    path = folder / "config.json"
    content = read_json(path)
    if content.get("model_type") is None:
        raise UsageError(f'{path} does not say what the model is: add a line such as "model_type": "bert"')
    return content


def _require_sizes(path: Path, content: dict[str, Any]) -> None:
    """Raise `UsageError` for whole numbers that no model has, be it in an inner object."""
    for key, value in content.items():
        if isinstance(value, dict):
            _require_sizes(path, value)
            continue
        for number in value if isinstance(value, list) else (value,):
            most = _MOST["layer" if "layer" in key and "token" not in key else ""]
            if isinstance(number, int) and not isinstance(number, bool) and abs(number) > most:
                raise UsageError(f"{path}: {key} is {str(number)[:40]}; at most {most:,} are read")


def folder_pooling(folder: Path) -> Pooling | None:
    """What sentence-transformers' `1_Pooling/config.json` of a folder says; None where there is none.

    Raises:
        UsageError: a pooling that is none of those in `_POOLINGS`, or several at once.
        UsageError: the file is broken.
    """
    path = folder / POOLING_FILE
    if not path.is_file():
        return None
    content = read_json(path)
    named = content.get("pooling_mode")
    modes = [key.removeprefix("pooling_mode_") for key, on in content.items() if key.startswith("pooling_mode_") and on]
    if isinstance(named, str):
        modes = [named]
    elif isinstance(named, list):
        modes = [str(mode) for mode in named]
    found = [_POOLINGS.get(mode) for mode in modes]
    if len(found) != 1 or found[0] is None:
        raise UsageError(
            f"{path}: the features are made by {' and '.join(modes) or 'no pooling'}; allowed is one of "
            f"{', '.join(_POOLINGS)}"
        )
    return found[0]


def runs_code(folder: Path) -> bool:
    """Whether a folder's configuration names code of its own."""
    path = folder / "config.json"
    return path.is_file() and "auto_map" in read_json(path)


def require_encoder(config: "PretrainedConfig", folder: Path) -> None:
    """Raise `UsageError` for a configuration of anything but an encoder of a known family."""
    kind = config.model_type
    entry = family(kind, folder.name)
    if entry.reads == "image":
        check_vision_config(config, folder)
    elif getattr(config, "is_decoder", False) and not entry.counted_only:
        raise UsageError(
            f'{folder}: a {kind!r} model is not a text encoder here, as config.json says "is_decoder": true (its '
            "tokens see only those in front of them); edge-adapt models families lists the encoders"
        )
    elif entry.counted_only:
        raise UsageError(
            f"{folder}: a {kind!r} model is not a text encoder, but a decoder; edge-adapt models families lists the "
            "encoders"
        )


def load_module(folder: Path, config: "PretrainedConfig") -> "nn.Module":
    """The encoder in float32 and eval mode, every number of it from the folder.

    Raises:
        UsageError: quantised weights.
        UsageError: weights that are missing, pickled, broken, not finite, or do not fit the configuration.
    """
    import torch

    _require_weights(folder)
    made, options = base_class(config, encoder=True)
    _require_room(folder, config, made, options)
    try:
        module, info = made.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
            **options,
        )
    except Exception as error:  # safetensors, torch and each model class raise errors of their own
        raise UsageError(f"cannot read the weights in {folder}: {one_line(error)}") from error
    _require_complete(folder, module, info)
    return module.float().eval()


def _require_room(folder: Path, config: "PretrainedConfig", made: Any, options: dict[str, bool]) -> None:
    """Raise `UsageError` where config.json describes a model far larger than its weights, before it is made."""
    import torch

    try:
        with torch.device("meta"):
            module = made(config, **options)
    except Exception as error:  # each model class checks its configuration in its own way
        raise UsageError(f"{folder / 'config.json'}: {one_line(error)}") from error
    described = sum(tensor.numel() for tensor in module.state_dict().values())
    there = sum(size for path in _weight_files(folder) for _, size in _tensors(path).values())
    if described > 2 * there + _ROOM:
        raise UsageError(
            f"the weights in {folder} have {there:,} numbers, and config.json describes a model of {described:,}"
        )


def base_class(config: "PretrainedConfig", encoder: bool = False) -> tuple[Any, dict[str, bool]]:
    """transformers' class for a configuration, without a head, and what it is made with: no pooler where that can be
    left out, as features do not use it. The class is None where there is none. `encoder`: without a decoder.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    entry = family(config.model_type, str(config.name_or_path))
    for key, value in entry.settings.items():
        setattr(config, key, value)
    own = entry.made_by if encoder else ""
    made: Any = getattr(transformers, own) if own else MODEL_MAPPING.get(type(config), None)
    made = made[0] if isinstance(made, tuple) else made
    pooler = made is not None and "add_pooling_layer" in inspect.signature(made).parameters
    return made, {"add_pooling_layer": False} if pooler else {}


def _require_weights(folder: Path) -> None:
    """Raise for a folder without safetensors, or with numbers in them that are no floats."""
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"{folder} holds a model and an adapter (adapter_config.json); move the adapter to a folder of its own and "
            "give that as a --pool"
        )
    if not any((folder / name).is_file() for name in WEIGHTS):
        pickled = [name for name in PICKLED if (folder / name).is_file()]
        found = f"{pickled[0]} is pickled, and " if pickled else ""
        raise UsageError(
            f"{folder} has no {WEIGHTS[0]} or other *.safetensors weights; {found}pickled weights are not loaded, as "
            "they can run code: convert them with transformers' save_pretrained where you trust them"
        )
    for path in _weight_files(folder):
        for name, (kind, _) in _tensors(path).items():
            if kind not in (*_FLOATS, *_INDICES):
                raise UsageError(
                    f"{path}: {name} is quantised ({kind}); cells are programmed from float weights: give the folder "
                    "of the model that they were made from"
                )


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        UsageError: the index is broken, names a file that is not there, or one outside the folder.
    """
    single, index = (folder / name for name in WEIGHTS)
    if single.is_file():
        return [single]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UsageError(f"{index} has no weight_map of file names")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name:
            raise UsageError(f"{index} names {name!r}, which is no file of the folder")
        if not (folder / name).is_file():
            raise UsageError(f"cannot read the weights in {folder}: {name}, which {index.name} names, is not there")
    return [folder / name for name in names]


def _tensors(path: Path) -> dict[str, tuple[str, int]]:
    """Type and size (in numbers) of every tensor of a file, by name: its header alone is read."""
    from safetensors import safe_open

    require_content(path)
    try:
        with inputs.open_file(path, sys.maxsize) as raw:
            length = int.from_bytes(raw.read(8), "little")
        if length > HEADER_BYTES:
            raise ValueError(f"its header has {length} bytes, more than {HEADER_BYTES}")
        with safe_open(str(path), framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (one.get_dtype(), math.prod(one.get_shape())) for name, one in slices.items()}
    except Exception as error:  # safetensors raises errors of its own
        raise UsageError(f"cannot read the weights in {path.parent}: {path.name}: {one_line(error)}") from error


def _require_complete(folder: Path, module: "nn.Module", info: dict[str, Any]) -> None:
    """Raise `UsageError` unless every number of the encoder came from the folder, fits it, and is finite.

    What is missing of a pooler, which features do not use, becomes zero: a model is then the same each time.
    """
    import torch

    mismatched = sorted((str(name), tuple(there), tuple(here)) for name, there, here in info.get("mismatched_keys", ()))
    if mismatched:
        name, there, here = mismatched[0]
        more = f", and {len(mismatched) - 1} more" if len(mismatched) > 1 else ""
        raise UsageError(
            f"the weights in {folder} have another shape for {name}: {list(there)}, and config.json makes it "
            f"{list(here)}{more}"
        )
    missing = set(info["missing_keys"])
    if absent := sorted(name for name in missing if not _of_pooler(name)):
        raise UsageError(f"the weights in {folder} lack {_some(absent)}")
    if left := sorted(name for name in info.get("unexpected_keys", ()) if _of_blocks(name, module)):
        raise UsageError(f"the weights in {folder} hold what config.json has no place for: {_some(left)}")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in missing:
                parameter.zero_()
            if not bool(torch.isfinite(parameter).all()):
                raise UsageError(f"the weights in {folder} are not finite numbers: {name} holds NaN or infinity")


def _of_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def _of_blocks(name: str, module: "nn.Module") -> bool:
    """Whether the name of a tensor lies in a numbered list of the encoder, with or without the prefix of a head's
    model.
    """
    from torch import nn

    if name.endswith(_LEFT_OVER):
        return False
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    lists = [path for path, child in module.named_modules() if isinstance(child, nn.ModuleList)]
    return any(name.removeprefix(prefix).startswith(f"{path}.") for path in lists)


def _some(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:3])
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and load reports of transformers; its settings are put back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """The words of an error of another library, in one line."""
    words = " ".join(str(error).split())[:300]
    return f"nothing is known by the name {words}" if isinstance(error, KeyError) else words or type(error).__name__
