"""The emulator's scripts, its weight and its command line."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.emulator.scenario import Action, ScenarioError, load
from facequality.errors import GateError
from facequality.model import Detection, DetectOptions, PhotoBytes
from facequality.testing import SECRET_ID, SECRET_KEY, detectface_emulator
from pydantic import ValidationError

from tests.detections import EXAMPLE_2
from tests.detectors import RecordingDetector
from tests.emulating import CAT, PORTRAIT, b64, call, code
from tests.running import run
from tests.upstream import EXAMPLES

# -- scenarios --------------------------------------------------------------------------------------------------------


def scripted(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("number", [1, 2])
def test_the_pages_examples_ship_as_scenarios(number: int) -> None:
    """Word for word."""
    with detectface_emulator(f"example-{number}", detector=RecordingDetector(EXAMPLE_2)) as running:
        assert call(running, {"Image": b64(CAT)}) == json.loads(EXAMPLES[number])["Response"]


def test_every_shipped_scenario_loads() -> None:
    """By its name."""
    for name in ("example-1", "example-2", "rough-day"):
        assert load(Path(name)).rules


def test_rules_match_by_photo_by_order_and_by_chance(tmp_path: Path) -> None:
    """The first that matches is applied; the same seed gives the same answers."""
    import hashlib

    file = scripted(
        tmp_path,
        f"""
        seed: 3
        rules:
          - match: {{image_sha256: "{hashlib.sha256(CAT).hexdigest()[:12]}"}}
            action: {{error: InternalError}}
          - match: {{calls: [2, 4]}}
            action: {{error: FailedOperation.ServerError}}
          - match: {{after: 5, probability: 0.5}}
            action: {{error: FailedOperation.RequestTimeout}}
          - action: {{example: 2}}
        """,
    )

    def run() -> list[str]:
        with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
            first = code(call(running, {"Image": b64(CAT)}))
            return [first, *(code(call(running, {"Image": b64(PORTRAIT)})) for _ in range(20))]

    codes = run()
    assert codes[:5] == ["InternalError", "FailedOperation.ServerError", "OK", "FailedOperation.ServerError", "OK"]
    assert 3 < codes[5:].count("FailedOperation.RequestTimeout") < 14
    assert run() == codes


FAULTS = {
    "{reset: before}": "UPSTREAM_NETWORK",
    "{reset: within}": "UPSTREAM_NETWORK",
    "{http_status: 500, body: oops}": "UPSTREAM_HTTP_STATUS",
    "{body: '<html>'}": "UPSTREAM_MALFORMED",
    "{truncate: 100}": "UPSTREAM_MALFORMED",
    "{oversize: 3000000}": "UPSTREAM_MALFORMED",
    "{error: RequestLimitExceeded}": "UPSTREAM_RATE_LIMIT",
    "{error: ResourceUnavailable.InArrears}": "UPSTREAM_ACCOUNT",
    "{response: {ImageWidth: 1}}": "UPSTREAM_MALFORMED",
}


@pytest.mark.parametrize("action", FAULTS)
async def test_scripted_faults_are_what_our_detector_makes_of_them(tmp_path: Path, action: str) -> None:
    """And the call after it is answered."""
    file = scripted(tmp_path, f"rules: [{{match: {{calls: [1]}}, action: {action}}}, {{action: {{example: 2}}}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), CloudOptions(endpoint=running.url))
        with pytest.raises(GateError) as caught:
            await detector.detect(PhotoBytes(CAT), DetectOptions())
        assert caught.value.reason == FAULTS[action]
        assert isinstance(await detector.detect(PhotoBytes(CAT), DetectOptions()), Detection)
        assert running.calls == 2
        await detector.aclose()


def test_an_oversized_answer_has_the_size_that_is_asked_for(tmp_path: Path) -> None:
    """Though it leaves in pieces."""
    file = scripted(tmp_path, "rules: [{action: {oversize: 200001}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        with pytest.raises(json.JSONDecodeError) as caught:
            call(running, {"Image": b64(CAT)})
        assert caught.value.doc == " " * 200_001
        with urllib.request.urlopen(f"{running.url}/metrics", timeout=10) as page:
            assert 'detectface_emulator_requests_total{action="oversize",code="OK"} 1.0' in page.read().decode()


async def test_hanging_and_dripping_take_their_time(tmp_path: Path) -> None:
    """Until the caller gives up."""
    file = scripted(
        tmp_path,
        "rules: [{match: {calls: [1]}, action: {hang: true}}, {match: {calls: [2]}, action: {drip: 20}}, {action: {example: 2}}]",
    )
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), CloudOptions(endpoint=running.url))
        for photo in (CAT, PORTRAIT):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await detector.detect(PhotoBytes(photo), DetectOptions())
        assert isinstance(await detector.detect(PhotoBytes(CAT), DetectOptions()), Detection)
        await detector.aclose()


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_reset_is_a_reset(tmp_path: Path, when: str) -> None:
    """RST on the wire, not a polite end."""
    file = scripted(tmp_path, f"rules: [{{action: {{reset: {when}}}}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running, pytest.raises(ConnectionResetError):
        call(running, {"Image": b64(CAT)})


def test_an_emulator_whose_user_fails_stops_listening() -> None:
    """The port is free again."""
    port = 0

    def use() -> None:
        nonlocal port
        with detectface_emulator("example-2", detector=RecordingDetector(EXAMPLE_2)) as running:
            port = int(running.host.rsplit(":", 1)[1])
            raise LookupError

    with pytest.raises(LookupError):
        use()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_latency_and_rate_limits(tmp_path: Path) -> None:
    """A fixed latency is kept; over the rate there is RequestLimitExceeded."""
    file = scripted(tmp_path, "latency: {seconds: 0.1}\nrate_limit: {qps: 5}\nrules: [{action: {example: 2}}]")
    with detectface_emulator(file, detector=RecordingDetector(EXAMPLE_2)) as running:
        started = time.perf_counter()
        codes = [code(call(running, {"Image": b64(CAT)}))]
        assert time.perf_counter() - started >= 0.1

        async def burst() -> list[str]:
            return [
                code(each)
                for each in await asyncio.gather(*(asyncio.to_thread(call, running, {"Image": b64(CAT)}) for _ in range(16)))
            ]

        codes += asyncio.run(burst())
        assert 4 <= codes.count("OK") <= 9
        assert codes.count("RequestLimitExceeded") == len(codes) - codes.count("OK")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{action: {eror: InternalError}}]", "rules.0.action.eror: there is no such key"),
        ("rules: [{action: {error: Internal}}]", "'Internal' is not a code that the vendor documents"),
        ("rules: [{action: {error: InternalError, reset: before}}]", "give one of error, reset"),
        ("rules: [{match: {probability: 2}}]", "rules.0.match.probability: must be less than or equal to 1"),
        ("latency: {seconds: 1, median: 2, p99: 3}", "give seconds, or between, or median and p99"),
        ("latency: {between: [2, 1]}", "the first is over the second"),
        ("rate_limit: {qps: 1, code: Nonsense}", "'Nonsense' is not a code that the vendor documents"),
        ("clock_skew_seconds: 1.0e+300", "clock_skew_seconds: must be less than or equal to 1000000000"),
        ("seed: 1\nseed: 2", "scenario.yaml:2: the key 'seed' stands twice"),
        ("seed: high", "seed: must be a whole number"),
        ("a: [", "scenario.yaml:1: is not YAML"),
        ("", "is empty"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_path_and_reason(tmp_path: Path, text: str, message: str) -> None:
    """Before anything listens."""
    with pytest.raises(ScenarioError) as caught:
        load(scripted(tmp_path, text))
    assert message in str(caught.value)


def test_a_scripted_response_must_be_one_that_json_has() -> None:
    """A file's always is; one made in a test may not be."""
    with pytest.raises(ValidationError, match="response: is not JSON"):
        Action(response={"a": 2**70})


