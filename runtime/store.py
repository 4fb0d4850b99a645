"""The state of a bundle on disk: two slots of which the newest valid one counts, and a short history.

A save goes to the other slot, so that at any instant one complete state is readable. Former states are kept in
`state/history/`, one when a run replaces it; the oldest go first.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import EdgeAdaptError, UsageError
from .files import DISK, Disk, Lock, write_durably
from .manifest import INITIAL_STATE, STATE_FOLDER, BundleError, Manifest
from .state import CURRENT, DamagedStateError, Header, Owner, Snapshot, decode, encode, prefixed

SLOTS = ("a", "b")
KEPT_STATES = 8
KEPT_BYTES = 64 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlotView:
    """What lies in a slot file: a snapshot, or why there is none."""

    name: str
    snapshot: Snapshot | None
    problem: str = ""


class StateStore:
    """Reads and writes the slots of one bundle. Reading needs no lock, writing takes it first (`lock`)."""

    def __init__(self, folder: Path, manifest: Manifest, disk: Disk = DISK) -> None:
        self.bundle = folder
        self.manifest = manifest
        self.owner = Owner.of(manifest)
        self.folder = folder / STATE_FOLDER
        self.disk = disk
        self._lock: Lock | None = None
        self._counters: dict[str, int] | None = None

    def lock(self) -> None:
        """Become the only writer. Raises `EdgeAdaptError` when another process is."""
        if self._lock is None:
            self._lock = Lock(self.folder / "lock")

    @property
    def locked(self) -> bool:
        """Whether this store is the writer."""
        return self._lock is not None

    def release(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = self._counters = None

    def initial(self) -> Snapshot:
        """The state as exported."""
        try:
            tensors = load_file(self.bundle / INITIAL_STATE)
        except (OSError, SafetensorError) as error:
            said = getattr(error, "strerror", None) or error
            raise BundleError(f"{self.bundle / INITIAL_STATE} cannot be read: {said}; copy the bundle again") from error
        wanted = {tensor.name: tensor.shape for tensor in self.manifest.state}
        if {name: value.shape for name, value in tensors.items()} != wanted:
            raise BundleError(f"{self.bundle / INITIAL_STATE} does not hold the tensors that the manifest names")
        return Snapshot(Header(self.owner), prefixed(CURRENT, tensors))

    def views(self) -> list[SlotView]:
        """Both slots as they are now."""
        return [self._view(name) for name in SLOTS]

    def read(self) -> Snapshot:
        """The newest valid state. A damaged slot is said in the log.

        Raises:
            BundleError: no slot is valid, or one belongs to another bundle or a newer version.
        """
        views = self.views()
        valid = [view.snapshot for view in views if view.snapshot is not None]
        if not valid:
            problems = "; ".join(f"{self.folder / view.name}: {view.problem}" for view in views)
            raise BundleError(
                f"no state can be read ({problems}); `edge-adapt state reset` goes back to the exported state, "
                "`edge-adapt state rollback` to one of the history"
            )
        newest = max(valid, key=lambda snapshot: snapshot.header.counter)
        for view in views:
            if view.snapshot is None and (self.folder / view.name).exists():
                log.warning(
                    "%s is damaged (%s); going on from the other slot, counter %d",
                    self.folder / view.name, view.problem, newest.header.counter,
                )  # fmt: skip
        return newest

    def save(self, snapshot: Snapshot) -> Snapshot:
        """Make `snapshot` the newest state; returns it with the counter and time it was given.

        When this raises `EdgeAdaptError`, the state is the former one or the new one, complete in either case.
        """
        if self._lock is None:
            raise RuntimeError("lock the store before writing")
        counters = self._counters or {
            view.name: -1 if view.snapshot is None else view.snapshot.header.counter for view in self.views()
        }
        self._counters = None  # a save that fails may have been made all the same: look again
        counter = max(*counters.values(), self._last_kept()) + 1
        stamped = replace(snapshot.header, owner=self.owner, counter=counter, saved_unix_seconds=round(time.time(), 3))
        saved = Snapshot(stamped, snapshot.tensors)
        older = min(SLOTS, key=counters.__getitem__)
        write_durably(self.folder / older, encode(saved), self.disk)
        self._counters = {**counters, older: counter}
        return saved

    def keep(self, snapshot: Snapshot) -> None:
        """Put the current state of `snapshot` into the history, under its counter; the oldest make room."""
        content = encode(snapshot.alone())
        path = self.folder / "history" / f"{snapshot.header.counter:06d}"
        others = [other for other in self._kept_paths() if other != path]
        room = KEPT_BYTES - len(content)
        for age, other in enumerate(reversed(others)):
            room -= other.stat().st_size
            if age >= KEPT_STATES - 1 or room < 0:
                try:
                    self.disk.remove(other)
                except OSError as error:
                    raise EdgeAdaptError(f"{other} cannot be removed: {error.strerror}") from error
        write_durably(path, content, self.disk)

    def history(self) -> list[Snapshot]:
        """The kept states, oldest first, then the exported one in front of all. Damaged ones are said and left out."""
        found = [self.initial()]
        for path in self._kept_paths():
            try:
                found.append(self._mine(decode(path.read_bytes()), path))
            except (DamagedStateError, OSError) as error:
                log.warning("%s is left out: %s", path, error)
        return found

    def roll_back(self, counter: int | None = None) -> Snapshot:
        """Make a state of the history current again, by default the newest that is not current now.

        Raises:
            UsageError: there is no such state, or none before the current one.
        """
        kept = {snapshot.header.counter: snapshot for snapshot in self.history()}
        try:
            current = self.read()
        except BundleError:
            current = None
        if counter is None:
            unlike = [s for s in kept.values() if current is None or not same_state(s, current)]
            if not unlike:
                raise UsageError("there is no former state to go back to")
            chosen = max(unlike, key=lambda snapshot: snapshot.header.counter)
        elif counter in kept:
            chosen = kept[counter]
        else:
            raise UsageError(f"no state {counter} is kept; there are: {', '.join(map(str, sorted(kept)))}")
        note = f"rolled back to {chosen.header.counter}"
        return self.replace_current(current, Snapshot(replace(chosen.header, note=note), chosen.tensors))

    def reset(self) -> Snapshot:
        """Make the exported state current again. What is in the slots may be damaged."""
        try:
            current = self.read()
        except BundleError:
            current = None
        initial = self.initial()
        return self.replace_current(current, Snapshot(replace(initial.header, note="reset"), initial.tensors))

    def replace_current(self, former: Snapshot | None, new: Snapshot) -> Snapshot:
        """Keep `former` in the history, then save `new`."""
        if former is not None and former.header.step > 0:
            self.keep(former)
        return self.save(new)

    def _view(self, name: str) -> SlotView:
        path = self.folder / name
        try:
            return SlotView(name, self._mine(decode(path.read_bytes()), path))
        except FileNotFoundError:
            return SlotView(name, None, "is not there")
        except OSError as error:
            return SlotView(name, None, f"cannot be read: {error.strerror}")
        except DamagedStateError as error:
            return SlotView(name, None, str(error))

    def _mine(self, snapshot: Snapshot, path: Path) -> Snapshot:
        owner = snapshot.header.owner
        if owner != self.owner:
            given, mine = (f"{o.model}, {o.method}, manifest {o.bundle[:12]}" for o in (owner, self.owner))
            raise BundleError(f"{path} belongs to another bundle ({given}), not to this one ({mine}); take it away")
        return snapshot

    def _kept_paths(self) -> list[Path]:
        return sorted(path for path in (self.folder / "history").glob("*") if path.name.isdigit())

    def _last_kept(self) -> int:
        kept = self._kept_paths()
        return int(kept[-1].name) if kept else -1


def same_state(a: Snapshot, b: Snapshot) -> bool:
    """Whether the current tensors of two snapshots have the same bytes."""
    left, right = a.part(CURRENT), b.part(CURRENT)
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def create_state(folder: Path, manifest: Manifest) -> None:
    """Give a new bundle its first slot, `state/a`, with the exported state; called after the manifest is written."""
    store = StateStore(folder, manifest)
    write_durably(store.folder / SLOTS[0], encode(store.initial()))
