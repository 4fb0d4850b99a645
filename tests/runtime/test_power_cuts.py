"""Power cuts: processes killed at random instants, a disk that loses what was not synced, and every operation failing.

Whatever happens, what is read afterwards is bit for bit a state that was saved, not older than the last save that
returned.
"""

import errno
import os
import random
import shutil
import signal
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from edge_adapt.errors import EdgeAdaptError
from edge_adapt.runtime.files import Disk
from edge_adapt.runtime.manifest import Manifest, read_manifest
from edge_adapt.runtime.state import Header, Owner, Snapshot
from edge_adapt.runtime.store import StateStore

KILLS = 160


def state_number(manifest: Manifest, step: int, size: int = 1500) -> Snapshot:
    """The state after `step` updates: any reader can compute it anew."""
    rng = np.random.default_rng(step)
    like = lambda prefix: {
        prefix + tensor.name: rng.normal(size=tensor.shape).astype(np.float32) for tensor in manifest.state
    }
    tensors = like("state/") | like("run/optimiser/m/")
    texts = {"ids": rng.integers(0, 1000, size), "labels": np.zeros(size), "lengths": np.ones(size)}  # of one word each
    tensors |= {f"replay/{name}": value.astype(np.int32) for name, value in texts.items()}
    tensors |= {"run/losses": rng.normal(size=step % 50)}
    return Snapshot(Header(Owner.of(manifest), step=step, results={"half": step / 2}), tensors)


def assert_is(found: Snapshot, manifest: Manifest, step: int, size: int = 1500) -> None:
    expected = state_number(manifest, step, size)
    assert found.header.step == step
    assert found.header.results == expected.header.results
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        assert found.tensors[name].tobytes() == value.tobytes()


class LastDisk(Disk):
    """Takes a block at a time, as a full card does, and kills the process before the operation with the given number:
    at a known instant, however busy the machine is.
    """

    def __init__(self, last: int) -> None:
        self.left = last

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def create(self, path: Path) -> int:
        self._count()
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._count()
        return super().write(descriptor, data[:1024])

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        self._count()
        super().close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self._count()
        super().sync_folder(path)


def save_until_killed(folder: Path, manifest: Manifest, first: int, acknowledge: int, disk: Disk) -> None:
    """A writer: saves one state after the other and tells which are done. Now and then history is kept as well."""
    store = StateStore(folder, manifest, disk)
    store.lock()
    for step in range(first, first + 10_000):
        snapshot = store.save(state_number(manifest, step))
        os.write(acknowledge, struct.pack("<q", step))
        if step % 7 == 0:
            store.keep(snapshot)


