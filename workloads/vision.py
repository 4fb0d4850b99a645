"""Vision Transformers: ViT and DINOv2 folders of Hugging Face, and a DINOv2 that was published as an ONNX file.

The table of positions is resized once, when the model is loaded, to the grid of patches that it will see (bicubic, as
DINOv2 does it: Oquab et al., TMLR 2024, arXiv:2304.07193), so that inputs may be smaller than those of the training.
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, require
from ..inputs import read_bytes, read_json
from .families import family
from .images import IMAGENET_DEVIATION, IMAGENET_MEAN, ImageReader

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig

ONNX_BYTES = 256 << 20
"""No ONNX file that is read here is longer, and what it refers to outside itself is not followed."""
_BACKBONE = "backbone."
_HIDDEN_PER_HEAD = 64  # of every DINOv2
_CURRENT_NAMES = (  # names of the published graph -> of the transformers that is pinned
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)


def read_onnx_dinov2(path: Path) -> "nn.Module":
    """A DINOv2 from the initialisers of an ONNX graph that holds one as `backbone.*`; whatever else it holds is left.

    The matrices have no names of their own there: a matrix is known by the `MatMul` that takes it, and is transposed.
    The table of positions are the two constants that the position code joins: that of [CLS], and those of the grid.

    Raises:
        UsageError: the file cannot be read, or holds another model.
    """
    require("onnx")
    import onnx
    import torch
    from onnx import numpy_helper

    try:
        graph = onnx.load_model_from_string(read_bytes(path, ONNX_BYTES)).graph
    except Exception as error:  # protobuf raises errors of its own
        raise UsageError(f"{path} cannot be read as an ONNX file: {type(error).__name__}") from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    array = lambda name: torch.from_numpy(numpy_helper.to_array(values[name]).copy())
    state: dict[str, Tensor] = {
        name.removeprefix(_BACKBONE): array(name) for name in values if name.startswith(_BACKBONE)
    }
    places: dict[tuple[int, ...], str] = {}
    for node in graph.node:
        given = [name for name in node.input if name in values and not name.startswith(_BACKBONE)]
        if node.op_type == "MatMul" and given and node.name.startswith(f"/{_BACKBONE[:-1]}/"):
            owner = node.name.removeprefix(f"/{_BACKBONE[:-1]}/").removesuffix("/MatMul").replace("/", ".")
            state[f"{owner}.weight"] = array(given[0]).T.contiguous()
        elif node.name.startswith(f"/{_BACKBONE[:-1]}/embeddings/"):
            places |= {tuple(values[name].dims): name for name in given}
    tables = sorted((shape, name) for shape, name in places.items() if len(shape) == 3)
    try:
        state["embeddings.position_embeddings"] = torch.cat([array(name) for _, name in tables], 1)
        return _build_dinov2(state)
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        raise UsageError(f"{path} does not hold a DINOv2: {(str(error).splitlines() or [''])[0]}") from error


def _build_dinov2(state: "dict[str, Tensor]") -> "nn.Module":
    """The module that fits the shapes of a state with the published graph's names."""
    from transformers import Dinov2Config, Dinov2Model

    patches = state["embeddings.patch_embeddings.projection.weight"]
    width, channels, _, patch = patches.shape
    grid = math.isqrt(state["embeddings.position_embeddings"].shape[1] - 1)
    layers = {int(found[1]) for name in state if (found := re.match(r"encoder\.layer\.(\d+)\.", name))}
    inner = state["encoder.layer.0.mlp.fc1.bias"].shape[0]
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // _HIDDEN_PER_HEAD,
        mlp_ratio=inner // width,
        image_size=grid * patch,
        patch_size=patch,
        num_channels=channels,
        use_mask_token=False,
    )
    module = Dinov2Model(config)
    module.load_state_dict({_current_name(name): tensor for name, tensor in state.items()})
    return module.eval()


def _current_name(name: str) -> str:
    for old, new in _CURRENT_NAMES:
        name = name.replace(old, new)
    return name


def check_vision_config(config: "PretrainedConfig", folder: Path) -> None:
    """Raise `UsageError` for a model of images other than squares of three colours."""
    if config.num_channels != 3:
        raise UsageError(f"{folder}: the model takes images of {config.num_channels} channels; allowed are 3 (colour)")
    for key in ("image_size", "patch_size"):
        value = getattr(config, key)
        sides = set(value) if isinstance(value, list | tuple) else {value}
        if len(sides) != 1:
            raise UsageError(f"{folder}: {key} of the model is {list(value)}; allowed are squares")


