"""Shapes of models by name: shipped ones, YAML files, and model folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import yamlfile
from ..errors import UsageError, unknown_name
from ..inputs import near_file
from ..paths import expanded
from .shapes import ROLES, BlockShape, LinearShape, ModelShape

_FOLDER = Path(__file__).parent / "shapes"
_OPTIONAL = {"bias": bool, "norms_outside": int, "patch_weights": int, "chained": bool}


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
        raise UsageError(f"model shape file {given} does not exist{near_file(path)}")
    place = yamlfile.read(path, "it needs title, source, hidden_size and groups")
    raw = place.plain()
    keys = {"title": str, "source": str, "hidden_size": int, "groups": list}
    fields = _checked(raw, f"{path}", keys, optional=_OPTIONAL)
    bias = fields.get("bias", True)
    groups = [_group(group, f"{path}, groups[{index}]", bias) for index, group in enumerate(fields["groups"])]
    _refuse_shared_names(groups, place)
    blocks = tuple(block for group in groups for block in group)
    hidden_size = _positive(fields, "hidden_size", str(path))
    outside = _positive({"norms_outside": 1, **fields}, "norms_outside", str(path))
    patches = _positive(fields, "patch_weights", str(path)) if "patch_weights" in fields else 0
    return ModelShape(
        path.stem, fields["title"], fields["source"], hidden_size, blocks, outside, bias, patches,
        chained=fields.get("chained", False),
    )  # fmt: skip


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


def _refuse_shared_names(groups: Sequence[Sequence[BlockShape]], place: yamlfile.Place) -> None:
    """Refuse linears of one name, of which only the last would be counted where counts go by name."""
    keys = [group.mapping("a group")["path"][0] for group in place.mapping("the file")["groups"][1].items("groups")]
    first: dict[str, yamlfile.Place] = {}
    for key, group in zip(keys, groups, strict=True):
        for name in (linear.name for block in group for linear in block.linears):
            other = first.setdefault(name, key)
            if other is not key:
                key.fail(
                    f"{name!r} is there already, by the path in line {other.line}; "
                    "give the blocks of each group a path of their own"
                )
        if len({block.name for block in group}) < len(group):
            key.fail(f"the blocks of the group all have the path {group[0].name!r}; put {{i}}, their number, in it")


def _linear(block: str, name: str, raw: object, where: str, bias: bool) -> LinearShape:
    where = f"{where}, {name}"
    fields = _checked(raw, where, {"role": str, "out": int, "in": int})
    if fields["role"] not in ROLES:
        raise UsageError(f"model shape {where}: {unknown_name('role', fields['role'], ROLES)}")
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
