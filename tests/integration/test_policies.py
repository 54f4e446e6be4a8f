"""Policy files while the gate runs: reload, shadow, guidance."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import functools
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from facequality.errors import StartError
from facequality.policy import PolicySet, built_in
from facequality.policy_source import Snapshot, take
from facequality.reload import PolicyStore
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import verdict_pb2

from tests.detections import EXAMPLE_2
from tests.policy_files import BROKEN, LOOSE, PHOTO, STRICT, gate, write
from tests.running import Fake, until


class ConfigMap:
    """A mounted ConfigMap: data directories, and a symlink that is swapped to publish."""

    def __init__(self, root: Path, text: str) -> None:
        self.root, self.count = root, 0
        root.mkdir()
        self.publish(text)
        (root / "policies.yaml").symlink_to("..data/policies.yaml")

    def publish(self, text: str) -> None:
        self.count += 1
        data = self.root / f"..data_{self.count}"
        data.mkdir()
        (data / "policies.yaml").write_text(text, encoding="utf-8")
        (self.root / "..data_tmp").symlink_to(data.name)
        (self.root / "..data_tmp").rename(self.root / "..data")


def revision(served: Fake) -> str:
    return served.app.store().get("").revision


@pytest.mark.parametrize("mounted", ["file", "ConfigMap"])
async def test_answers_are_consistent_with_the_revision_they_name_while_the_file_flips(mounted: str, tmp_path: Path) -> None:
    """10,000 checks at 32 concurrent, 50 flips between two good sets and a broken one: no error, no mixture."""
    if mounted == "file":
        path = tmp_path / "policies.yaml"
        write(path, STRICT)
        publish: Callable[[str], None] = functools.partial(write, path)
    else:
        config_map = ConfigMap(tmp_path / "mounted", STRICT)
        path, publish = config_map.root, config_map.publish
    async with gate(path) as served:
        strict = revision(served)
        expected = {strict: ["CHEEK_OCCLUDED", "CHIN_OCCLUDED", "TOO_BLURRY", "LOW_SCORE"]}
        publish(LOOSE)
        await until(lambda: revision(served) != strict)
        expected[revision(served)] = []
        seen: dict[str, int] = {}
        calls = iter(range(10_000))

        async def caller() -> None:
            for _ in calls:
                response = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO))
                reasons = [verdict_pb2.Reason.Name(r).removeprefix("REASON_") for r in response.reasons]
                assert reasons == expected[response.policy_revision]
                seen[response.policy_revision] = seen.get(response.policy_revision, 0) + 1

        async def flipper() -> None:
            for flip in range(50):
                publish((STRICT, BROKEN, LOOSE)[flip % 3] + f" # {flip}")
                await asyncio.sleep(0.12)

        await asyncio.gather(flipper(), *(caller() for _ in range(32)))
        assert sum(seen.values()) == 10_000
        assert set(seen) == set(expected)
        assert served.sample("facequality_policy_reloads_total", result="failure") > 0
        publish(STRICT + " # last")
        await until(lambda: revision(served) == strict)


async def test_a_config_maps_swap_is_seen_once(tmp_path: Path) -> None:
    """One publication, one reload; and none for what is already served."""
    config_map = ConfigMap(tmp_path / "mounted", STRICT)
    async with gate(config_map.root) as served:
        for count, text in enumerate((LOOSE, STRICT, LOOSE), 1):
            before = revision(served)
            config_map.publish(text)
            await until(lambda before=before: revision(served) != before)
            await asyncio.sleep(0.4)
            assert served.sample("facequality_policy_reloads_total", result="success") == count
        config_map.publish(LOOSE)
        (config_map.root / "unrelated.txt").write_text("x")
        await asyncio.sleep(0.6)
        assert served.sample("facequality_policy_reloads_total", result="success") == 3


async def test_a_directory_that_is_replaced_is_still_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what a symlink points at elsewhere: what no event tells is looked at now and then."""
    monkeypatch.setattr("facequality.reload.LOOK_MILLISECONDS", 300)
    folder, target = tmp_path / "policies", tmp_path / "elsewhere.yaml"
    folder.mkdir()
    write(folder / "policies.yaml", STRICT)
    async with gate(folder) as served:
        strict = revision(served)
        folder.rename(tmp_path / "old")
        folder.mkdir()
        write(target, LOOSE)
        (folder / "policies.yaml").symlink_to(target)
        await until(lambda: revision(served) != strict)
        write(target, STRICT)
        await until(lambda: revision(served) == strict)
        target.unlink()
        await until(lambda: served.app.store.last_failure is not None)
        assert revision(served) == strict


