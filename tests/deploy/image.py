"""The images, really built and run: not as root, on a read-only root, without capabilities; and the development overlay as pods."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import yaml
from facequality.client import channel_options
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

from tests import photos
from tests.deploy.live import free_ports
from tests.deploy.tools import DEPLOY, ROOT, WORK, Failed, run, say, until

BASE = "localhost/face-quality-gate-base:local"
TARGETS = {"gate": "localhost/face-quality-gate:local", "gate-embedded": "localhost/face-quality-gate-embedded:local"}
PACKAGES = "ca-certificates,python3,python3-venv"
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--runtime=runc")
SAFE = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=512m",
    "--pids-limit=128",
)
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


def base() -> None:
    """Make a base image without a registry: a minimal Debian with its own Python."""
    if subprocess.run(["buildah", "inspect", BASE], capture_output=True, check=False).returncode == 0:
        return
    archive = WORK / "base.tar"
    if not archive.exists():
        run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", _codename(), archive, _mirror())
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "-q", container, archive, "/")
    run("buildah", "config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--env", "LANG=C.UTF-8", container)
    run("buildah", "commit", "-q", container, BASE)
    run("buildah", "rm", container)


def build() -> None:
    """Build both targets; print their sizes above the base's, and the bill of materials."""
    base()
    pip = WORK / "pip.conf"
    pip.write_text(f"[global]\ncert = {CA_FILE}\n", encoding="utf-8")
    for target, tag in TARGETS.items():
        options = ["--isolation=chroot", "--pull-never", "--network=host", "--layers", "--build-arg", f"BASE={BASE}"]
        mounts = ["-v", f"{CA_FILE}:{CA_FILE}:ro", "-v", f"{pip}:/etc/pip.conf:ro"]
        run("buildah", "bud", *options, *mounts, "-f", DEPLOY / "Dockerfile", "--target", target, "-t", tag, ROOT)
    sizes = {tag: json.loads(run("buildah", "images", "--json", tag))[0]["size"] for tag in (BASE, *TARGETS.values())}
    say("  sizes: " + ", ".join(f"{tag.split('/')[1]} {size}" for tag, size in sizes.items()))
    image, version = TARGETS["gate"].rsplit(":", 1)
    run("make", "sbom", "IMAGE_BUILDER=buildah", f"IMAGE={image}", f"VERSION={version}", cwd=ROOT)
    for target, tag in TARGETS.items():
        document = json.loads((ROOT / "dist" / f"{target}.cdx.json").read_bytes())
        names = {component["name"] for component in document["components"]}
        if "grpcio" not in names or ("opencv-python-headless" in names) != ("embedded" in tag):
            raise Failed(f"the bill of materials of {tag} is not what it should be: {sorted(names)[:20]}")
        say(f"  bill of materials of {tag}: {len(document['components'])} components")


def runs() -> None:
    """A check is answered by a user that is not root, on a read-only root; SIGTERM under load loses nothing."""
    port, metrics = free_ports(2)
    settings = {"FACEQUALITY_GRPC_ADDRESS": f"127.0.0.1:{port}", "FACEQUALITY_METRICS_ADDRESS": f"127.0.0.1:{metrics}"}
    environment = [option for name, value in settings.items() for option in ("-e", f"{name}={value}")]
    name = f"face-quality-gate-{os.getpid()}"
    command = (*PODMAN, "run", "-d", "--name", name, "--network=host", *SAFE, *LIMITS, *environment, TARGETS["gate-embedded"])
    run(*command)
    try:
        asyncio.run(_answers(port))
        user = run(*PODMAN, "top", name, "user").split()[-1]
        if user in {"root", "0"}:
            raise Failed("the gate runs as root")
        started = monotonic()
        answered = asyncio.run(_stopped_under_load(port, name))
        code = run(*PODMAN, "inspect", name, "--format", "{{.State.ExitCode}}").strip()
        if code != "0":
            raise Failed(f"the gate ended with {code} after SIGTERM")
        say(
            f"  podman: a check as uid {user}; SIGTERM under load: {answered} answered, none lost, exit 0 in {monotonic() - started:.1f} s"
        )
    finally:
        subprocess.run([*PODMAN, "rm", "-f", name], capture_output=True, check=False)


