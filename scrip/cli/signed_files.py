"""Files that several signers add their signatures to: a statement, and who has signed it so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scrip.eip712 import recover
from scrip.errors import BadInput
from scrip.structs import to_bytes


def read(path: Path, kind: str) -> dict[str, Any]:
    """A file with a statement of `kind`: `{kind: {..}, "signatures": [..]}`. Raises BadInput."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(str(path), str(error.strerror), "a file that can be read") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), f"{error!s:.100}", f"a JSON file with a {kind}") from None
    if not isinstance(data, dict) or set(data) != {kind, "signatures"}:
        raise BadInput(str(path), data, f"an object with exactly {kind} and signatures")
    if not isinstance(data["signatures"], list):
        raise BadInput(f"{path}: signatures", data["signatures"], "a list")
    return data


def signatures(data: Mapping[str, Any], digest: bytes) -> dict[str, bytes]:
    """Signatures of `digest` by signer, ascending as the contracts want them. Raises BadSignature."""
    raw = [to_bytes("signature", one, 65) for one in data["signatures"]]
    found = {recover(digest, one): one for one in raw}
    return dict(sorted(found.items(), key=lambda item: int(item[0], 16)))


def add(
    path: Path,
    kind: str,
    statement: Mapping[str, Any],
    known: Mapping[str, bytes],
    signer: str,
    signature: bytes,
) -> list[str]:
    """Write the file with one more signature; all signers, in the contracts' order. Raises BadInput."""
    signed = {**known, signer: signature}
    ordered = {one: signed[one] for one in sorted(signed, key=lambda one: int(one, 16))}
    write(path, kind, statement, ordered)
    return list(ordered)


def write(path: Path, kind: str, statement: Mapping[str, Any], signed: Mapping[str, bytes]) -> None:
    """Write the file, whole or not at all. Raises BadInput."""
    data = {kind: dict(statement), "signatures": ["0x" + one.hex() for one in signed.values()]}
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
        draft.replace(path)
    except OSError as error:
        raise BadInput(str(path), str(error.strerror), "a file that can be written") from None
