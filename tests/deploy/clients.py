"""One call each from Node, Go, Java and C++, with code generated from our own contract."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests import photos
from tests.deploy.live import free_ports, get
from tests.deploy.tools import ROOT, WORK, Failed, background, run, say, until

CLIENTS = ROOT / "tests" / "clients"
PROTO = ROOT / "proto"
PROTOS = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
JARS = ("grpc-", "netty-", "protobuf", "guava", "failureaccess", "perfmark", "jsr305", "geronimo-annotation", "error_prone")
Call = Callable[[str, str], str]


def every() -> None:
    """A photo that is accepted, one that is rejected, and an empty one that is an error."""
    folder = WORK / "clients"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    samples = {
        "VERDICT_ACCEPTED": photos.encode(photos.portrait(), "JPEG"),
        "REASON_NO_FACE": photos.encode(photos.cat(), "JPEG"),
        "IMAGE_EMPTY": b"",
    }
    for name, data in samples.items():
        (folder / name).write_bytes(data)
    port, metrics = free_ports(2)
    settings = {"FACEQUALITY_GRPC_ADDRESS": f"127.0.0.1:{port}", "FACEQUALITY_METRICS_ADDRESS": f"127.0.0.1:{metrics}"}
    with background(ROOT / ".venv" / "bin" / "face-quality-gate", "serve", log=folder / "gate.log", **settings):
        until("the gate is up", lambda: get(f"http://127.0.0.1:{metrics}/metrics"))
        for language, prepare in (("Node", _node), ("Go", _go), ("Java", _java), ("C++", _cpp)):
            call = prepare(folder)
            said = {name: call(f"127.0.0.1:{port}", str(folder / name)).strip() for name in samples}
            expected = {"VERDICT_ACCEPTED": ("VERDICT_ACCEPTED",), "REASON_NO_FACE": ("VERDICT_REJECTED", "REASON_NO_FACE")}
            for name, text in said.items():
                # C++ prints a status's number.
                words = expected.get(name, ("3 " if language == "C++" else "nvalid" if language == "Go" else "INVALID_ARGUMENT",))
                if not all(word in text for word in words):
                    raise Failed(f"{language}, {name}: {text}")
            say(f"  {language}: {' | '.join(said.values())}")


def _protoc(folder: Path, *options: str) -> None:
    folder.mkdir(parents=True)
    run("protoc", "-I", PROTO, *options, *PROTOS)


def _node(folder: Path) -> Call:
    place = folder / "node"
    place.mkdir()
    shutil.copy(CLIENTS / "node" / "check.mjs", place)
    (place / "node_modules").symlink_to(WORK / "node" / "node_modules")
    return lambda target, photo: run("node", place / "check.mjs", target, photo, cwd=ROOT)


def _go(folder: Path) -> Call:
    place = folder / "go"
    out = place / "src"
    _protoc(out, f"--go_out={out}", f"--go-grpc_out={out}")
    environment = {
        "GO111MODULE": "off",
        "GOPATH": f"{place}:/usr/share/gocode",
        "GOCACHE": str(WORK / "go"),
        "PATH": "/usr/bin:/bin",
    }
    run("go", "build", "-o", place / "check", CLIENTS / "go" / "check.go", env=environment)
    return lambda target, photo: run(place / "check", target, photo)


def _java(folder: Path) -> Call:
    place = folder / "java"
    _protoc(place, f"--java_out={place}", f"--grpc-java_out={place}", "--plugin=protoc-gen-grpc-java=/usr/bin/grpc_java_plugin")
    jars = ":".join(str(path) for path in sorted(Path("/usr/share/java").glob("*.jar")) if path.name.startswith(JARS))
    classes = place / "classes"
    run("javac", "-nowarn", "-cp", jars, "-d", classes, *place.rglob("*.java"), CLIENTS / "java" / "Check.java")
    return lambda target, photo: run("java", "-cp", f"{classes}:{jars}", "Check", target, photo)


def _cpp(folder: Path) -> Call:
    place = folder / "cpp"
    _protoc(place, f"--cpp_out={place}", f"--grpc_out={place}", "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin")
    flags = run("pkg-config", "--cflags", "--libs", "grpc++", "protobuf").split()
    run("g++", "-std=c++17", "-I", place, "-o", place / "check", CLIENTS / "cpp" / "check.cc", *place.rglob("*.cc"), *flags)
    return lambda target, photo: run(place / "check", target, photo)
