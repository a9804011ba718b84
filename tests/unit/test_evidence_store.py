"""Evidence on disk: atomic, never overwritten, typed errors."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from oracle.evidence import EvidenceConflict, EvidenceStore, StorageFailed, StorageFull
from scrip.errors import BadInput, EvidenceInvalid, NotFound
from scrip.evidence import seal
from tests.unit.evidence_factory import OK, SKU, TOKEN_SAMPLES, make_bundle, make_terms, reseal

BUNDLE = make_bundle()
SECOND = reseal(BUNDLE, samples=seal(TOKEN_SAMPLES, result=OK, attempt=2, sku=SKU), attempt=2)


def files(root: Path) -> list[str]:
    """Every file under `root`, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_get__nothing_stored__not_found(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "absent")
    assert list(store.list()) == []
    assert store.attempts(BUNDLE.job_id) == ()
    with pytest.raises(NotFound):
        store.get(BUNDLE.job_id)
    with pytest.raises(NotFound, match="no attempt 1"):
        store.get(BUNDLE.job_id, 1)


@pytest.mark.parametrize(("job_id", "attempt"), [(b"../x", 1), (bytes(32), 0)])
def test_get__id_that_could_be_a_path__refused(tmp_path: Path, job_id: bytes, attempt: int) -> None:
    with pytest.raises(BadInput):
        EvidenceStore(tmp_path).get(job_id, attempt)


def test_put__other_evidence_for_the_attempt__refused_and_kept(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.put(BUNDLE)
    with pytest.raises(EvidenceConflict):
        store.put(reseal(BUNDLE, output=b"another answer"))
    assert store.get(BUNDLE.job_id) == BUNDLE


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_put__disk_full__typed_error_and_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    store = EvidenceStore(tmp_path)
    monkeypatch.setattr("oracle.evidence.os.fsync", full)
    with pytest.raises(StorageFull, match="Free space"):
        store.put(BUNDLE)
    assert files(tmp_path) == []
    monkeypatch.undo()
    store.put(BUNDLE)
    assert store.get(BUNDLE.job_id) == BUNDLE


def test_put__killed_before_the_rename__old_state_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    store = EvidenceStore(tmp_path)
    store.put(BUNDLE)
    with monkeypatch.context() as patch:
        patch.setattr("oracle.evidence.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.put(SECOND)
    (tmp_path / BUNDLE.job_id.hex() / ".2.json.deadbeef").write_bytes(b"left by a kill -9")
    assert store.attempts(BUNDLE.job_id) == (1,)
    assert store.get(BUNDLE.job_id) == BUNDLE


def test_put__root_is_a_file__typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="Check the disk"):
        EvidenceStore(tmp_path / "file").put(BUNDLE)


def test_put__over_the_limit__refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scrip.bundle.MAX_BUNDLE_BYTES", 100)
    with pytest.raises(BadInput, match="at most 100 bytes"):
        EvidenceStore(tmp_path).put(BUNDLE)
    assert files(tmp_path) == []


def test_get__damaged_or_oversized_file__refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EvidenceStore(tmp_path)
    path = store.put(BUNDLE)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(EvidenceInvalid):
        store.get(BUNDLE.job_id)
    monkeypatch.setattr("oracle.evidence.MAX_BUNDLE_BYTES", 10)
    with pytest.raises(StorageFailed, match="larger than 10 bytes"):
        store.raw(BUNDLE.job_id)


def test_put__same_bundle_twice__one_private_file(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "a" / "b")
    path = store.put(BUNDLE)
    before = path.stat()
    assert store.put(BUNDLE) == path
    assert path.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o600
    assert files(tmp_path) == [f"a/b/{BUNDLE.job_id.hex()}/1.json"]


def test_put__only_the_assurance_changed__replaced(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.put(BUNDLE)
    raised = replace(BUNDLE, receipt=replace(BUNDLE.receipt, assurance=2))
    store.put(raised)
    assert store.get(BUNDLE.job_id) == raised


def test_list__several_jobs_and_attempts__all_in_order(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    other = make_bundle(terms=make_terms(salt=9))
    for bundle in (SECOND, other, BUNDLE):
        store.put(bundle)
    (tmp_path / "lost+found").mkdir()
    assert list(store.list()) == sorted([(BUNDLE.job_id, 1), (BUNDLE.job_id, 2), (other.job_id, 1)])
    assert store.get(BUNDLE.job_id) == SECOND
    assert store.get(BUNDLE.job_id, 1) == BUNDLE
    assert store.raw(BUNDLE.job_id, 1) == BUNDLE.encode()
