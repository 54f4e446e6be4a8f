"""The command line's ``policy`` commands: check, show, diff, schema."""

from __future__ import annotations

import json
import typing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from facequality import parts, paths, settings
from facequality.detectors.embedded import capabilities
from facequality.errors import PolicyNotFound, StartError
from facequality.measure import FACE_MEASURES
from facequality.model import Measure
from facequality.policy import PRESETS, Policy, PolicySet
from facequality.policy_document import Change, Effect, differences, document, json_schema, to_yaml
from facequality.policy_file import load
from facequality.policy_mistakes import PolicyFileError
from facequality.rendering import show_policies
from facequality.settings import DetectorName

EXIT_DIFFERENT, EXIT_WARNED, EXIT_ERROR = 1, 1, 2

DefaultPolicy = Annotated[
    str, typer.Option(envvar="FACEQUALITY_DEFAULT_POLICY", help="Default policy, as serve would be told; empty: the file's.")
]

cli = typer.Typer(help="Check, show and compare policies.", no_args_is_help=True)


class Format(StrEnum):
    """How policies are shown."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


@cli.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Policy files, or directories that make one set each.")],
    detector: Annotated[
        DetectorName, typer.Option(envvar="FACEQUALITY_DETECTOR", help="Warn of measures that this detector cannot give.")
    ] = DetectorName.EMBEDDED,
    default: DefaultPolicy = "",
) -> None:
    """Check policy files with the loader that the service uses. Exit status: 0 good, 1 good but warned of, 2 broken."""
    worst = 0
    for file in files:
        try:
            served = load(file, datetime.now(UTC), default)
        except PolicyFileError as error:
            typer.echo(str(error), err=True)
            worst = EXIT_ERROR
            continue
        for policy in served.policies.values():
            for warning in _warnings(policy, detector):
                typer.echo(f"{file}: policies.{policy.name}: warning: {warning}", err=True)
                worst = max(worst, EXIT_WARNED)
        revisions = ", ".join(f"{name} {policy.revision}" for name, policy in served.policies.items())
        typer.echo(f"{file}: {_count(served)}, default {served.default}: {revisions}")
    raise typer.Exit(worst)


@cli.command()
def show(
    name: Annotated[str, typer.Argument(help="One policy; empty: all of them.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="Policy file or directory; else FACEQUALITY_POLICY_FILE, else the built-ins.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TABLE,
    default: DefaultPolicy = "",
) -> None:
    """Show policies as they are applied, resolved; the YAML loads back to the same revisions."""
    served = _served(file, default)
    names = [name] if name else list(served.policies)
    try:
        if output is Format.TABLE:
            show_policies(Console(), served, names)
        elif output is Format.JSON:
            typer.echo(json.dumps(document(served, names), ensure_ascii=False, indent=2))
        else:
            typer.echo(to_yaml(document(served, names)), nl=False)
    except PolicyNotFound as error:
        fail(error.message + (f"; to show that file: policy show --file {name}" if paths.exists(name) else ""))


@cli.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="FILE, FILE:NAME or the name of a built-in.")],
    after: Annotated[str, typer.Argument(metavar="B", help="FILE, FILE:NAME or the name of a built-in.")],
    default: DefaultPolicy = "",
) -> None:
    """Show what a change from A to B tightens and loosens, and its texts. Exit status: 0 nothing, 1 something, 2 an error."""
    (old, old_default), (new, new_default) = _selected(before, default), _selected(after, default)
    if len(old) == len(new) == 1:
        pairs = [(*old.values(), *new.values())]
    else:
        pairs = [(old[name], new[name]) for name in old if name in new]
    tables = [_changes(a, b, changes) for a, b in pairs if (changes := list(differences(a, b)))]
    others = []
    if len(old) != 1 or len(new) != 1:
        others = [f"{name}: {'gone' if name in old else 'new'}" for name in sorted(old.keys() ^ new.keys())]
    if old_default and new_default and old_default != new_default:
        others.append(f"default: {old_default} -> {new_default}")
    if not tables and not others:
        typer.echo("no difference")
        return
    for table in tables:
        Console().print(table)
    for line in others:
        typer.echo(line)
    raise typer.Exit(EXIT_DIFFERENT)


def _changes(before: Policy, after: Policy, changes: list[Change]) -> Table:
    title = before.name if before.name == after.name else f"{before.name} -> {after.name}"
    # Measures are never cut short, however narrow the terminal: the parts must be told apart.
    texts = (Column(name, overflow="fold") for name in ("before", "after", "effect"))
    table = Table(Column("what", no_wrap=True), *texts, title=Text(title), title_justify="left", title_style="bold")
    for change in changes:
        colour = "yellow" if change.effect is Effect.LOOSENS else "green"
        table.add_row(*map(Text, (change.what, change.before, change.after)), f"[{colour}]{change.effect}")
    return table


@cli.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    typer.echo(json.dumps(json_schema(), indent=2))


def _count(served: PolicySet) -> str:
    return "1 policy" if len(served.policies) == 1 else f"{len(served.policies)} policies"


def _warnings(policy: Policy, detector: DetectorName) -> list[str]:
    warnings = []
    if missing := policy.unavailable(_measures_of(detector)):
        warnings.append(f"the {detector} detector cannot give {', '.join(missing)}")
    if policy.vacuous:
        warnings.append(f"the bounds of {', '.join(policy.vacuous)} refuse no value that detectors give")
    return warnings


def _measures_of(detector: DetectorName) -> frozenset[Measure]:
    if detector is DetectorName.EMBEDDED:
        return capabilities.INFO.measures
    return frozenset(FACE_MEASURES)


def _served(file: Path | None, default: str) -> PolicySet:
    try:
        if file is not None:
            return load(file, datetime.now(UTC), default)
        return parts.load_policies(settings.load().model_copy(update={"default_policy": default}))
    except (PolicyFileError, StartError, settings.SettingsError) as error:
        fail(str(error))


def _selected(text: str, default: str) -> tuple[dict[str, Policy], str]:
    """Find what FILE, FILE:NAME or NAME stands for, and the name of a FILE's default."""
    path, _, name = text.rpartition(":")
    try:
        if paths.exists(text):
            served = load(Path(text), datetime.now(UTC), default)
            return dict(served.policies), served.default
        if path and paths.exists(path):
            policy = load(Path(path), datetime.now(UTC), default).get(name)
        elif text in PRESETS:
            policy = PRESETS[text]
        else:
            fail(f"{text!r} is no file, and not one of the built-in policies {', '.join(PRESETS)}")
    except (PolicyFileError, PolicyNotFound) as error:
        fail(str(error))
    return {policy.name: policy}, ""


def fail(text: str) -> typing.NoReturn:
    """End the command with this text."""
    typer.echo(text, err=True)
    raise typer.Exit(EXIT_ERROR)
