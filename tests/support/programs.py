"""Programs of the tests, run in processes of their own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def python(program: str, *arguments: str, stderr: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program with pipes for its input and output; at the end of the block it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def output_of(*command: str, stdin: bytes = b"", status: int = 0) -> str:
    """Run a program to its end, and return what it wrote; fails unless it ends with that status."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate(stdin)
    assert process.returncode == status, (process.returncode, output, errors)
    return output.decode()
