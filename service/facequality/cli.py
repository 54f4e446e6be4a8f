"""The command line."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import grpc
import structlog
import typer
import uvloop
from google.protobuf import json_format
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from facequality import __version__, app, client, logs, parts, policy_cli, settings
from facequality.checking import Checker, CheckFailed, LocalChecker, RemoteChecker, find_photos, read_photo, restate_size
from facequality.detectors.deadline import DeadlineDetector
from facequality.detectors.embedded.start import embedded_detector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.emulator import keys as emulator_keys
from facequality.emulator import scenario as scenarios
from facequality.emulator import server as emulator_server
from facequality.errors import StartError
from facequality.gate import Gate
from facequality.metrics import Metrics
from facequality.policy_cli import EXIT_ERROR, fail
from facequality.rendering import add_error, add_verdict, verdict_table
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

EXIT_REJECTED = 1
PROGRESS_FROM = 5
"""Progress is shown from this many photos on."""

cli = typer.Typer(
    help="The face-quality gate: accepts or rejects face photos before they are enrolled.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cli.add_typer(policy_cli.cli, name="policy")


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"face-quality-gate {__version__}")
        raise typer.Exit


@cli.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files and tables may hold what the terminal has no characters for: the verdicts are worth more than their form.
        sys.stdout.reconfigure(errors="backslashreplace")


# \b: click leaves the lines as they are.
@cli.command(epilog=f"\b\nSettings and their defaults:\n{settings.describe()}")
def serve() -> None:
    """Serve gRPC and metrics. Settings come from the environment."""
    loaded = _settings()
    logs.configure(loaded.log_level)
    for hint in settings.misspelt(settings.environment()):
        structlog.get_logger().warning("settings.unknown_variable", text=hint)
    try:
        uvloop.run(app.run(loaded))
    except StartError as error:
        fail(str(error))


@cli.command()
def check(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photos, or folders searched for jpg, jpeg, png, bmp.")],
    policy: Annotated[str, typer.Option(help="Policy to apply; empty: the default one.")] = "",
    target: Annotated[str, typer.Option(help="HOST:PORT, or any gRPC target, of a gate; empty: judge in this process.")] = "",
    timeout: Annotated[
        float, typer.Option(help="Seconds per photo, up to the gate's limit.", min=0.001, max=300, metavar="SECONDS")
    ] = 10.0,
    attributes: Annotated[bool, typer.Option("--attributes", help="Also ask for pose, mask, ... (--json shows them).")] = False,
    rotated: Annotated[bool, typer.Option("--rotated", help="Also find faces that lie on their side or upside down.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON object a line: the response as protobuf's JSON with its photo, or photo and error."
        ),
    ] = False,
) -> None:
    """Judge photos. Exit status: 0 all accepted, 1 some rejected, 2 any error.

    Without --target the photos are judged in this process, with the settings that serve would use, such as
    FACEQUALITY_POLICY_FILE for policies of your own: with the tencentcloud detector each photo is a paid call. /dev/stdin
    is a photo too; a URI is not: send it to a gate.
    """
    logs.configure("error")
    if not _is_text(policy):
        fail("--policy is not text")
    options = pb.DetectOptions(need_face_attributes=attributes, need_rotate_detection=rotated)
    raise typer.Exit(asyncio.run(_check(photos, policy, options, target, timeout, as_json=as_json)))


@cli.command()
def emulate(
    address: Annotated[str, typer.Option(help="HOST:PORT to listen on.")] = "127.0.0.1:8765",
    scenario: Annotated[
        Path | None, typer.Option(help="Scenario file, or a shipped one: example-1, example-2, rough-day.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help='JSON file of accepted keys: {"id": {"key": "…", "token": "…"}}.')] = None,
    secret_id: Annotated[str, typer.Option(help="Id of one accepted key.")] = "",
    secret_key: Annotated[
        str, typer.Option(envvar="EMULATOR_SECRET_KEY", help="Its secret; the variable keeps it out of the process list.")
    ] = "",
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Accept requests without checking signatures.")] = False,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file of certificate and key: serve HTTPS.")] = None,
) -> None:
    """Serve a DetectFace-compatible HTTP endpoint on the embedded engine."""
    logs.configure("info")
    try:
        with _names("--keys", keys):
            accepted = _emulator_keys(keys, secret_id, secret_key, no_auth=no_auth)
        script = scenarios.load(scenario) if scenario is not None else None
        with _names("--tls-certificate", tls_certificate):
            tls = emulator_keys.tls_context(tls_certificate) if tls_certificate is not None else None
        detector = embedded_detector()
    except (StartError, scenarios.ScenarioError) as error:
        fail(str(error))
    try:
        asyncio.run(emulator_server.serve_forever(detector, accepted, script, address, tls))
    except ValueError as error:
        fail(f"--address {address}: {error}")
    except OSError as error:
        fail(f"cannot listen on {address}: {error.strerror}")


@contextmanager
def _names(option: str, file: Path | None) -> Iterator[None]:
    """Say which option's file is wrong, and what is wrong with it."""
    try:
        yield
    except (ValueError, OSError) as error:
        why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        fail(f"{option} {file}: {why}" if file is not None else why)


