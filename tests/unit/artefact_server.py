"""An HTTP server of this machine with artefacts on it, as a buyer's or a public store would be."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from oracle.catalogue import DEFAULT_FILE

CONTENT = bytes(range(256)) * 4000


@dataclass
class ArtefactServer:
    """Serves `files` by path."""

    origin: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def params(self, content: bytes = CONTENT, **more: Any) -> dict[str, Any]:
        """What names this content in a spec."""
        self.files["/a"] = content
        found = {
            "url": f"{self.origin}/a",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        return found | more


@contextmanager
def serving() -> Iterator[ArtefactServer]:
    """A server on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            content = made.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = ArtefactServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def catalogue_file(folder: Path, *origins: str) -> Path:
    """The default catalogue with these origins allowed."""
    path = folder / "catalogue.toml"
    path.write_text(DEFAULT_FILE.read_text().replace("origins = []", f"origins = {json.dumps(origins)}"))
    return path
