"""A line between a browser and the service that can be slow, hold what it has, and break."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PIECE_BYTES = 16 * 1024


class Line:
    """A TCP port that leads to another one."""

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Else the kernel would take megabytes that this line does not pass on.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.port: int = self._listener.getsockname()[1]
        self._open = set[socket.socket]()
        self._lock = threading.Lock()
        self._may_pass = threading.Condition(self._lock)
        self._most: int | None = None
        self._carried = Counter[socket.socket]()
        self._is_broken = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def hold_after(self, byte_count: int) -> None:
        """From now on, let each connection bring only so many bytes to the service."""
        with self._lock:
            self._carried.clear()
            self._most = byte_count

    def release(self) -> None:
        """Pass on everything."""
        with self._lock:
            self._most = None
            self._may_pass.notify_all()

    def cut(self) -> None:
        """Break all connections, and every new one at once, until it is mended."""
        with self._lock:
            self._is_broken = True
            self._most = None
            self._may_pass.notify_all()
            for one in self._open:
                with suppress(OSError):
                    # At once, and with a reset: a browser that sends does not look for a mere end.
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def mend(self) -> None:
        """Let new connections through."""
        with self._lock:
            self._is_broken = False

    def close(self) -> None:
        """End all of it."""
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                is_broken = self._is_broken
            if is_broken:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._far_port))
            except ConnectionRefusedError:  # the service restarts
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            self._start(self._carry, near, far, self._wait)
            self._start(self._carry, far, near, lambda _source, _byte_count: None)

    def _carry(self, source: socket.socket, target: socket.socket, wait: Callable[[socket.socket, int], None]) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                wait(source, len(piece))
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _wait(self, source: socket.socket, byte_count: int) -> None:
        with self._lock:
            self._may_pass.wait_for(lambda: self._most is None or self._carried[source] < self._most)
            self._carried[source] += byte_count


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """Lay a line to the port for the length of the block."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()
