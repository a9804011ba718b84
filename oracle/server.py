"""The HTTP server in a thread of its own, beside the main loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oracle.logging import get
from scrip.errors import ScripError

START_S: Final = 10.0
STOP_S: Final = 5.0
KEEP_ALIVE_S: Final = 15

_log = get(__name__)


class ServerProblem(ScripError):
    """The API can't be served."""


class Server:
    """Serves `app` on `host` and `port` (0 takes a free one) between `start` and `stop`.

    With `path` it serves a unix socket there instead, for its owner and group. `tls` are uvicorn's `ssl_`
    options.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, *, path: Path | None = None, **tls: Any) -> None:
        self._host, self._wanted, self._path = host, port, path
        config = uvicorn.Config(
            app, http=_Protocol, log_config=None, access_log=False, server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=int(STOP_S), **tls,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        self.port = port

    def start(self) -> None:
        """Listen and serve. Raises ServerProblem, with the address, if that isn't possible."""
        bound = self._tcp() if self._path is None else _unix(self._path)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name="scrip-api", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ServerProblem(f"api: the server didn't start on {self._host}:{self.port}")
            time.sleep(0.01)
        _log.info("api listening", host=self._host, port=self.port, path=str(self._path or ""))

    def _tcp(self) -> socket.socket:
        try:
            bound = socket.create_server((self._host, self._wanted), backlog=128)
        except OSError as error:
            where = f"{self._host}:{self._wanted}"
            raise ServerProblem(
                f"api: can't listen on {where}: {error.strerror}. Choose another api.port"
            ) from error
        # Connections inherit it. asyncio only sets it for sockets made with a protocol number; without it the
        # second packet of an answer waits for the client's delayed acknowledgement, 40 ms.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = int(bound.getsockname()[1])
        return bound

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Finish the requests in progress and stop."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_S + 1)
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which writes the head of an answer by itself. Here it leaves with the first part of the
    body: each write is a call of the system, and wakes the client.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]


class _Joining:
    """A transport that holds a head until the next write, at most to the end of this turn of the loop."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head = transport, b""

    def write(self, data: bytes) -> None:
        """Write, unless it is a head."""
        if not self._head and data.startswith(b"HTTP/1.1 "):
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
            return
        head, self._head = self._head, b""
        self._transport.write(head + data)

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close after what was written."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _unix(path: Path) -> socket.socket:
    """A listening socket at `path`. One that an earlier process left there is replaced."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        bound.bind(str(path))
        path.chmod(0o660)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ServerProblem(f"can't listen on {path}: {error.strerror or error}") from error
    return bound
