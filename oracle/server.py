"""The HTTP server in a thread of its own, beside the main loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from oracle.logging import get
from oracle.settings_fields import CLIENT_S
from scrip.errors import ScripError

START_S: Final = 10.0
STOP_S: Final = 5.0
KEEP_ALIVE_S: Final = 15

_log = get(__name__)


class ServerProblem(ScripError):
    """The API can't be served."""


class Server:
    """Serves `app` on `host` and `port` (0 takes a free one) between `start` and `stop`.

    With `path` it serves a unix socket there instead, for its owner and group. A client that sends nothing of
    its request, or takes nothing of its answer, for `client_s` is hung up on. `tls` are uvicorn's `ssl_`
    options.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, *, path: Path | None = None, client_s: float = CLIENT_S,
        **tls: Any,
    ) -> None:  # fmt: skip
        self._host, self._wanted, self._path = host, port, path
        protocol: Any = partial(_Protocol, client_s=client_s)
        config = uvicorn.Config(
            app, http=protocol, log_config=None, access_log=False, server_header=False,
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
    """uvicorn's, but for two things. That one writes the head of an answer by itself. Here it leaves with the
    first part of the body: each write is a call of the system, and wakes the client. And that one waits for
    ever for a client that is slow; here at most `client_s` for its next bytes, and for room for ours.
    """

    def __init__(self, *args: Any, client_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._asking = _Patience(client_s, self._sends_nothing)
        self._taking = _Patience(client_s, self._hang_up)
        self._in_request = True

    def connection_made(self, transport: Any) -> None:
        if transport.get_extra_info("sslcontext") is None:  # by TLS, uvloop would wait for ever
            transport.set_write_buffer_limits(0)  # or uvloop keeps what is written to the end of its turn
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]
        self._asking.start()

    def connection_lost(self, error: Exception | None) -> None:
        self._asking.stop()
        self._taking.stop()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._asking.stop()
        super().data_received(data)
        if self._in_request:
            self._asking.start()

    def on_message_begin(self) -> None:
        self._in_request = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._taking.start()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._taking.stop()
        super().resume_writing()

    def _sends_nothing(self) -> None:
        if self.flow.read_paused:  # we let it wait
            self._asking.start()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        _log.info("client too slow, hung up", client=str(self.client))
        self.transport.abort()


class _Patience:
    """Calls `over` unless it is stopped within `seconds`."""

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._seconds, self._over = seconds, over
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Wait from now on."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._over)

    def stop(self) -> None:
        """Don't wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


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
