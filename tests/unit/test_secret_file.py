"""A secret in a file of its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from oracle.secret_file import SecretProblem, load_secret


def test_secret__first_start__is_made_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "draw.key"
    made = load_secret(path)
    assert load_secret(path) == made
    assert len(made) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "00" * 31, "not hex"])
def test_secret__damaged__is_a_typed_error_without_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "draw.key"
    path.write_text(content)
    with pytest.raises(SecretProblem) as caught:
        load_secret(path)
    assert "draw.key" in str(caught.value)
