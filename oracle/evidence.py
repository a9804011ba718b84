"""Evidence on disk: one bundle per attempt at a job; a crash leaves the old file or the new one.

Trust: files are as good as the disk. Reading back checks the form of a bundle, not its truth; watchers and
buyers verify what they download themselves (`scrip.evidence.verify_bundle`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from scrip.errors import BadInput, NotFound, ScripError
from scrip.evidence import MAX_BUNDLE_BYTES, Bundle

_JOB: Final = re.compile(r"[0-9a-f]{64}")
_ATTEMPT: Final = re.compile(r"([1-9][0-9]{0,9})\.json")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StorageFailed(ScripError):
    """Evidence couldn't be written or read. A receipt whose evidence isn't stored must not be signed."""

    def __init__(self, path: Path, reason: str, hint: str = "Check the disk and its permissions") -> None:
        self.path, self.reason = path, reason
        super().__init__(f"evidence at {path}: {reason}. {hint}")


class StorageFull(StorageFailed):
    """No space (or quota) left for evidence. Transient: retry once space has been freed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason, "Free space on this disk; the job is retried")


class EvidenceConflict(ScripError):
    """Other evidence is stored for this attempt already. Evidence is never overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} holds other evidence for this attempt. Record a new attempt under its own number"
        )


class EvidenceStore:
    """Bundles under `root`, at <job id in hex>/<attempt>.json. Private to the user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._used: int | None = None

    def put(self, bundle: Bundle) -> Path:
        """Store a bundle durably (fsync of file and directory) and return its path.

        Storing it again is a no-op, and only the assurance of its receipt may change: that is settled after
        the watchers have seen the bundle. Raises EvidenceConflict, StorageFull, StorageFailed, and BadInput
        beyond the size limit.
        """
        path = self._path(bundle.job_id, bundle.attempt)
        raw = bundle.encode()
        stored = self._stored(path)
        if stored == raw:
            return path
        if stored is not None and not _only_assurance_differs(Bundle.decode(stored), bundle):
            raise EvidenceConflict(path)
        try:
            self._write(path, raw)
        except OSError as error:
            raise _typed(path, error) from error
        self._count(len(raw) - len(stored or b""))
        return path

    def forget(self, job_id: bytes) -> None:
        """Delete everything about a job; a crash leaves the rest for the next time. Raises StorageFailed.

        For `oracle.retention` alone: it knows when nobody can ask for it any more.
        """
        folder = self._path(job_id, 1).parent
        for name in _names(folder):
            try:
                size = (folder / name).stat().st_size
                (folder / name).unlink()
            except OSError as error:
                raise _typed(folder / name, error) from error
            self._count(-size)
        with suppress(FileNotFoundError):
            folder.rmdir()

    def used_bytes(self) -> int:
        """Size of all evidence. Read from the disk once, then counted. Raises StorageFailed."""
        with self._lock:
            if self._used is None:
                self._used = sum(_size(self.root / name) for name in _names(self.root))
            return self._used

    def free_bytes(self) -> int:
        """What the disk has left for us. Raises StorageFailed."""
        place = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        try:
            return shutil.disk_usage(place).free
        except OSError as error:
            raise _typed(place, error) from error

    def untouched_since(self, unix_s: int) -> Iterator[bytes]:
        """Ids of jobs whose evidence was last written before then, in no order. Raises StorageFailed."""
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if _JOB.fullmatch(entry.name) and entry.stat().st_mtime < unix_s:
                        yield bytes.fromhex(entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _typed(self.root, error) from error

    def _count(self, change: int) -> None:
        with self._lock:
            if self._used is not None:
                self._used += change

    def get(self, job_id: bytes, attempt: int | None = None) -> Bundle:
        """Bundle of an attempt, the latest if none is named.

        Raises NotFound, StorageFailed, and EvidenceInvalid for a damaged file.
        """
        return Bundle.decode(self.raw(job_id, attempt))

    def raw(self, job_id: bytes, attempt: int | None = None) -> bytes:
        """Canonical bytes of `get`, to be served as they are. Raises NotFound, StorageFailed."""
        if attempt is None:
            known = self.attempts(job_id)
            if not known:
                raise NotFound("evidence", job_id)
            attempt = known[-1]
        found = self._stored(self._path(job_id, attempt))
        if found is None:
            raise NotFound("evidence", job_id, f"There is no attempt {attempt}")
        return found

    def attempts(self, job_id: bytes) -> tuple[int, ...]:
        """Numbers of the stored attempts at a job, ascending."""
        folder = self._path(job_id, 1).parent
        return tuple(sorted(int(match[1]) for name in _names(folder) if (match := _ATTEMPT.fullmatch(name))))

    def list(self) -> Iterator[tuple[bytes, int]]:
        """Every stored (job id, attempt), ordered by job id."""
        for name in sorted(_names(self.root)):
            if _JOB.fullmatch(name):
                job_id = bytes.fromhex(name)
                yield from ((job_id, attempt) for attempt in self.attempts(job_id))

    def _path(self, job_id: bytes, attempt: int) -> Path:
        if len(job_id) != 32:
            raise BadInput("job id", job_id, "32 bytes")
        if attempt < 1:
            raise BadInput("attempt", attempt, "at least 1")
        return self.root / job_id.hex() / f"{attempt}.json"

    def _stored(self, path: Path) -> bytes | None:
        try:
            if path.stat().st_size > MAX_BUNDLE_BYTES:
                raise StorageFailed(
                    path, f"larger than {MAX_BUNDLE_BYTES} bytes", "It wasn't written by this program"
                )
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _typed(path, error) from error

    def _write(self, path: Path, raw: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        for folder in (path.parent, self.root):  # a rename is durable once its directory is
            _sync_folder(folder)


def _only_assurance_differs(stored: Bundle, given: Bundle) -> bool:
    level = given.receipt.assurance
    return replace(stored, receipt=replace(stored.receipt, assurance=level)) == given


def _names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(os.listdir(folder))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _typed(folder, error) from error


def _size(folder: Path) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise _typed(folder, error) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _typed(path: Path, error: OSError) -> StorageFailed:
    reason = error.strerror or str(error)
    return StorageFull(path, reason) if error.errno in _FULL else StorageFailed(path, reason)