def pods() -> None:
    """The development overlay, its own Deployment and ConfigMaps, as a pod; a changed policy is served without a restart."""
    documents = []
    for document in yaml.safe_load_all(run("kubectl", "kustomize", DEPLOY / "kubernetes" / "overlays" / "development")):
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = 1
            document["spec"]["template"]["spec"]["containers"][0]["image"] = TARGETS["gate-embedded"]
        if document["kind"] in {"Deployment", "ConfigMap"}:
            documents.append(document)
    path = WORK / "pods.yaml"
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    conf = WORK / "containers.conf"
    conf.write_text('[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n', encoding="utf-8")
    environment = os.environ | {"CONTAINERS_CONF": str(conf)}
    with _pods(path, environment):
        first, container = asyncio.run(_answers(50051)), _container()
        volume = json.loads(run(*PODMAN, "volume", "inspect", "face-quality-gate-policies"))[0]["Mountpoint"]
        Path(volume, "policies.yaml").write_text("default: kiosk\npolicies: {kiosk: {extends: strict}}\n", encoding="utf-8")
        until("the new policy is served", lambda: asyncio.run(_answers(50051)).policy == "kiosk", 30)
        second = asyncio.run(_answers(50051))
        if _container() != container:
            raise Failed("the pod was restarted")
    say(
        f"  podman play kube: {first.policy} {first.policy_revision}, then {second.policy} {second.policy_revision} without a restart"
    )


def _container() -> str:
    """The id and the start of the gate's container."""
    name = run(*PODMAN, "ps", "--filter", "name=-gate", "--format", "{{.Names}}").split()[0]
    return run(*PODMAN, "inspect", name, "--format", "{{.Id}} {{.State.StartedAt}}")


@contextmanager
def _pods(path: Path, environment: dict[str, str]) -> Iterator[None]:
    run(*PODMAN, "play", "kube", path, env=environment)
    try:
        yield
    finally:
        subprocess.run([*PODMAN, "play", "kube", "--down", path], capture_output=True, check=False, env=environment)
        subprocess.run([*PODMAN, "volume", "rm", "-f", "face-quality-gate-policies"], capture_output=True, check=False)


async def _answers(port: int) -> pb.CheckFaceQualityResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options()) as channel:
        stub = pb_grpc.FaceQualityServiceStub(channel)
        request = pb.CheckFaceQualityRequest(image=photos.encode(photos.portrait(), "JPEG"))
        response: pb.CheckFaceQualityResponse = await stub.CheckFaceQuality(request, timeout=30, wait_for_ready=True)
        if not response.detection.faces:
            raise Failed("the gate sees no face in the portrait")
        return response


async def _stopped_under_load(port: int, name: str) -> int:
    image = photos.encode(photos.portrait(), "JPEG")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.FaceQualityServiceStub(channel)
        requests = (pb.CheckFaceQualityRequest(image=image + number.to_bytes(4, "big")) for number in range(40))
        calls: list[Any] = [asyncio.ensure_future(stub.CheckFaceQuality(request, timeout=30)) for request in requests]
        await asyncio.sleep(0.3)
        stopping = await asyncio.create_subprocess_exec(*PODMAN, "stop", "-t", "35", name, stdout=asyncio.subprocess.DEVNULL)
        answered = await asyncio.gather(*calls)
        await stopping.wait()
    return len(answered)


def _codename() -> str:
    return run("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME").strip()


def _mirror() -> str:
    """Use the mirror that this machine's own apt uses."""
    for path in (*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")):
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            words = line.split()
            if words[:1] == ["URIs:"] or words[:1] == ["deb"]:
                return next(word for word in words if "://" in word)
    raise Failed("apt has no mirror")
