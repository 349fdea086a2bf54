"""The shell function of README.md that sends a WAV over a line that breaks."""

import re

from tests.support.serving import ROOT


def send_command(port: int, token: str, wav: str) -> list[str]:
    """Return the command that sends a WAV with the function `send`, which pauses for 0.05 s after a break here."""
    (function,) = re.findall(r"^send\(\) \{\n.*?^\}$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    for old, new in (("127.0.0.1:8001", f"127.0.0.1:{port}"), ("sleep 1", "sleep 0.05")):
        assert function.count(old) == 1
        function = function.replace(old, new)
    return ["sh", "-c", f'TOKEN={token}\n{function}\nsend "$1"', "sh", wav]