# -- weight -----------------------------------------------------------------------------------------------------------


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_1000_large_photos_from_64_clients_leave_no_growth(tmp_path: Path) -> None:
    """Measured on a process of its own: the second half of the 1,000 requests adds nothing to its memory."""
    file = scripted(tmp_path, "rules: [{action: {example: 2}}]")
    command: list[str | Path] = [
        Path(sys.executable).parent / "face-quality-gate",
        "emulate",
        "--address",
        "127.0.0.1:0",
        "--scenario",
        file,
    ]
    command += ["--secret-id", SECRET_ID, "--secret-key", SECRET_KEY]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        drain = asyncio.create_task(process.stderr.read())
        endpoint = CloudOptions(endpoint=f"http://127.0.0.1:{started['port']}")
        detector = TencentCloudDetector(lambda: Credential(SECRET_ID, SECRET_KEY), endpoint)
        photo = PhotoBytes(PORTRAIT + b"\x00" * (3_900_000 - len(PORTRAIT)))

        async def burst(count: int) -> int:
            calls = iter(range(count))

            async def worker() -> None:
                for _ in calls:
                    assert isinstance(await detector.detect(photo, DetectOptions()), Detection)

            await asyncio.gather(*(worker() for _ in range(64)))
            return resident_bytes(process.pid)

        # What is resident swings with how the bodies overlap: growth is what the later bursts all have over the earlier ones.
        after = [await burst(250) for _ in range(4)]
        assert min(after[2:]) <= 1.2 * max(after[:2]), after
        await detector.aclose()
    finally:
        process.terminate()
        await process.wait()
    await drain
    assert process.returncode == 0


def test_the_command_line_asks_for_authentication(tmp_path: Path) -> None:
    """--no-auth must be asked for; a wrong scenario and a wrong key file are said in words."""
    result = run("emulate")
    assert (result.exit_code, "ask for --no-auth" in result.output) == (2, True)
    result = run("emulate", "--no-auth", "--scenario", scripted(tmp_path, yaml.safe_dump({"sed": 1})))
    assert (result.exit_code, "sed: there is no such key" in result.output) == (2, True)
    keys = tmp_path / "keys.json"
    keys.write_text('{"AKID": {"secret": "x"}}')
    result = run("emulate", "--keys", keys)
    assert (result.exit_code, "AKID: must be" in result.output) == (2, True)
    for text in ("AKID", "[" * 100_000):
        keys.write_text(text)
        result = run("emulate", "--keys", keys)
        assert (result.exit_code, f"--keys {keys}: is not JSON" in result.output) == (2, True)
    for name, text in (("keys.json", "must be a PEM file"), ("missing.pem", "cannot be read: No such file")):
        result = run("emulate", "--no-auth", "--tls-certificate", tmp_path / name)
        assert (result.exit_code, f"--tls-certificate {tmp_path / name}: {text}" in result.output) == (2, True)
    result = run("emulate", "--no-auth", "--address", "nowhere")
    assert (result.exit_code, "--address nowhere: must be HOST:PORT" in result.output) == (2, True)
