"""The HTTP server in a thread of its own, beside the main loop."""

from __future__ import annotations

import socket
import threading
import time
from typing import Final

import uvicorn
from fastapi import FastAPI

from oracle.logging import get
from scrip.errors import ScripError

START_S: Final = 10.0
STOP_S: Final = 5.0
KEEP_ALIVE_S: Final = 15

_log = get(__name__)


class ServerProblem(ScripError):
    """The API can't be served."""


class Server:
    """Serves `app` on `host` and `port` (0 takes a free one) between `start` and `stop`."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._host, self._wanted = host, port
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(STOP_S),
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        self.port = port

    def start(self) -> None:
        """Listen and serve. Raises ServerProblem, with the address, if that isn't possible."""
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
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name="scrip-api", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ServerProblem(f"api: the server didn't start on {self._host}:{self.port}")
            time.sleep(0.01)
        _log.info("api listening", host=self._host, port=self.port)

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Finish the requests in progress and stop."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_S + 1)
