"""The session of the service yields to PostgreSQL's backends while it serves, and not longer."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.session_share import yielding_session

AUTOGROUP = Path("/proc/self/autogroup")
PROGRAM = """
import sys
import time
from pathlib import Path
from service.audio.confinement import hide_this_process
from service.session_share import yielding_session

def niceness():
    return Path("/proc/self/autogroup").read_text().split()[-1]

while niceness() != sys.argv[1]:
    try:
        Path("/proc/self/autogroup").write_text(sys.argv[1])
    except BlockingIOError:  # the kernel allows it ten times a second
        time.sleep(0.11)
with yielding_session():
    hide_this_process()
    print(niceness())
print(niceness())
"""


@pytest.mark.parametrize(("before", "meanwhile"), [("0", "2"), ("5", "5")], ids=["usual", "set_by_somebody"])
def test_session_yields_while_it_serves(before: str, meanwhile: str) -> None:
    if not AUTOGROUP.exists():
        pytest.skip("this kernel has no autogroup")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, before], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert ran.stdout.split() == [meanwhile, before]


def test_kernel_without_autogroup_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.session_share._AUTOGROUP", Path("/proc/self/no-autogroup"))
    with yielding_session():
        pass
