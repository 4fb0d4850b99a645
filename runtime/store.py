"""The state of a bundle on disk: two slots of which the newest valid one counts, and a short history.

A save goes to the other slot, so that at any instant one complete state is readable. Former states are kept in
`state/history/`, one when a run replaces it; the oldest go first, and not before the new one is safe.

A slot is valid when it holds what the manifest names: its tensors, all of them, in their shapes, and finite. A bundle
may come from a stranger, and a right checksum says nothing about what it was made over.
"""

import contextlib
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from ..errors import EdgeAdaptError, UsageError
from ..inputs import read_bytes
from .files import DISK, TEMPORARY, Disk, Lock, require_folder, require_own_folder, write_durably
from .fitting import misfit
from .manifest import INITIAL_STATE, STATE_FOLDER, BundleError, Manifest
from .start import NOT_KNOWN, state_digest
from .state import CURRENT, DamagedStateError, Header, Owner, Snapshot, encode, prefixed, read_slot

SLOTS = ("a", "b")
KEPT_STATES = 8
KEPT_BYTES = 64 << 20
_COPIES, BESIDE_BYTES = 8, 48 << 20
"""A slot holds the state so many times at most (of the run, of its best epoch, moments), and so much of examples."""
_ROOM = 16 << 20  # of the header, the losses, and the pairs of mezo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlotView:
    """What lies in a slot file: a snapshot, or why there is none. `foreign`: it is sound, and of another bundle or
    version.
    """

    name: str
    snapshot: Snapshot | None
    problem: str = ""
    foreign: bool = False


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
        self._said: set[tuple[str, str]] = set()

    @property
    def most_bytes(self) -> int:
        """No slot of this bundle is longer."""
        return BESIDE_BYTES + _ROOM + _COPIES * 4 * sum(tensor.size for tensor in self.manifest.state)

    def lock(self) -> None:
        """Become the only writer, and clear away what a killed one left. Raises `EdgeAdaptError` when another process
        is.
        """
        if self._lock is None:
            for folder in (self.folder, self._history):
                require_own_folder(folder)
            self._lock = Lock(self.folder / "lock")
            for folder in (self.folder, self._history):
                for left in folder.glob(f"*{TEMPORARY}"):
                    with contextlib.suppress(OSError):  # in the way of nothing
                        self.disk.remove(left)
            self._make_room()

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
            tensors = load(read_bytes(self.bundle / INITIAL_STATE, self.most_bytes))
        except (OSError, SafetensorError) as error:
            said = getattr(error, "strerror", None) or error
            raise BundleError(f"{self.bundle / INITIAL_STATE} cannot be read: {said}; copy the bundle again") from error
        wanted = {tensor.name: tensor.shape for tensor in self.manifest.state}
        if {name: value.shape for name, value in tensors.items()} != wanted:
            raise BundleError(f"{self.bundle / INITIAL_STATE} does not hold the tensors that the manifest names")
        return Snapshot(Header(self.owner, start_sha256=state_digest(tensors)), prefixed(CURRENT, tensors))

    def views(self) -> list[SlotView]:
        """Both slots as they are now. Raises `UsageError` where the folder that they lie in is none."""
        require_folder(self.folder)
        return [self._view(name) for name in SLOTS]

    def read(self) -> Snapshot:
        """The newest valid state. A damaged slot is said in the log, once.

        Raises:
            BundleError: no slot is valid, or one belongs to another bundle or another version.
        """
        views = self.views()
        if foreign := next((view for view in views if view.foreign), None):
            raise BundleError(foreign.problem)
        valid = [view.snapshot for view in views if view.snapshot is not None]
        if not valid:
            problems = "; ".join(f"{self.folder / view.name}: {view.problem}" for view in views)
            raise BundleError(
                f"no state can be read ({problems}); `edge-adapt state reset` goes back to the exported state, "
                "`edge-adapt state rollback` to one of the history"
            )
        newest = max(valid, key=lambda snapshot: snapshot.header.counter)
        for view in views:
            if view.snapshot is not None or not (self.folder / view.name).exists():
                continue
            if (said := (view.name, view.problem)) not in self._said:
                self._said.add(said)
                log.warning(
                    "%s is damaged (%s); going on from the other slot, counter %d",
                    self.folder / view.name, view.problem, newest.header.counter,
                )  # fmt: skip
        return self._with_start(newest)

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
        content = encode(saved)
        if len(content) > self.most_bytes:
            raise EdgeAdaptError(
                f"the state takes {len(content)} bytes, and this bundle allows {self.most_bytes}: keep fewer examples "
                "(--replay); what was saved before is unharmed"
            )
        write_durably(self.folder / older, content, self.disk)
        self._counters = {**counters, older: counter}
        return saved

    def keep(self, snapshot: Snapshot) -> None:
        """Put the current state of `snapshot` into the history, under its counter. Nothing makes room for it before it
        is replaced: see `replace_current`.
        """
        path = self._history / f"{snapshot.header.counter:06d}"
        write_durably(path, encode(snapshot.alone()), self.disk)

    def history(self) -> list[Snapshot]:
        """The kept states, oldest first, then the exported one in front of all. Damaged ones are said and left out, and
        so is one that is still current: a process was killed between keeping it and replacing it.
        """
        found, now = [self.initial()], self._newest_counter()
        for path in self._kept_paths():
            if int(path.name) == now:
                continue
            try:
                found.append(self._mine(read_slot(path, self.most_bytes), path))
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

    def take_over(self, given: Snapshot) -> Snapshot:
        """Make a state from outside, one that fits, current; training starts from it."""
        try:
            current = self.read()
        except BundleError:
            current = None
        header = replace(given.header, note="imported", start_sha256=state_digest(given.part(CURRENT)))
        return self.replace_current(current, Snapshot(header, given.tensors))

    def replace_current(self, former: Snapshot | None, new: Snapshot) -> Snapshot:
        """Keep `former` in the history, then save `new`, then let the oldest of the history go.

        `former` None: no state could be read. A slot of another bundle, which would still be in the way, goes too.
        """
        if former is not None and former.header.step > 0:
            self.keep(former)
        saved = self.save(new)
        for view in self.views() if former is None else ():
            if view.foreign:
                self._remove(self.folder / view.name)
        self._make_room()
        return saved

    def _view(self, name: str) -> SlotView:
        path = self.folder / name
        try:
            return SlotView(name, self._mine(read_slot(path, self.most_bytes), path))
        except FileNotFoundError:
            return SlotView(name, None, "is not there")
        except OSError as error:
            return SlotView(name, None, f"cannot be read: {error.strerror}")
        except DamagedStateError as error:
            return SlotView(name, None, str(error))
        except BundleError as error:
            return SlotView(name, None, str(error), foreign=True)

    def _mine(self, snapshot: Snapshot, path: Path) -> Snapshot:
        owner = snapshot.header.owner
        if owner != self.owner:
            given, mine = (f"{o.model}, {o.method}, manifest {o.bundle[:12]}" for o in (owner, self.owner))
            raise BundleError(f"{path} belongs to another bundle ({given}), not to this one ({mine}); take it away")
        if problem := misfit(self.manifest, snapshot):
            raise DamagedStateError(problem)
        return snapshot

    def _with_start(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot; where it was saved before states named their start, and is the exported state, with that."""
        if snapshot.header.start_sha256 != NOT_KNOWN or snapshot.header.step > 0:
            return snapshot
        initial = self.initial()
        if not same_state(snapshot, initial):
            return snapshot
        header = replace(snapshot.header, start_sha256=initial.header.start_sha256)
        return Snapshot(header, snapshot.tensors)

    @property
    def _history(self) -> Path:
        return self.folder / "history"

    def _kept_paths(self) -> list[Path]:
        """The files of the history, oldest first: their names are numbers."""
        if self._history.is_symlink():
            return []
        found = [path for path in self._history.glob("*") if path.name.isascii() and path.name.isdigit()]
        return sorted(found, key=lambda path: int(path.name))

    def _last_kept(self) -> int:
        kept = self._kept_paths()
        return int(kept[-1].name) if kept else -1

    def _newest_counter(self) -> int:
        return max((view.snapshot.header.counter for view in self.views() if view.snapshot is not None), default=-1)

    def _make_room(self) -> None:
        """Let the oldest kept states go, as many as are too many."""
        now, room = self._newest_counter(), KEPT_BYTES
        former = [path for path in self._kept_paths() if int(path.name) != now]
        for age, path in enumerate(reversed(former)):
            room -= path.lstat().st_size
            if age >= KEPT_STATES or room < 0:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            self.disk.remove(path)
        except OSError as error:
            raise EdgeAdaptError(f"{path} cannot be removed: {error.strerror}") from error


def same_state(a: Snapshot, b: Snapshot) -> bool:
    """Whether the current tensors of two snapshots have the same bytes."""
    left, right = a.part(CURRENT), b.part(CURRENT)
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def create_state(folder: Path, manifest: Manifest) -> None:
    """Give a new bundle its first slot, `state/a`, with the exported state; called after the manifest is written."""
    store = StateStore(folder, manifest)
    write_durably(store.folder / SLOTS[0], encode(store.initial()))