async def test_without_events_the_file_is_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node may have no inotify instance left."""

    async def exhausted(*_: object, **__: object) -> AsyncIterator[object]:
        if path.exists():
            raise RuntimeError("Too many open files (os error 24)")
        yield path

    monkeypatch.setattr("facequality.reload.awatch", exhausted)
    monkeypatch.setattr("facequality.reload.LOOK_MILLISECONDS", 50)
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        # Twice: the first change may be seen as the watch begins.
        for text in (LOOSE, STRICT):
            before = revision(served)
            write(path, text)
            await until(lambda before=before: revision(served) != before)


async def test_files_are_read_off_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds up no check; one that cannot be read at all changes nothing and is told."""
    threads: list[threading.Thread] = []

    def unreadable(_: Path) -> list[Path]:
        threads.append(threading.current_thread())
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("facequality.policy_source.policy_files", unreadable)
    served = built_in(datetime.now(UTC))
    store = PolicyStore(served)
    await store.reload(tmp_path, "")
    assert store() is served
    assert store.last_failure is not None
    assert store.last_failure.reason == f"{tmp_path}: cannot be read: Permission denied"
    assert threads[0] is not threading.main_thread()


async def test_files_that_are_swapped_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that nobody published is never served; nor is one kept that never stands still."""
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", f"policies: {{{name}: {{extends: strict}}}}")
    editions = iter(("loose", "normal"))

    def swapped(path: Path) -> Snapshot:
        found = take(path)
        for edition in editions:
            write(tmp_path / "a.yaml", f"policies: {{a: {{extends: {edition}}}}}")
            break
        return found

    monkeypatch.setattr("facequality.reload.take", swapped)
    told: list[PolicySet] = []
    store = PolicyStore(built_in(datetime.now(UTC)), on_reload=told.append)
    await store.reload(tmp_path, "a")
    assert [policies.get("a").description for policies in told] == ["extends normal"]
    editions = itertools.cycle(("loose", "normal"))
    await store.reload(tmp_path, "a")
    assert len(told) == 1
    assert store.last_failure is not None
    assert "changed 5 times" in store.last_failure.reason


async def test_an_edition_that_comes_back_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen, another has come by the time it is loaded, and it is back before the next look."""
    path = tmp_path / "policies.yaml"
    monkeypatch.setattr("facequality.reload.LOOK_MILLISECONDS", 50)
    write(path, STRICT)
    async with gate(path) as served:
        strict, reload = revision(served), served.app.store.reload
        loaded = asyncio.Event()

        async def too_late(*arguments: Any) -> Any:
            monkeypatch.setattr(served.app.store, "reload", reload)
            write(path, f"{STRICT}\n")
            seen = await reload(*arguments)
            assert revision(served) == strict
            write(path, LOOSE)
            loaded.set()
            return seen

        monkeypatch.setattr(served.app.store, "reload", too_late)
        write(path, LOOSE)
        await loaded.wait()
        await until(lambda: revision(served) != strict)


async def test_a_file_that_could_not_be_read_for_a_moment_is_loaded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when all file descriptors are in use: its content has not been seen."""
    path = tmp_path / "policies.yaml"
    monkeypatch.setattr("facequality.reload.LOOK_MILLISECONDS", 50)
    write(path, STRICT)
    async with gate(path) as served:
        strict, opened, reload = revision(served), Path.open, served.app.store.reload

        def exhausted(file: Path, *arguments: Any, **more: Any) -> Any:
            if file == path:
                raise OSError(errno.EMFILE, "Too many open files")
            return opened(file, *arguments, **more)

        async def in_a_bad_moment(*arguments: Any) -> Any:
            monkeypatch.setattr(served.app.store, "reload", reload)
            monkeypatch.setattr(Path, "open", exhausted)
            try:
                return await reload(*arguments)
            finally:
                monkeypatch.setattr(Path, "open", opened)

        monkeypatch.setattr(served.app.store, "reload", in_a_bad_moment)
        write(path, LOOSE)
        await until(lambda: served.app.store.last_failure is not None)
        await until(lambda: revision(served) != strict)
        assert served.app.store.last_failure is None


async def test_no_mistake_of_ours_ends_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the next change is seen."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        failing = iter((RuntimeError("a bug"), RuntimeError("another")))
        tell = served.app.metrics.serve_policies

        def told(policies: PolicySet) -> None:
            for error in failing:
                raise error
            tell(policies)

        monkeypatch.setattr(served.app.store, "_on_reload", told)
        for text in (LOOSE, STRICT, LOOSE):
            before = revision(served)
            write(path, text)
            await until(lambda before=before: revision(served) != before)
        # Nobody was told of the first two; of the third all were.
        labels = {"policy": "gate", "revision": revision(served), "is_default": "true"}
        await until(lambda: served.app.metrics.registry.get_sample_value("facequality_policy_info", labels) == 1)


async def test_no_content_ends_the_watch(tmp_path: Path) -> None:
    """After what the YAML library stumbles over, the next good file is served."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        strict = revision(served)
        write(path, 'a: "\\U00110000"')
        await until(lambda: served.app.store.last_failure is not None)
        write(path, LOOSE)
        await until(lambda: revision(served) != strict)


