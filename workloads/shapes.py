"""Shapes of the linear layers of well-known Transformers: enough to count parameters and cells without any weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .. import yamlfile
from ..errors import UsageError, unknown_name
from ..paths import expanded

Role = Literal["query", "key", "value", "attention_output", "ffn_gate", "ffn_up", "ffn_down"]
"""What a linear layer does in its block. Cross-attention has the same roles as self-attention."""

_FOLDER = Path(__file__).parent / "shapes"
_ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class LinearShape:
    """A linear layer: `name` is its module path in transformers' base model, its weight is (out, in)."""

    name: str
    role: Role
    out_features: int
    in_features: int
    bias: bool


@dataclass(frozen=True)
class BlockShape:
    """A Transformer block, its linear layers, and the number of its norms (LayerNorm or RMSNorm)."""

    name: str
    linears: tuple[LinearShape, ...]
    norms: int = 2


@dataclass(frozen=True)
class NormShape:
    """A norm: `name` is its module path; its gain has `width` numbers, and its bias, where it has one, too."""

    name: str
    width: int
    bias: bool


@dataclass(frozen=True)
class ModelShape:
    """The Transformer blocks of a model, encoder first. Embeddings and heads are not part of it.

    `norms_outside` are the norms of the embeddings and behind the last block; `norm_bias`: norms add a bias
    (LayerNorm), or only scale (RMSNorm). Every norm has the width `hidden_size`. `named_norms`: all of them, where
    their paths are known; these hold then. `patch_weights`: numbers in the
    projection of an image's patches; 0 for texts. `max_tokens`: longest input, where it is limited and known.
    """

    name: str
    title: str
    source: str
    hidden_size: int
    blocks: tuple[BlockShape, ...]
    norms_outside: int = 1
    norm_bias: bool = True
    patch_weights: int = 0
    max_tokens: int | None = None
    named_norms: tuple[NormShape, ...] | None = None

    @property
    def linears(self) -> tuple[LinearShape, ...]:
        """The linear layers of all blocks."""
        return tuple(linear for block in self.blocks for linear in block.linears)

    @property
    def norms(self) -> int:
        """Norms of all blocks and beside them."""
        return sum(block.norms for block in self.blocks) + self.norms_outside

    @property
    def norm_shapes(self) -> tuple[NormShape, ...]:
        """Every norm; where paths are not known, with names made up."""
        if self.named_norms is not None:
            return self.named_norms
        names = [f"{block.name}.norms.{index}" for block in self.blocks for index in range(block.norms)]
        names += [f"norms.{index}" for index in range(self.norms_outside)]
        return tuple(NormShape(name, self.hidden_size, self.norm_bias) for name in names)

    @property
    def weights(self) -> int:
        """Numbers in the weight matrices of all blocks."""
        return sum(linear.out_features * linear.in_features for linear in self.linears)


def list_shapes() -> list[str]:
    """Names of the shipped shapes."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_shape(name_or_path: str | Path) -> ModelShape:
    """Load a shipped shape by name, a YAML file of the same layout by path, or that of a Hugging Face model folder.

    Raises:
        UsageError: no such shape, a key or value of the file is wrong, or the folder's model cannot be counted.
        EdgeAdaptError: the folder has no config.json, or a broken one.
    """
    given = str(name_or_path)
    if given not in list_shapes() and expanded(given).is_dir():
        from .folder_shapes import folder_shape  # needs transformers

        return folder_shape(expanded(given))
    path = expanded(given) if given.endswith((".yaml", ".yml")) else _FOLDER / f"{given}.yaml"
    if not path.is_file():
        if path.parent == _FOLDER:
            raise UsageError(
                f"{unknown_name('model shape', given, list_shapes())}; or give a .yaml file, or a model folder"
            )
        raise UsageError(f"model shape file {given} does not exist")
    raw = yamlfile.read(path, "it needs title, source, hidden_size and groups").plain()
    keys = {"title": str, "source": str, "hidden_size": int, "groups": list}
    fields = _checked(raw, f"{path}", keys, optional={"bias": bool, "norms_outside": int, "patch_weights": int})
    bias = fields.get("bias", True)
    groups = enumerate(fields["groups"])
    blocks = tuple(block for index, group in groups for block in _group(group, f"{path}, groups[{index}]", bias))
    hidden_size = _positive(fields, "hidden_size", str(path))
    outside = _positive({"norms_outside": 1, **fields}, "norms_outside", str(path))
    patches = _positive(fields, "patch_weights", str(path)) if "patch_weights" in fields else 0
    return ModelShape(path.stem, fields["title"], fields["source"], hidden_size, blocks, outside, bias, patches)


def _group(raw: object, where: str, bias: bool) -> list[BlockShape]:
    """`repeat` blocks of the same linears; `{i}` in the path is the number of the block in its group."""
    fields = _checked(raw, where, {"repeat": int, "path": str, "linears": dict}, optional={"norms": int})
    norms = _positive({"norms": 2, **fields}, "norms", where)
    blocks = []
    for index in range(_positive(fields, "repeat", where)):
        path = fields["path"].replace("{i}", str(index))
        linears = [_linear(path, name, linear, where, bias) for name, linear in fields["linears"].items()]
        blocks.append(BlockShape(path, tuple(linears), norms))
    return blocks


def _linear(block: str, name: str, raw: object, where: str, bias: bool) -> LinearShape:
    where = f"{where}, {name}"
    fields = _checked(raw, where, {"role": str, "out": int, "in": int})
    if fields["role"] not in _ROLES:
        raise UsageError(f"model shape {where}: {unknown_name('role', fields['role'], _ROLES)}")
    return LinearShape(
        f"{block}.{name}", fields["role"], _positive(fields, "out", where), _positive(fields, "in", where), bias
    )


def _positive(fields: Mapping[str, Any], key: str, where: str) -> int:
    if fields[key] < 1:
        raise UsageError(f"model shape {where}: {key} must be at least 1, not {fields[key]}")
    return fields[key]


def _checked(
    raw: object, where: str, required: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """`raw` as a mapping with exactly these keys, each of its type."""
    if not isinstance(raw, dict):
        raise UsageError(f"model shape {where}: expected keys and values, found {type(raw).__name__}")
    known = {**required, **(optional or {})}
    for key, value in raw.items():
        if key not in known:
            raise UsageError(f"model shape {where}: {unknown_name('key', key, known)}")
        if type(value) is not known[key]:
            raise UsageError(f"model shape {where}: {key} must be {known[key].__name__}, not {value!r}")
    missing = [key for key in required if key not in raw]
    if missing:
        raise UsageError(f"model shape {where}: the key {missing[0]!r} is missing")
    return raw