def image_reader(folder: Path, module: "nn.Module", side: int, front: int) -> ImageReader:
    """What the model does to images: from `preprocessor_config.json`, else with ImageNet's mean and deviation. `front`:
    tokens in front of the patches.
    """
    config: Any = module.config
    patch = _first(config.patch_size)
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return ImageReader(side, patch, IMAGENET_MEAN, IMAGENET_DEVIATION, front=front)
    try:
        given = read_json(path)
        if not isinstance(given, dict):
            raise ValueError("expected an object")
        mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if _flag(given, "do_normalize"):
            mean, deviation = _colours(given, "image_mean", -1000), _colours(given, "image_std", 1e-6)
        scale = _number(given, "rescale_factor", 1 / 255) if _flag(given, "do_rescale") else 1.0
        if not math.isclose(scale, 1 / 255, rel_tol=1e-4):
            raise ValueError(f"pixels times {scale:g}; here they are divided by 255")
        resample = given.get("resample", 3)
        if isinstance(resample, bool) or resample not in range(6):
            raise ValueError(f"resample is {str(resample)[:40]!r}; filters of Pillow are 0 to 5")
        return ImageReader(side, patch, mean, deviation, int(resample), front)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not usable: {getattr(error, 'strerror', None) or error}") from error


def _colours(given: dict[str, Any], key: str, least: float) -> tuple[float, float, float]:
    """A number for each of three colours. Raises `ValueError`."""
    value = given.get(key)
    numbers = [n for n in value if _is_number(n) and least <= n <= 1000] if isinstance(value, list) else []
    if not isinstance(value, list) or len(value) != 3 or len(numbers) != 3:
        said = "missing" if key not in given else str(value)[:60]
        raise ValueError(f"{key} must be numbers of three colours from {least:g} to 1000; it is {said}")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _flag(given: dict[str, Any], key: str) -> bool:
    value = given.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {str(value)[:40]!r}")
    return value is not False


def _number(given: dict[str, Any], key: str, usual: float) -> float:
    value = given.get(key, usual)
    if not _is_number(value):
        raise ValueError(f"{key} must be a number, not {str(value)[:40]!r}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def native_side(module: "nn.Module") -> int:
    """Pixels on a side of the images that a model takes."""
    config: Any = module.config
    return _first(config.image_size)


def _first(size: Any) -> int:
    """A size that is given as a number, or as height and width."""
    return int(size[0] if isinstance(size, tuple | list) else size)


def resize_positions(module: "nn.Module", reader: ImageReader, fixed: bool = False) -> None:
    """Let the model take squares of `reader.side` pixels: its table of positions is resized to their grid. `fixed`: it
    has biases for pairs of tokens, which are not resized.

    Raises:
        UsageError: another size than that of its training, for a model with such biases.
    """
    import torch
    from torch import nn

    config: Any = module.config
    smooth = family(config.model_type, str(config.name_or_path)).smooth
    embeddings: Any = module.get_submodule("embeddings")
    before, after = native_side(module) // reader.patch, reader.side // reader.patch
    if after != before and fixed:
        raise UsageError(f"this model has biases for images of {native_side(module)} pixels alone: give no other size")
    named = getattr(embeddings, "position_embeddings", None)
    table = named if named is not None else getattr(embeddings, "position_embedding", None)
    if after != before and table is not None:
        rows = table.weight.detach()[None] if isinstance(table, nn.Embedding) else table.detach()
        front = rows.shape[1] - before**2
        grid = rows[:, front:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(
            grid, size=(after, after), mode="bicubic", align_corners=False, antialias=smooth
        )
        grid = grid.permute(0, 2, 3, 1).reshape(1, after**2, -1)
        resized = torch.cat([rows[:, :front], grid], 1)
        if isinstance(table, nn.Embedding):
            embeddings.position_embedding = nn.Embedding.from_pretrained(resized[0])
            embeddings.position_ids = torch.arange(resized.shape[1]).expand((1, -1))
        else:
            embeddings.position_embeddings = nn.Parameter(resized)
    owners: list[Any] = [embeddings, getattr(embeddings, "patch_embeddings", None)]
    for owner in owners:
        if hasattr(owner, "image_size"):
            given = owner.image_size
            owner.image_size = (reader.side, reader.side) if isinstance(given, tuple | list) else reader.side
        if hasattr(owner, "num_patches"):
            owner.num_patches = after**2
    config.image_size = reader.side