def test_killed_at_random_instants(bundle: Path) -> None:
    """Half of the writers die before an operation on the disk, each in turn, half whenever a kill hits them."""
    manifest = read_manifest(bundle)
    chance = random.Random(0)
    step = 0
    left = Counter[str]()
    for number in range(KILLS):
        read_end, write_end = os.pipe()
        disk = LastDisk(number // 2) if number % 2 else Disk()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            try:
                save_until_killed(bundle, manifest, step + 1, write_end, disk)
            finally:
                os._exit(1)
        os.close(write_end)
        done = os.read(read_end, 8) or struct.pack("<q", step)  # the writer is at work, or died before
        if not number % 2:
            time.sleep(chance.random() * 0.006)
            os.kill(child, signal.SIGKILL)
        while more := os.read(read_end, 1 << 16):
            done = (done + more)[-8:]
        os.close(read_end)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        acknowledged = struct.unpack("<q", done)[0]
        store = StateStore(bundle, manifest)
        found = store.read()
        assert found.header.step in (acknowledged, acknowledged + 1)
        assert_is(found, manifest, found.header.step)
        assert all(view.snapshot is not None for view in store.views() if (store.folder / view.name).exists())
        assert all(kept.header.step % 7 == 0 for kept in store.history())
        if number % 2:
            left.update(what_is_left(path) for path in store.folder.rglob("*.tmp"))
        step = found.header.step
    # The counted kills did hit saves in progress: while a file was being written, and between that and its renaming.
    assert left["begun"] > KILLS / 100 and left["torn"] > KILLS / 10 and left["complete"] > KILLS / 100, left


def what_is_left(path: Path) -> str:
    """How far the writing of a slot came."""
    content = path.read_bytes()
    if len(content) < 24:
        return "begun"
    header, tensors = struct.unpack("<QQ", content[8:24])
    return "complete" if len(content) == 56 + header + tensors else "torn"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_every_operation_fails_in_turn(pristine: Path, tmp_path: Path, failing_disk, code: int) -> None:
    manifest = read_manifest(pristine)

    def prepared(name: str) -> Path:
        folder = Path(shutil.copytree(pristine, tmp_path / name))
        store = StateStore(folder, manifest)
        store.lock()
        store.save(state_number(manifest, 1))
        store.save(state_number(manifest, 2))
        store.release()
        return folder

    def change(folder: Path, disk: Disk) -> None:
        store = StateStore(folder, manifest, disk)
        store.lock()
        try:
            store.replace_current(store.read(), state_number(manifest, 3))
        finally:
            store.release()

    counting = failing_disk()
    change(prepared("counting"), counting)
    total = counting.done
    assert total >= 14  # two files, seven operations each
    assert set(counting.kinds) == {name for name in vars(Disk) if not name.startswith("_")} - {"remove"}
    for number in range(1, total + 1):
        folder = prepared(f"{code}-{number}")
        disk = failing_disk(number, code)
        with pytest.raises(EdgeAdaptError, match="unharmed") as caught:
            change(folder, disk)
        assert os.strerror(code) in str(caught.value)
        store = StateStore(folder, manifest)
        found = store.read()
        assert_is(found, manifest, found.header.step)
        assert found.header.step in (2, 3)
        assert not list(folder.rglob("*.tmp")), f"operation {number} left a temporary file"
        change(folder, Disk())  # and the next save works
        assert_is(store.read(), manifest, 3)


class MemoryDisk(Disk):
    """A disk whose contents after a power cut are known: synced data, and of the rest whatever chance kept.

    `cuts` has file systems that a cut during each operation could leave: an unsynced file may have any part of its
    data, an unsynced rename may or may not have happened.
    """

    def __init__(self, durable: dict[str, bytes]) -> None:
        self.durable = dict(durable)
        self.names: dict[str, bytearray] = {name: bytearray(data) for name, data in durable.items()}
        self.open: dict[int, str] = {}
        self.pending: list[tuple[str, str, bytes, bool]] = []
        self.synced: set[str] = set()
        self.cuts: list[dict[str, bytes]] = []

    def _cut(self) -> None:
        chance = random.Random(len(self.cuts))
        for _ in range(4):
            left = dict(self.durable)
            for source, target, data, whole in self.pending:
                if chance.random() < 0.5:
                    kept = data if whole else self._torn(data, chance)
                    left[target] = kept
                    left.pop(source, None)
            for name in set(self.open.values()):
                left[name] = self._torn(bytes(self.names[name]), chance)
            self.cuts.append(left)

    @staticmethod
    def _torn(data: bytes, chance: random.Random) -> bytes:
        kept = bytearray(data[: chance.randrange(len(data) + 1)])
        for start in range(0, len(kept), 512):
            if chance.random() < 0.3:
                kept[start : start + 512] = bytes(len(kept[start : start + 512]))
        return bytes(kept)

    def make_folder(self, path: Path) -> None:
        self._cut()

    def create(self, path: Path) -> int:
        self._cut()
        self.names[str(path)] = bytearray()
        self.synced.discard(str(path))
        self.open[len(self.open) + 10] = str(path)
        return len(self.open) + 9

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        some = max(1, len(data) // 2)
        self.names[self.open[descriptor]] += data[:some]
        self._cut()
        return some

    def sync(self, descriptor: int) -> None:
        self._cut()
        self.synced.add(self.open[descriptor])
        self.durable[self.open[descriptor]] = bytes(self.names[self.open[descriptor]])

    def close(self, descriptor: int) -> None:
        self._cut()
        del self.open[descriptor]

    def replace(self, source: Path, target: Path) -> None:
        whole = str(source) in self.synced
        self.pending.append((str(source), str(target), bytes(self.names[str(source)]), whole))
        self.names[str(target)] = self.names.pop(str(source))
        self._cut()

    def sync_folder(self, path: Path) -> None:
        self._cut()
        for source, target, data, whole in self.pending:
            self.durable[target] = data if whole else self._torn(data, random.Random(0))
            self.durable.pop(source, None)
        self.pending.clear()
        self._cut()


def laid_out(folder: Path, files: dict[str, bytes]) -> Iterator[None]:
    for name, data in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    yield
    for name in files:
        Path(name).unlink()


def test_a_disk_that_loses_what_was_not_synced(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    store = StateStore(bundle, manifest)
    store.lock()
    for step in (1, 2):
        store.save(state_number(manifest, step))
    for step in (3, 4, 5):
        before = {str(path): path.read_bytes() for path in (store.folder / "a", store.folder / "b")}
        disk = MemoryDisk(before)
        writer = StateStore(bundle, manifest, disk)
        writer._lock = store._lock
        writer.save(state_number(manifest, step))
        assert len(disk.cuts) > 20
        steps = set()
        for left in disk.cuts:
            for _ in laid_out(bundle, left):
                found = StateStore(bundle, manifest).read()
                assert_is(found, manifest, found.header.step)
                steps.add(found.header.step)
        assert steps == {step - 1, step}
        for name, data in disk.durable.items():
            Path(name).write_bytes(data)
        assert_is(store.read(), manifest, step)


def test_the_lock_refuses_a_second_writer_until_the_first_ends(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            first = StateStore(bundle, manifest)
            first.lock()
            os.write(write_end, b"!")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.read(read_end, 1)
        second = StateStore(bundle, manifest)
        with pytest.raises(EdgeAdaptError, match="another process is changing the state"):
            second.lock()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    second.lock()
    third = StateStore(bundle, manifest)
    with pytest.raises(EdgeAdaptError, match="another process"):
        third.lock()
    second.release()
    third.lock()
    third.release()
