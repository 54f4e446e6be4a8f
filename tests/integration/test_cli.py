"""The command line as a person or a script uses it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from facequality import __version__, settings
from google.rpc import status_pb2

from tests import photos
from tests.conftest import Served
from tests.running import COMMAND, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good.png, nested/blurred.JPG, nested/cat.bmp, and a text file."""
    root = tmp_path_factory.mktemp("photos")
    (root / "nested").mkdir()
    (root / "good.png").write_bytes(photos.encode(photos.portrait()))
    (root / "nested" / "blurred.JPG").write_bytes(photos.encode(photos.blurred(), "JPEG"))
    (root / "nested" / "cat.bmp").write_bytes(photos.encode(photos.cat(), "BMP"))
    (root / "notes.txt").write_text("no photo")
    # Whoever opened this one would wait for ever.
    os.mkfifo(root / "camera.jpg")
    return root


def test_accepted_photos_exit_0(folder: Path) -> None:
    """And say so."""
    result = run("check", folder / "good.png")
    assert result.exit_code == 0, result.output
    assert "accepted" in result.output


def test_a_folder_is_searched_sorted_and_a_rejection_exits_1(folder: Path) -> None:
    """Every known suffix in any case, nothing else."""
    result = run("check", folder, "--json")
    assert result.exit_code == 1, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    names = [Path(line["photo"]).name for line in lines]
    assert names == ["good.png", "blurred.JPG", "cat.bmp"]
    assert [line["verdict"] for line in lines] == ["VERDICT_ACCEPTED", "VERDICT_REJECTED", "VERDICT_REJECTED"]
    assert lines[0]["reasons"] == []
    assert "REASON_TOO_BLURRY" in lines[1]["reasons"]
    assert lines[2]["reasons"] == ["REASON_NO_FACE"]


