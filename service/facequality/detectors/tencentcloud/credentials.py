"""Where API keys come from: fixed values, or files that are read again when they change (a rotated Secret)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from facequality.detectors.tencentcloud.signature import Credential
from facequality.errors import ErrorReason, OperatorFault

log = structlog.get_logger()

MOST_CHARACTERS = 64 * 1024
"""Read from a file at most; a token takes a few thousand."""

REPLACEMENT_SECONDS = 5.0
"""How long files may be unusable before it is an error, s."""

_Stamps = tuple[tuple[int, ...], ...]

CredentialSource = Callable[[], Credential]
"""Returns the current credential; raises OperatorFault if there is no usable one."""


class FileCredentials:
    """One file per value, as Kubernetes mounts a Secret. White space around a value is dropped.

    Files are not replaced atomically: while they are unusable, the previous credential stays in use for a few seconds.
    """

    def __init__(
        self, secret_id: Path, secret_key: Path, token: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read nothing yet; ``clock`` gives seconds."""
        self._paths = (secret_id, secret_key) if token is None else (secret_id, secret_key, token)
        self._clock = clock
        self._unusable_since: float | None = None
        self._stamps: _Stamps = ()
        self._credential: Credential | None = None

    def __call__(self) -> Credential:
        """Return the credential; the files are read again only when one has changed.

        Raises:
            OperatorFault: a file cannot be read, is empty or malformed, and has been for a while.
        """
        try:
            stamps, credential = self._look(), self._credential
            if credential is None or stamps != self._stamps:
                credential = self._take(stamps)
        except (OSError, UnicodeDecodeError, OperatorFault) as error:
            if self._credential is not None and self._unusable_for() <= REPLACEMENT_SECONDS:
                return self._credential
            if isinstance(error, OperatorFault):
                raise
            text = "a file of TENCENTCLOUD_SECRET_ID_FILE, _KEY_FILE or TENCENTCLOUD_TOKEN_FILE cannot be read"
            raise OperatorFault(ErrorReason.UPSTREAM_CREDENTIALS, text) from error
        self._unusable_since = None
        return credential

    def _unusable_for(self) -> float:
        now = self._clock()
        if self._unusable_since is None:
            self._unusable_since = now
        return now - self._unusable_since

    def _look(self) -> _Stamps:
        return tuple(_stamp(path) for path in self._paths)

    def _take(self, stamps: _Stamps) -> Credential:
        credential = usable(*(_read(path) for path in self._paths))
        if self._look() != stamps:
            # The id may belong to one key and the secret to another.
            raise OSError("the files are being replaced")
        if self._credential not in (None, credential):
            log.info("credentials.changed", files=[str(path) for path in self._paths])
        self._credential, self._stamps = credential, stamps
        return credential


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file is replaced, even by a copy that preserves its time."""
    status = path.stat()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError("the file is too large")
    return text


def usable(secret_id: str, secret_key: str, token: str | None = None) -> Credential:
    """Make a credential; white space around its parts is dropped.

    Raises:
        OperatorFault: a part is empty or has characters that no key has.
    """
    credential = Credential(secret_id.strip(), secret_key.strip(), None if token is None else token.strip())
    parts = (("SECRET_ID", credential.secret_id), ("SECRET_KEY", credential.secret_key), ("TOKEN", credential.token))
    for name, value in parts:
        if value is not None and (not value or not value.isascii() or not value.isprintable() or " " in value):
            raise OperatorFault(
                ErrorReason.UPSTREAM_CREDENTIALS, f"the gate's TENCENTCLOUD_{name} (or its file) is empty or malformed"
            )
    return credential
