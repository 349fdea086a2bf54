"""Has 1,000 clients listen to one upload that comes in real time, and prints what they cost: `make load`."""

import argparse
import json
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from pathlib import Path

from benchmarks.client import Address, Connection
from benchmarks.running import Running, raise_descriptor_limit, require_sight, running_service
from benchmarks.sounds import make_wav
from benchmarks.table import Row, at_most, report
from tests.support import procfs

_LISTENERS = 1000
_QUICK_LISTENERS = 100
_WAV_SECONDS = 60
_BYTES_PER_SECOND = 176_400  # CD sound
_MEASURED_SECONDS = 20
_DESCRIPTORS_BESIDES = 200
# Of a core, for all listeners of a stream of 128 kbit/s together.
_MOST_CORES = 0.1
_LARGEST_READ = 256 * 1024


def main() -> None:
    """Run the listeners and print what was found; exit with 1 if the aim is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.listeners", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_LISTENERS} listeners")
    count = _QUICK_LISTENERS if parser.parse_args().quick else _LISTENERS
    raise_descriptor_limit(2 * count + _DESCRIPTORS_BESIDES)
    with tempfile.TemporaryDirectory(prefix="wavepress-listeners-") as name:
        wav = make_wav(Path(name), _WAV_SECONDS)
        with running_service(Path(name)) as service:
            require_sight(service)
            rows = _run(service, wav, count)
    report(rows)


def _run(service: Running, wav: Path, count: int) -> list[Row]:
    with _live_upload(service.address, wav) as path, ExitStack() as stack:
        time.sleep(2)  # the encoder has started
        alone, rss = _cores(service.pid), procfs.resident_bytes(service.pid)
        listeners = [stack.enter_context(closing(_listen(service.address.port, path))) for _ in range(count)]
        heard = _Heard(listeners)
        stack.callback(heard.stop)
        together = _cores(service.pid)
        added = procfs.resident_bytes(service.pid) - rss
    kbits = heard.byte_count * 8 / 1000 / max(heard.seconds, 1) / count
    return [
        Row(f"{count} listeners of one upload in real time, {kbits:.0f} kbit/s each", f"{together:.3f} cores"),
        Row("  the upload alone", f"{alone:.3f} cores"),
        Row("  what the listeners add", "", figure=together - alone, unit="cores", aim=at_most(_MOST_CORES, "cores")),
        Row("  memory for each", f"{added / count / 1024:.0f} KiB"),
    ]


def _cores(pid: int) -> float:
    """Return how much of a core the service itself uses, over some seconds."""
    before, started = procfs.cpu_seconds(pid), time.perf_counter()
    time.sleep(_MEASURED_SECONDS)
    return (procfs.cpu_seconds(pid) - before) / (time.perf_counter() - started)


@contextmanager
def _live_upload(address: Address, wav: Path) -> Iterator[str]:
    """Send a WAV in real time, and yield the path of its MP3 as soon as it can be heard."""
    size = wav.stat().st_size
    with Connection(address) as sender, Connection(address) as asker:
        sender.send_head("PUT", "/records/live.wav", size)
        thread = threading.Thread(target=sender.send_file, args=(wav, size, _BYTES_PER_SECOND))
        thread.start()
        found: list[dict[str, object]] = []
        while not found or found[0]["expected_size"] is None:
            time.sleep(0.05)
            asker.send_head("GET", "/uploads")
            found = json.loads(asker.receive())["uploads"]
        yield f"/records/{found[0]['id']}.mp3"
        thread.join()
        sender.receive()


def _listen(port: int, path: str) -> socket.socket:
    listener = socket.create_connection(("127.0.0.1", port))
    listener.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = listener.recv(_LARGEST_READ)
    if int(head.split()[1]) != HTTPStatus.OK:
        raise RuntimeError(head.decode(errors="replace"))
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own
    return listener


class _Heard:
    """Reads what all listeners get, in a thread, until `stop`."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self.byte_count, self._started, self.seconds = 0, time.perf_counter(), 0.0
        self._is_stopped = False
        self._selector = selectors.DefaultSelector()
        for listener in listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._is_stopped = True
        self._thread.join()
        self._selector.close()

    def _read(self) -> None:
        while not self._is_stopped:
            for key, _ in self._selector.select(timeout=0.5):
                listener = key.fileobj
                assert isinstance(listener, socket.socket)  # noqa: S101 - nothing else is registered
                piece = listener.recv(_LARGEST_READ)
                if not piece:
                    self._selector.unregister(listener)
                self.byte_count += len(piece)
            self.seconds = time.perf_counter() - self._started


if __name__ == "__main__":
    main()
