"""The served policies, changed while the gate runs.

One immutable set is served at a time. A changed file or directory is loaded and validated as a whole; a good set replaces the
served one at once, a broken one changes nothing but is counted, logged and shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from watchfiles import awatch

from facequality import paths
from facequality.policy import PolicySet
from facequality.policy_file import load_snapshot
from facequality.policy_mistakes import Mistake, PolicyFileError
from facequality.policy_source import Fingerprint, Snapshot, take

log = structlog.get_logger()

DEBOUNCE_MILLISECONDS = 200
"""Changes this close together are one: an editor's save, a ConfigMap's swap of its symlink."""
LOOK_MILLISECONDS = 5000
"""How often the content is looked at without an event."""
LOADS = 5
"""How often files are read again that change meanwhile."""


@dataclass(frozen=True, slots=True)
class ReloadFailure:
    """The last reload that failed, if no good one came after it."""

    at: datetime
    reason: str


class PolicyStore:
    """Holds the served set; callable as the gate's source of policies."""

    def __init__(
        self,
        served: PolicySet,
        *,
        on_reload: Callable[[PolicySet], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_reload`` is told of each new set, ``on_failure`` of each reload that failed."""
        self._served = served
        self._on_reload = on_reload
        self._on_failure = on_failure
        self.last_failure: ReloadFailure | None = None

    def __call__(self) -> PolicySet:
        """Return the set of the moment."""
        return self._served

    async def reload(self, path: Path, default: str) -> Fingerprint | None:
        """Load anew, off the event loop; swap if all is well. Never raises for what the files hold.

        Returns what was loaded or refused; None: the files did not stand still.
        """
        now, seen = datetime.now(UTC), None
        try:
            snapshot = await asyncio.to_thread(_settled, path)
            seen = snapshot.fingerprint
            fresh = await asyncio.to_thread(load_snapshot, snapshot, now, default)
        except PolicyFileError as error:
            self.last_failure = ReloadFailure(now, str(error))
            self._on_failure()
            log.error("policy.reload_failed", path=str(path), mistakes=str(error).splitlines())  # noqa: TRY400 - the text is all
            return seen
        self.last_failure = None
        before = {name: policy.revision for name, policy in self._served.policies.items()}
        self._served = fresh
        self._on_reload(fresh)
        after = {name: policy.revision for name, policy in fresh.policies.items()}
        if gone := sorted(before.keys() - after.keys()):
            # Whoever names one of them is refused from now on.
            log.warning("policy.removed", path=str(path), policies=gone)
        log.info("policy.reloaded", path=str(path), default=fresh.default, revisions=after, before=before)
        return seen


class PolicyWatch:
    """Reloads a store whenever the content of its file or directory changes."""

    def __init__(self, store: PolicyStore, path: Path, default: str, seen: Fingerprint | None) -> None:
        """``seen`` is the fingerprint of what the store was first loaded from, so that a change in between is not missed."""
        self._store, self._path, self._default, self._seen = store, path, default, seen
        # The directory is watched, not the file: a ConfigMap publishes by swapping a symlink beside it.
        self._directory = path if paths.is_folder(path) else path.parent
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Watch until stopped."""
        await self._look()
        try:
            async for _ in self._events():
                await self._look()
        except Exception as error:
            # Such as a node whose inotify instances are all in use, or a name beside the file that is no text.
            log.warning("policy.watch_failed", path=str(self._path), seconds=LOOK_MILLISECONDS / 1000, exc_info=error)
            await self._look_now_and_then()

    def stop(self) -> None:
        """End ``run``."""
        self._stop.set()

    def _events(self) -> AsyncIterator[object]:
        # Events tell soon; looking now and then tells surely: a watched directory may be replaced, a symlink's target edited.
        return awatch(
            self._directory,
            stop_event=self._stop,
            debounce=DEBOUNCE_MILLISECONDS,
            step=20,
            recursive=False,
            watch_filter=None,
            rust_timeout=LOOK_MILLISECONDS,
            yield_on_timeout=True,
        )

    async def _look_now_and_then(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), LOOK_MILLISECONDS / 1000)
            await self._look()

    async def _look(self) -> None:
        try:
            # Many events can tell of one change, and of none at all in a directory with other files.
            now = await asyncio.to_thread(take, self._path)
            if now.fingerprint != self._seen:
                # What is loaded may already be something else, and after a mistake of ours it is loaded again.
                self._seen = None
                self._seen = await self._store.reload(self._path, self._default)
        except Exception:
            # Whatever it is, the next change must be seen.
            log.exception("policy.look_failed", path=str(self._path))


def _settled(path: Path) -> Snapshot:
    """Read what stands still: of files that are replaced while they are read, some may be of the old edition.

    Raises:
        PolicyFileError: the files do not stand still.
    """
    for _ in range(LOADS):
        snapshot = take(path)
        if take(path).fingerprint == snapshot.fingerprint:
            return snapshot
    raise PolicyFileError([Mistake(str(path), 0, "", f"the files changed {LOADS} times while they were read")])
