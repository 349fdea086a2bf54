"""Measures eight long uploads at once with other settings: workers, and the ways to send a WAV."""

# These are readings for docs/scaling.md, and have no aims. Run it with each Python.

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.bench import run_at_once
from benchmarks.client import Address, Connection
from benchmarks.running import Running, running_service
from benchmarks.sounds import make_wav
from benchmarks.table import Row, format_table
from tests.support.procfs import cpu_seconds

_SECONDS = 300
_UPLOADS = 8
_ROUNDS = 3
_CHUNK_BYTES = 64 * 1024
_MB = 1_000_000
# As long as those of curl and browsers are: the shorter it is, the longer it takes to look for it.
_BOUNDARY = "------------------------d74496d66958873e"
_FORM_HEAD = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n'.encode()
_FORM_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()

Send = Callable[[Address, bytes], object]


def main() -> None:
    """Print the throughput and the CPU of each setting."""
    parser = argparse.ArgumentParser(prog="benchmarks.readings", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, metavar="N", help=f"rounds of each ({_ROUNDS})")
    rounds = parser.parse_args().rounds
    rows = list[Row]()
    with tempfile.TemporaryDirectory(prefix="wavepress-readings-") as directory:
        wav = make_wav(Path(directory), _SECONDS).read_bytes()
        for workers in (1, 2, 4):
            arguments = ("--workers", str(workers)) if workers > 1 else ()
            with running_service(Path(directory), arguments=arguments) as service:
                ways = _WAYS if workers == 1 else {"raw": _send_raw}
                what = f"workers: {workers}"
                rows += [_row(service, wav, f"{what}, {way}", send, rounds) for way, send in ways.items()]
    print(f"Python {platform.python_version()}, {_UPLOADS} x {_SECONDS} s at once")
    print(format_table(rows))


def _row(service: Running, wav: bytes, what: str, send: Send, rounds: int) -> Row:
    rates, cpu = list[float](), list[float]()
    for _ in range(rounds):
        began, began_cpu = time.perf_counter(), cpu_seconds(service.pid)
        run_at_once(lambda _: send(service.address, wav), _UPLOADS, _UPLOADS)
        rates.append(_UPLOADS * len(wav) / _MB / (time.perf_counter() - began))
        cpu.append((cpu_seconds(service.pid) - began_cpu) / _UPLOADS)
    return Row(what, f"{median(rates):.1f} MB/s, {median(cpu):.2f} s of CPU for each")


def _send_raw(address: Address, wav: bytes) -> bytes:
    with Connection(address) as connection:
        connection.send_head("PUT", "/records/talk.wav", len(wav))
        connection.send([wav])
        return connection.receive()


def _send_form(address: Address, wav: bytes) -> bytes:
    with Connection(address) as connection:
        headers = [f"Content-Type: multipart/form-data; boundary={_BOUNDARY}"]
        connection.send_head("POST", "/records", len(_FORM_HEAD) + len(wav) + len(_FORM_TAIL), headers)
        connection.send([_FORM_HEAD, wav, _FORM_TAIL])
        return connection.receive()


def _send_chunks(address: Address, wav: bytes) -> bytes:
    with Connection(address) as connection:
        connection.send_head("PUT", "/records/talk.wav", None)
        for start in range(0, len(wav), _CHUNK_BYTES):
            chunk = wav[start : start + _CHUNK_BYTES]
            connection.send([b"%x\r\n" % len(chunk), chunk, b"\r\n"])
        connection.send([b"0\r\n\r\n"])
        return connection.receive()


_WAYS: dict[str, Send] = {"raw": _send_raw, "multipart": _send_form, "chunked": _send_chunks}


if __name__ == "__main__":
    main()