def test_a_name_that_is_no_text_costs_no_verdict(tmp_path: Path) -> None:
    """On a standard output that is strict about text."""
    for name in (b"a.bmp", b"\xff.bmp"):
        (tmp_path / os.fsdecode(name)).write_bytes(photos.encode(photos.cat(), "BMP"))
    environ = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "200"}
    result = subprocess.run([COMMAND, "check", tmp_path], env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert result.stdout.count("rejected") == 2
    assert "udcff.bmp" in result.stdout


def test_output_that_cannot_be_written_is_no_verdict(folder: Path) -> None:
    """1 would say that the photo was rejected."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        for arguments in (["check", folder / "good.png"], ["check", folder / "good.png", "--json"], ["policy", "show"]):
            result = subprocess.run([COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert result.returncode == 2, result.stderr
            assert "No space left on device" in result.stderr


def test_a_terminal_without_the_characters_shows_what_it_can(folder: Path) -> None:
    """Tables, names and all."""
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    for arguments in (["check", folder / "good.png"], ["policy", "show"], ["policy", "show", "--format", "yaml"]):
        result = subprocess.run([COMMAND, *arguments], env=environ, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_a_policy_that_is_no_text_is_an_error_like_another(folder: Path) -> None:
    """Python keeps the bytes of such arguments as surrogates, which protobuf does not take."""
    result = subprocess.run(
        [COMMAND, "check", "--policy", b"x\xff", folder / "good.png"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == "--policy is not text\n"


def test_a_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    """Escapes in it are shown, not obeyed."""
    (tmp_path / "\x1b[31mred.bmp").write_bytes(photos.encode(photos.cat(), "BMP"))
    result = run("check", tmp_path)
    assert "\\x1b[31mred.bmp" in result.output.replace("\n", "").replace(" ", "").replace("│", "")
    assert "\x1b[31mred" not in result.output


def test_one_bad_photo_does_not_stop_the_others(folder: Path) -> None:
    """It is an error, exit 2, and the rest is judged."""
    result = run("check", folder / "missing.png", folder / "good.png", "--json")
    assert result.exit_code == 2
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["error"] == {
        "code": "INVALID_ARGUMENT",
        "reason": "",
        "message": "cannot be read: No such file or directory",
    }
    assert second["verdict"] == "VERDICT_ACCEPTED"


def test_a_text_file_given_by_name_is_a_rejected_photo(folder: Path) -> None:
    """Content decides, not the name."""
    result = run("check", folder / "notes.txt")
    assert result.exit_code == 1
    assert "IMAGE_UNDECODABLE" in result.output


def test_an_unknown_policy_is_an_error(folder: Path) -> None:
    """Exit 2, the served ones named."""
    result = run("check", folder / "good.png", "--policy", "nope", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "POLICY_NOT_FOUND"


def test_no_photo_at_all_is_an_error(tmp_path: Path) -> None:
    """An empty folder is not a success."""
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "no photo found" in result.output
    result = run("check", tmp_path, "--json")
    assert (result.exit_code, json.loads(result.stdout)["photo"]) == (2, str(tmp_path))


def test_a_face_that_lies_on_its_side_is_found_where_asked_for(tmp_path: Path) -> None:
    """As DetectFace has it: off unless it is wanted."""
    path = tmp_path / "lying.png"
    path.write_bytes(photos.encode(photos.portrait().rotate(90)))
    assert run("check", path).exit_code == 1
    assert run("check", path, "--rotated").exit_code == 0


def test_a_uri_is_told_where_to_go() -> None:
    """Not that there is no such file alone."""
    result = run("check", "https://photos.example/a.jpg", "--json")
    assert "send a URI to a gate" in json.loads(result.stdout)["error"]["message"]


def test_a_folder_without_a_photo_is_an_error_beside_others(folder: Path, tmp_path: Path) -> None:
    """Whoever named it expected photos there."""
    result = run("check", folder / "good.png", tmp_path, "--json")
    assert result.exit_code == 2
    good, empty = (json.loads(line) for line in result.stdout.splitlines())
    assert good["verdict"] == "VERDICT_ACCEPTED"
    assert (empty["photo"], "holds no photo" in empty["error"]["message"]) == (str(tmp_path), True)


def test_a_folder_that_cannot_be_read_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos that nobody has looked at are no success."""
    scan = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("nested"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    # Root, who runs the tests in a container, may read everything.
    monkeypatch.setattr(os, "scandir", guarded)
    result = run("check", folder, "--json")
    assert result.exit_code == 2
    lines = {Path(line["photo"]).name: line for line in map(json.loads, result.stdout.splitlines())}
    assert lines["good.png"]["verdict"] == "VERDICT_ACCEPTED"
    assert lines["nested"]["error"]["message"] == "the folder cannot be read: Permission denied"


async def test_a_target_gives_the_same_answers_as_in_process(served: Served, folder: Path) -> None:
    """The same gate either way."""
    import asyncio

    target = f"127.0.0.1:{served.grpc_port}"
    local = await asyncio.to_thread(run, "check", folder, "--json", "--attributes")
    remote = await asyncio.to_thread(run, "check", folder, "--json", "--attributes", "--target", target)
    assert local.exit_code == remote.exit_code == 1
    assert local.stdout == remote.stdout
    refused = await asyncio.to_thread(run, "check", folder, "--json", "--policy", "x", "--target", target)
    assert refused.exit_code == 2
    error = json.loads(refused.stdout.splitlines()[0])["error"]
    assert error["reason"] == "POLICY_NOT_FOUND"
    # The gate's log has it under this id.
    assert re.fullmatch("[0-9a-f]{32}", error["metadata"]["request_id"])


async def test_a_huge_file_is_a_verdict_either_way(served: Served, tmp_path: Path) -> None:
    """It is not read to its end."""
    import asyncio

    huge = tmp_path / "huge.jpg"
    photo = photos.encode(photos.portrait(), "JPEG")
    huge.write_bytes(photo + bytes(9_000_000 - len(photo)))
    target = f"127.0.0.1:{served.grpc_port}"
    for more in ((), ("--target", target)):
        result = await asyncio.to_thread(run, "check", huge, "--json", *more)
        assert result.exit_code == 1
        answer = json.loads(result.stdout)
        assert answer["reasons"] == ["REASON_IMAGE_TOO_LARGE"]
        (size,) = (finding for finding in answer["findings"] if finding["measure"] == "MEASURE_IMAGE_BYTES")
        assert (size["observed"], size["margin"]) == (9_000_000, size["max"] - 9_000_000)


def test_the_time_limit_holds_in_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, not a hang; the gate's own limit as well."""
    result = run("check", folder / "good.png", "--json", "--timeout", "0.001")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "DEADLINE"
    monkeypatch.setenv("FACEQUALITY_DEADLINE_SECONDS", "0.001")
    result = run("check", folder / "good.png", "--json", "--timeout", "60")
    assert (result.exit_code, json.loads(result.stdout)["error"]["reason"]) == (2, "DEADLINE")
    assert run("check", folder / "good.png", "--timeout", "inf").exit_code == 2


def test_an_unreachable_target_is_an_error_per_photo(folder: Path) -> None:
    """UNAVAILABLE, exit 2."""
    result = run("check", folder / "good.png", "--json", "--target", "127.0.0.1:1", "--timeout", "2")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_policies_are_shown() -> None:
    """As a table and as JSON."""
    table = run("policy", "show", "strict")
    assert table.exit_code == 0
    assert "51c09c410359" in table.stdout
    assert "rejects unless exactly one" in table.stdout
    shown = json.loads(run("policy", "show", "--format", "json").stdout)
    assert list(shown["policies"]) == ["loose", "normal", "enroll", "strict"]
    assert shown["policies"]["enroll"]["bounds"]["brightness"] == {"min": 30, "max": 70}
    assert run("policy", "show", "nope").exit_code == 2
    wrong_default = run("policy", "show", "--default", "nope")
    assert (wrong_default.exit_code, "default policy 'nope' is not one of" in wrong_default.stderr) == (2, True)


def test_a_misspelt_file_is_not_taken_for_a_policy() -> None:
    """The text says what was looked for."""
    result = run("policy", "diff", "kiosk.yaml", "enroll")
    assert result.exit_code == 2
    assert "'kiosk.yaml' is no file, and not one of the built-in policies" in result.output


def test_the_version() -> None:
    """One line."""
    assert run("--version").stdout == f"face-quality-gate {__version__}\n"


def test_the_help_of_serve_has_every_setting() -> None:
    """Each on a line of its own, with what it means below it."""
    lines = [line.strip() for line in run("serve", "--help").stdout.splitlines()]
    at = lines.index("FACEQUALITY_MAX_IN_FLIGHT=256")
    assert lines[at + 1] == "Calls that run at a time; more wait in the queue. (1 to 100,000)"
    assert {line.partition("=")[0] for line in lines} >= set(settings.variables())


def test_help_names_every_command() -> None:
    """With one sentence each."""
    text = run("--help").stdout
    for command in ("serve", "check", "policy"):
        assert command in text


@pytest.mark.parametrize("command", [("check",), ("policy", "show"), ("policy", "check"), ("policy", "diff", "enroll")])
def test_a_name_that_is_too_long_is_an_error_like_another(command: tuple[str, ...]) -> None:
    """Not a traceback."""
    result = run(*command, "a" * 300)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)


async def test_an_error_whose_text_a_proxy_changed_is_an_error_of_that_photo(folder: Path) -> None:
    """Its details no longer fit it, and are left out."""

    async def answer(_: bytes, context: Any) -> bytes:
        details = status_pb2.Status(code=14, message="what the gate said").SerializeToString()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "what the proxy says", (("grpc-status-details-bin", details),))
        return b""

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("facequality.v1.FaceQualityService", {"CheckFaceQuality": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    result = await asyncio.to_thread(run, "check", folder / "good.png", "--json", "--target", f"127.0.0.1:{port}")
    await server.stop(None)
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["code"], error["message"]) == (2, "UNAVAILABLE", "what the proxy says")