async def test_a_broken_file_changes_nothing_and_is_shown_until_it_is_mended(tmp_path: Path) -> None:
    """Counted, and told by GetPolicy and ListPolicies with its reason."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        shown = await served.stub.GetPolicy(pb.GetPolicyRequest())
        assert not shown.HasField("last_failed_reload")
        assert shown.policy.source == str(path)
        write(path, BROKEN)
        await until(lambda: served.app.store.last_failure is not None)
        shown = await served.stub.GetPolicy(pb.GetPolicyRequest())
        assert "there is no measure 'sharpnes'; did you mean sharpness?" in shown.last_failed_reload.reason
        assert shown.last_failed_reload.time.seconds > 0
        assert shown.policy.revision == revision(served)
        assert (await served.stub.ListPolicies(pb.ListPoliciesRequest())).HasField("last_failed_reload")
        assert served.sample("facequality_policy_reloads_total", result="failure") == 1
        assert served.sample("facequality_policy_last_reload_successful") == 0
        strict = {"policy": "gate", "revision": revision(served), "is_default": "true"}
        write(path, LOOSE)
        await until(lambda: served.app.store.last_failure is None)
        assert served.sample("facequality_policy_last_reload_successful") == 1
        assert served.app.metrics.registry.get_sample_value("facequality_policy_info", strict) is None, "it is no longer served"
        assert not (await served.stub.GetPolicy(pb.GetPolicyRequest())).HasField("last_failed_reload")
        labels = {"policy": "gate", "revision": revision(served), "is_default": "true"}
        assert served.sample("facequality_policy_info", **labels) == 1


async def test_the_operators_default_outlives_a_reload(tmp_path: Path) -> None:
    """The file has a default of its own."""
    path = tmp_path / "policies.yaml"
    write(path, "{default: a, policies: {a: {extends: loose}, b: {extends: loose}}}")
    async with gate(path, default="b") as served:
        assert served.app.store().default == "b"
        before = served.app.store()
        write(path, "{default: a, policies: {a: {extends: strict}, b: {extends: strict}}}")
        await until(lambda: served.app.store() is not before)
        assert served.app.store().default == "b"


async def test_a_broken_file_at_the_start_ends_it(tmp_path: Path) -> None:
    """With every mistake."""
    path = tmp_path / "policies.yaml"
    write(path, BROKEN)
    with pytest.raises(StartError, match="did you mean sharpness"):
        async with gate(path):
            pass


async def test_a_file_replaces_the_presets(tmp_path: Path) -> None:
    """Or any caller could choose loose."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO, policy="loose"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_policy_that_goes_is_warned_of(tmp_path: Path) -> None:
    """The new set is good, but whoever names the one that is gone is refused from then on."""
    path = tmp_path / "policies.yaml"
    write(path, "{default: gate, policies: {gate: {extends: enroll}, door: {extends: loose}}}")
    async with gate(path) as served:
        before = revision(served)
        with structlog.testing.capture_logs() as lines:
            write(path, LOOSE)
            await until(lambda: revision(served) != before)
        warned = [line["policies"] for line in lines if line["event"] == "policy.removed"]
        assert warned == [["door"]]