def _emulator_keys(file: Path | None, secret_id: str, secret_key: str, *, no_auth: bool) -> dict[str, Credential] | None:
    given = emulator_keys.read_keys(file.read_text(encoding="utf-8")) if file is not None else {}
    if secret_id and secret_key:
        given[secret_id] = Credential(secret_id, secret_key)
    if not given and not no_auth:
        raise ValueError("give --secret-id and --secret-key, or --keys; or ask for --no-auth")
    return None if no_auth else given


async def _check(paths: list[Path], policy: str, options: pb.DetectOptions, target: str, timeout: float, *, as_json: bool) -> int:
    photos = list(find_photos(paths))
    if all(wrong for _, wrong in photos) and not as_json:
        fail("no photo found" + "".join(f"\n{path}: {wrong}" for path, wrong in photos))
    table, worst = verdict_table(), 0
    hidden = as_json or len(photos) < PROGRESS_FROM or not sys.stderr.isatty()
    try:
        with Progress(console=Console(stderr=True), disable=hidden, transient=True) as progress:
            task = progress.add_task("checking", total=len(photos))
            async with _checker(target, timeout) as checker:
                for photo, wrong in photos:
                    if wrong:
                        outcome: pb.CheckFaceQualityResponse | CheckFailed = CheckFailed("INVALID_ARGUMENT", "", wrong)
                    else:
                        outcome = await _check_one(checker, photo, policy, options)
                    worst = max(worst, _report(photo, outcome, None if as_json else table))
                    progress.advance(task)
    finally:
        # Also of a run that is interrupted: each verdict may have been paid for.
        if table.row_count:
            Console().print(table)
    return worst


def _report(photo: Path, outcome: pb.CheckFaceQualityResponse | CheckFailed, table: Table | None) -> int:
    """Add an outcome to the table, or write it as a line of JSON; return its exit status."""
    if table is None:
        typer.echo(json.dumps({"photo": str(photo)} | _as_json(outcome)))
    elif isinstance(outcome, CheckFailed):
        add_error(table, str(photo), outcome.code, outcome.reason, outcome.message)
    else:
        add_verdict(table, str(photo), outcome)
    if isinstance(outcome, CheckFailed):
        return EXIT_ERROR
    return 0 if outcome.verdict == verdict_pb2.VERDICT_ACCEPTED else EXIT_REJECTED


async def _check_one(
    checker: Checker, photo: Path, policy: str, options: pb.DetectOptions
) -> pb.CheckFaceQualityResponse | CheckFailed:
    try:
        image, size = await asyncio.to_thread(read_photo, photo)
    except OSError as error:
        hint = "; this command takes files: send a URI to a gate" if str(photo).startswith(("http:/", "https:/")) else ""
        return CheckFailed("INVALID_ARGUMENT", "", f"cannot be read: {error.strerror}{hint}")
    try:
        answer = await checker.check(pb.CheckFaceQualityRequest(image=image, policy=policy, options=options))
    except CheckFailed as error:
        return error
    if size > len(image):
        restate_size(answer, size)
    return answer


@asynccontextmanager
async def _checker(target: str, timeout: float) -> AsyncIterator[Checker]:
    if target:
        async with grpc.aio.insecure_channel(target, options=client.channel_options(timeout=False)) as channel:
            yield RemoteChecker(channel, timeout)
        return
    loaded = _settings()
    for hint in settings.misspelt(settings.environment()):
        typer.echo(hint, err=True)
    try:
        policies = parts.load_policies(loaded)
        detector = await asyncio.to_thread(parts.build_detector, loaded, Metrics(CollectorRegistry()))
    except StartError as error:
        fail(str(error))
    try:
        yield LocalChecker(Gate(lambda: policies, DeadlineDetector(detector)), min(timeout, loaded.deadline_seconds))
    finally:
        await detector.aclose()


def _as_json(outcome: pb.CheckFaceQualityResponse | CheckFailed) -> dict[str, object]:
    if isinstance(outcome, CheckFailed):
        error: dict[str, object] = {"code": outcome.code, "reason": outcome.reason, "message": outcome.message}
        return {"error": error | ({"metadata": outcome.metadata} if outcome.metadata else {})}
    document: dict[str, object] = json_format.MessageToDict(outcome, always_print_fields_with_no_presence=True)
    return document


def _is_text(argument: str) -> bool:
    """Whether an argument's bytes were text; if not, Python keeps them as surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settings() -> settings.Settings:
    try:
        return settings.load(serving=True)
    except settings.SettingsError as error:
        fail(str(error))
