"""Which folders below a path are adapters: every layout that `save_pretrained` and a trainer leave on a disk.

An adapter folder may hold further adapters in sub-folders (peft writes one for each adapter that is not called
"default") and the checkpoints of its training. What is not taken is named.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .peft_config import CONFIG_FILE
from .peft_folder import is_adapter_folder

_DEPTH = 3  # a pool, a run in it, the adapter that peft put into a sub-folder of the run
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LITTER = {"__MACOSX", "__pycache__"}


@dataclass(frozen=True)
class Found:
    """Adapter folders in the order of their names, and what the reader should know about the others."""

    folders: tuple[Path, ...]
    messages: tuple[str, ...] = ()


def adapter_folders(path: Path) -> Found:
    """The adapters in `path`, which is one adapter, a folder of adapters, or both.

    Of a training run the checkpoints are left out where there is anything else; where there is one checkpoint and
    nothing else, it is taken.

    Raises:
        UsageError: no such folder, no adapter in it, weights without their config, a link to nothing, or several
            checkpoints of one run and nothing else.
    """
    if path.is_file():
        raise UsageError(f"pool {path} is a file; give the folder of the adapter, or a folder of adapters")
    if not path.is_dir():
        raise UsageError(f"pool {path}: no such folder")
    found = _walk(path, _DEPTH)
    for folder in found.folders:
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in str(folder)):  # control, or no text at all
            raise UsageError(f"pool: the folder name {str(folder)!r} holds signs that no report can; rename it")
    if not found.folders:
        raise UsageError(f"pool {path}: neither an adapter ({CONFIG_FILE}) nor a folder of adapters")
    return found


def _walk(folder: Path, depth: int) -> Found:
    """The adapters in a folder and down to `depth` folders below it."""
    here = is_adapter_folder(folder)
    if not here and (weights := sorted(folder.glob("adapter_model*.*"))):
        raise UsageError(
            f"pool {folder.parent}: {folder} holds {weights[0].name} but no {CONFIG_FILE}: put that file back, or take "
            "the folder out of the pool"
        )
    inside = {child: _walk(child, depth - 1) for child in _children(folder)} if depth else {}
    full = {child: found for child, found in inside.items() if found.folders}
    checkpoints = sorted((c for c in full if _CHECKPOINT.fullmatch(c.name)), key=lambda c: int(c.name.split("-")[1]))
    kept = {child: found for child, found in full.items() if child not in checkpoints}
    if checkpoints and not here and not kept:
        if len(checkpoints) > 1:
            names = ", ".join(child.name for child in checkpoints)
            raise UsageError(
                f"pool {folder}: {len(checkpoints)} checkpoints of one training run ({names}) and no finished adapter; "
                f"give the one that you mean, e.g. {checkpoints[-1]}"
            )
        kept, checkpoints = full, []
    messages = [message for found in kept.values() for message in found.messages]
    if here and kept:
        names = ", ".join(str(item.relative_to(folder)) for found in kept.values() for item in found.folders)
        messages.append(f"{folder} is an adapter and holds others, which are in the pool too: {names}")
    if checkpoints:
        messages.append(f"checkpoints in {folder} are left out: {', '.join(child.name for child in checkpoints)}")
    if kept and not here and (empty := [child.name for child in inside if child not in full]):
        messages.append(f"folders in {folder} without an adapter: {', '.join(empty)}")
    folders = [item for found in kept.values() for item in found.folders]
    return Found((*([folder] if here else []), *folders), tuple(messages))


def _children(folder: Path) -> list[Path]:
    """Sub-folders, without hidden ones and the litter of other programs. Raises for a link that leads nowhere."""
    items = sorted(item for item in folder.iterdir() if not item.name.startswith(".") and item.name not in _LITTER)
    for item in items:
        if item.is_symlink() and not item.exists():
            raise UsageError(f"pool {folder}: {item} is a link to {item.readlink()}, which is not there")
    above = {folder.resolve(), *folder.resolve().parents}
    return [item for item in items if item.is_dir() and item.resolve() not in above]