async def test_bounds_that_judge_nothing_are_warned_of_after_a_reload_too(tmp_path: Path) -> None:
    """As at the start."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        before = revision(served)
        with structlog.testing.capture_logs() as lines:
            write(path, "policies: {gate: {extends: loose, bounds: {score: {min: 0}}}}")
            await until(lambda: revision(served) != before)
        warned = [line["measures"] for line in lines if line["event"] == "policy.bounds_refuse_nothing"]
        assert warned == [["score"]]


async def test_a_shadow_is_judged_on_the_same_detection_and_counted(tmp_path: Path) -> None:
    """One call of the detector that serves both; the first policy answers; flips by direction and reason."""
    path = tmp_path / "policies.yaml"
    write(
        path,
        """
        default: now
        policies:
          now: {extends: loose, shadow: next}
          next: {extends: strict}
          tight: {extends: enroll, shadow: lax}
          lax: {extends: loose}
        """,
    )
    asked: list[Any] = []
    async with gate(path) as served:
        original = served.detector.detect

        async def recording(photo: Any, options: Any) -> Any:
            asked.append(options)
            return await original(photo, options)

        served.detector.detect = recording  # type: ignore[method-assign]
        accepted = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO))
        rejected = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO, policy="tight"))
        assert accepted.verdict == verdict_pb2.VERDICT_ACCEPTED
        assert rejected.verdict == verdict_pb2.VERDICT_REJECTED
        assert [(each.max_face_num, each.need_face_attributes) for each in asked] == [(2, True), (2, False)]

        def flips(policy: str, shadow: str, direction: str, reason: str) -> float:
            labels = {"policy": policy, "shadow": shadow, "direction": direction, "reason": reason}
            return served.sample("facequality_shadow_would_flip_total", **labels)

        assert flips("now", "next", "accepted_to_rejected", "MASK_WORN") == 1
        assert flips("now", "next", "accepted_to_rejected", "TOO_DARK") == 0
        assert flips("tight", "lax", "rejected_to_accepted", "CHEEK_OCCLUDED") == 1
        # The check counts once, however many reasons turn it.
        turned = {"policy": "now", "shadow": "next", "direction": "accepted_to_rejected"}
        assert served.sample("facequality_shadow_flips_total", **turned) == 1
        # Both reject it: nothing turns.
        served.detector.answer = dataclasses.replace(EXAMPLE_2, faces=())
        await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO))
        assert served.sample("facequality_shadow_flips_total", **turned) == 1


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, "Make sure that your chin is in the picture and that nothing covers it."),
        ("zh-CN,zh;q=0.9,en;q=0.8", "请确保下巴在画面内且没有被遮挡。"),
        ("zh", "请确保下巴在画面内且没有被遮挡。"),
        ("zh-Hans-SG", "请确保下巴在画面内且没有被遮挡。"),
        ("en-GB, zh;q=0.5", "Make sure that your chin is in the picture and that nothing covers it."),
        ("zh;q=0.2, en;q=0.9", "Make sure that your chin is in the picture and that nothing covers it."),
        ("fr, zh-CN;q=0.5", "请确保下巴在画面内且没有被遮挡。"),
        ("zh-Hant-TW", "Make sure that your chin is in the picture and that nothing covers it."),
        ("fr-CA, de", "Make sure that your chin is in the picture and that nothing covers it."),
        ("zh;q=0", "Make sure that your chin is in the picture and that nothing covers it."),
        (";;q=x,,, zh;q=nonsense", "Make sure that your chin is in the picture and that nothing covers it."),
    ],
)
async def test_guidance_speaks_the_callers_language(tmp_path: Path, language: str | None, expected: str) -> None:
    """English where there is no better one; never a failure."""
    path = tmp_path / "policies.yaml"
    write(path, STRICT)
    async with gate(path) as served:
        metadata = (("accept-language", language),) if language is not None else ()
        response = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO), metadata=metadata)
        chin = next(f for f in response.findings if f.measure == verdict_pb2.MEASURE_COMPLETENESS_CHIN)
        assert chin.guidance == expected


async def test_a_policys_own_guidance_comes_first(tmp_path: Path) -> None:
    """In the language it has; the built-in in the other."""
    path = tmp_path / "policies.yaml"
    write(path, "policies: {gate: {extends: enroll, guidance: {CHIN_OCCLUDED: {en: Lower the scarf.}}}}")
    async with gate(path) as served:
        for language, expected in (("en", "Lower the scarf."), ("zh", "请确保下巴在画面内且没有被遮挡。")):
            metadata = (("accept-language", language),)
            response = await served.stub.CheckFaceQuality(pb.CheckFaceQualityRequest(image=PHOTO), metadata=metadata)
            chin = next(f for f in response.findings if f.measure == verdict_pb2.MEASURE_COMPLETENESS_CHIN)
            assert chin.guidance == expected
