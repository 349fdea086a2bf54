"""A PostgreSQL cluster with our tables, ready to be copied: making one takes as long as all the rest of a start."""

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from service.database.embedded import postgres
from service.database.migrations import migrate


def copy_cluster(target: Path) -> None:
    """Put a cluster there, as the first start of a service leaves it."""
    subprocess.run(["/bin/cp", "--archive", str(_cluster()), str(target)], check=True)


@cache
def _cluster() -> Path:
    """Make the cluster of this process, when it is first needed."""
    folder = Path(tempfile.mkdtemp(prefix="wavepress-cluster-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with postgres(folder / "postgres", options={"fsync": "off"}) as url:
        migrate(url)
    return folder / "postgres"
