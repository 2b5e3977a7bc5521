"""Runs ``caffefold``, or other code, many times quickly: in forks of one process.

A run is a process of its own, with its own pipes, folder, environment and exit code; only the
start of Python and the imports are shared. What happens at the start is tested without this.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import pty
import runpy
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

_LENGTH = 8  # bytes that tell how long a message is
_TIMEOUT = 120.0


class Forks:
    """A process to fork, which has imported ``packages``, or else every module of caffefold.

    Use it as a context manager.
    """

    def __init__(self, environment: Mapping[str, str], *packages: str) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_TIMEOUT)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *packages],
                pass_fds=[theirs.fileno()],
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},  # no threads to lose in a fork
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()
        self._process.wait(_TIMEOUT)

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        terminal: bool = False,
    ) -> tuple[int, bytes, bytes]:
        """(exit code, standard output, standard error) of ``python -m caffefold ARGUMENTS``.

        Or of ``python -c CODE``, if the first argument is ``-c``. On a ``terminal``, all that is
        printed comes as standard output.
        """
        request = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
        out, err = pty.openpty() if terminal else os.pipe(), os.pipe()
        theirs = [out[1], out[1] if terminal else err[1]]
        try:
            socket.send_fds(self._socket, [len(request).to_bytes(_LENGTH, "big")], theirs)
            self._socket.sendall(request)
        finally:
            os.close(out[1])
            os.close(err[1])
        printed, complained = _read_all(out[0], err[0])
        code = int.from_bytes(_receive(self._socket, _LENGTH), "big", signed=True)
        return code, printed, complained


def _read_all(*pipes: int) -> list[bytes]:
    """What comes out of pipes until their other ends are closed."""
    parts: dict[int, list[bytes]] = {pipe: [] for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(_TIMEOUT)
            if not ready:
                raise TimeoutError("the command does not end")
            for key, _ in ready:
                try:
                    part = os.read(key.fd, 1 << 16)
                except OSError:  # a terminal that was left
                    part = b""
                parts[key.fd].append(part)
                if not part:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [b"".join(parts[pipe]) for pipe in pipes]


def _receive(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        if not part:
            raise EOFError("the other side is gone")
        content += part
    return content


def _serve(connection: socket.socket) -> None:
    """Fork for every request. Returns in the children, with everything set up for a run."""
    while True:
        head, pipes, _, _ = socket.recv_fds(connection, _LENGTH, 2)
        if not head:
            os._exit(0)
        request = _receive(connection, int.from_bytes(head, "big"))
        child = os.fork()
        if not child:
            connection.close()
            for target, pipe in enumerate(pipes, 1):
                os.dup2(pipe, target)
                os.close(pipe)
            arguments, folder, environment = json.loads(request)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            sys.argv = ["caffefold", *arguments]
            sys.path[0] = folder
            return
        for pipe in pipes:
            os.close(pipe)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        connection.sendall(code.to_bytes(_LENGTH, "big", signed=True))


def _every_module() -> Iterator[str]:
    import caffefold

    for module in pkgutil.walk_packages(caffefold.__path__, "caffefold."):
        if module.name != "caffefold.__main__":
            yield module.name


if __name__ == "__main__":
    for name in sys.argv[2:] or _every_module():
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            import_module(name)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    if sys.argv[1:2] == ["-c"]:
        exec(sys.argv[2], {"__name__": "__main__"})
    else:
        runpy.run_module("caffefold", run_name="__main__", alter_sys=True)
