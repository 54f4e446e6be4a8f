"""The embedded engine on a real portrait and on what spoils it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from facequality.detectors.embedded.appearance import SIZE, Portrait, SharpnessHead, brightness, portrait
from facequality.detectors.embedded.composite import score
from facequality.detectors.embedded.detection import FaceFinder
from facequality.detectors.embedded.detector import EmbeddedDetector
from facequality.detectors.embedded.engine import MODEL_VERSION, _wears_mask
from facequality.detectors.embedded.geometry import Image as Pixels
from facequality.detectors.embedded.geometry import polygon
from facequality.detectors.embedded.landmarks import PARTS
from facequality.detectors.embedded.mesh import FaceMesh, Mesh
from facequality.detectors.embedded.pose import Pose, PoseEstimator, canonical_face
from facequality.detectors.embedded.visibility import completeness
from facequality.errors import ErrorReason, InvalidRequest
from facequality.model import (
    Completeness,
    Detection,
    DetectOptions,
    FaceQuality,
    PhotoBytes,
    PhotoRefused,
    PhotoUri,
    Reason,
    Verdict,
)
from PIL import Image, ImageFilter

from tests import photos
from tests.engine import R, check

OCCLUSIONS = {reason for reason in Reason if reason.value.endswith("_OCCLUDED")}


@pytest.fixture(scope="module")
def astronaut() -> tuple[Pixels, Mesh]:
    """The portrait, BGR, and its face's mesh."""
    photo = np.ascontiguousarray(np.asarray(photos.portrait())[:, :, ::-1])
    return photo, FaceMesh().fit(photo, FaceFinder().find(photo, min_size=34, all_sizes=False)[0])


async def quality(detector: EmbeddedDetector, photo: Image.Image) -> FaceQuality:
    answer = await detector.detect(PhotoBytes(photos.encode(photo)), DetectOptions())
    assert isinstance(answer, Detection)
    assert answer.faces[0].quality is not None
    return answer.faces[0].quality


@pytest.mark.parametrize("policy", ["loose", "normal", "enroll"])
async def test_a_good_portrait_is_accepted(engine_detector: EmbeddedDetector, policy: str) -> None:
    """Undegraded, under every preset that takes a face of 90 px."""
    result = await check(engine_detector, photos.portrait(), policy)
    assert result.judgement.reasons == ()
    assert isinstance(result.answer, Detection)
    assert result.answer.face_model_version == MODEL_VERSION
    assert MODEL_VERSION not in {"2.0", "3.0"}


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (photos.blurred(2), R.TOO_BLURRY),
        (photos.blurred(4), R.TOO_BLURRY),
        (photos.exposed(0.35), R.TOO_DARK),
        (photos.exposed(0.2), R.TOO_DARK),
        (photos.exposed(1.8), R.TOO_BRIGHT),
        (photos.exposed(2.5), R.TOO_BRIGHT),
        (photos.shrunk(300), R.FACE_TOO_SMALL),
        (photos.shrunk(170), R.FACE_TOO_SMALL),
        (photos.shrunk(100), R.NO_FACE),
        (photos.covered_mouth(), R.MOUTH_OCCLUDED),
        (photos.covered_mouth((0, 0, 0)), R.MOUTH_OCCLUDED),
        (photos.covered_mouth((250, 250, 250)), R.MOUTH_OCCLUDED),
        (photos.cat(), R.NO_FACE),
        (photos.two_people(), R.MULTIPLE_FACES),
    ],
)
async def test_a_spoilt_portrait_is_rejected_for_what_spoils_it(
    engine_detector: EmbeddedDetector, photo: Image.Image, reason: Reason
) -> None:
    """Under the default policy."""
    result = await check(engine_detector, photo)
    assert result.judgement.verdict is Verdict.REJECTED
    assert reason in result.judgement.reasons


@pytest.mark.parametrize("photo", [photos.blurred(2), photos.exposed(0.35), photos.exposed(1.8), photos.shrunk(300)])
async def test_mild_degradations_cover_nothing(engine_detector: EmbeddedDetector, photo: Image.Image) -> None:
    """Blur, light and size are not occlusion."""
    result = await check(engine_detector, photo)
    assert not OCCLUSIONS & set(result.judgement.reasons)


async def test_a_patch_over_the_mouth_covers_the_mouth_not_the_eyes(engine_detector: EmbeddedDetector) -> None:
    """What the patch does not touch stays visible."""
    result = await check(engine_detector, photos.covered_mouth())
    touched = {R.MOUTH_OCCLUDED, R.CHIN_OCCLUDED, R.CHEEK_OCCLUDED}
    assert not (OCCLUSIONS - touched) & set(result.judgement.reasons)


async def test_a_small_second_face_is_tolerated_where_the_rule_says_so(engine_detector: EmbeddedDetector) -> None:
    """Dominant takes a face of under a third of the area; exactly_one does not."""
    photo = photos.two_people(0.5)
    assert (await check(engine_detector, photo, "normal")).judgement.reasons == ()
    assert R.MULTIPLE_FACES in (await check(engine_detector, photo, "enroll")).judgement.reasons


async def test_sharpness_falls_with_blur_and_brightness_follows_light(engine_detector: EmbeddedDetector) -> None:
    """Monotone in their causes."""
    sharp = [(await quality(engine_detector, photos.blurred(r))).sharpness or 0 for r in (0.1, 0.7, 1.4, 2.5, 4)]
    assert sharp == sorted(sharp, reverse=True)
    assert len(set(sharp)) == len(sharp)
    bright = [(await quality(engine_detector, photos.exposed(g))).brightness or 0 for g in (0.2, 0.5, 1, 1.5, 2.5)]
    assert bright == sorted(bright)
    assert len(set(bright)) == len(bright)


@pytest.mark.parametrize("name", ["", "biden.jpg", "obama3.jpg"])
@pytest.mark.parametrize("cut", [0.0, 0.05, 0.1])
async def test_the_photos_edge_is_no_detail_of_a_face(
    engine_detector: EmbeddedDetector, portraits: Path, name: str, cut: float
) -> None:
    """A blurred face that the frame touches is no sharper for it, and a sharp one not much less sharp."""
    photo = Image.open(portraits / name).convert("RGB") if name else photos.portrait()
    answer = await engine_detector.detect(PhotoBytes(photos.encode(photo)), DetectOptions())
    assert isinstance(answer, Detection)
    box = answer.faces[0].box
    frame = (
        round(box.x + cut * box.width),
        max(0, round(box.y + cut * box.height)),
        round(box.x + (1 - cut) * box.width),
        min(photo.height, round(box.y + (1 - cut) * box.height)),
    )
    blurred = photo.filter(ImageFilter.GaussianBlur(box.width / 40))
    soft, sharp = [(await quality(engine_detector, each.crop(frame))).sharpness or 0.0 for each in (blurred, photo)]
    assert soft < 40
    assert sharp > 80


@pytest.mark.parametrize("name", ["", "biden.jpg", "obama.jpg", "obama_partial_face.jpg"])
async def test_detail_that_was_made_up_is_no_sharpness(engine_detector: EmbeddedDetector, portraits: Path, name: str) -> None:
    """A blurred face that an editor sharpened, and one of 48 px drawn large, in blocks or smoothly."""
    photo = Image.open(portraits / name).convert("RGB") if name else photos.portrait()
    answer = await engine_detector.detect(PhotoBytes(photos.encode(photo)), DetectOptions())
    assert isinstance(answer, Detection)
    unit = max(answer.faces[0].box.width, answer.faces[0].box.height) / 160
    blurred = photo.filter(ImageFilter.GaussianBlur(2 * unit))
    small = photo.resize((round(photo.width * 0.3 / unit), round(photo.height * 0.3 / unit)), Image.Resampling.BOX)
    for pretended in (
        blurred.filter(ImageFilter.UnsharpMask(3 * unit, 300, 0)),
        small.resize(photo.size, Image.Resampling.NEAREST),
        small.resize(photo.size, Image.Resampling.BICUBIC),
    ):
        assert ((await quality(engine_detector, pretended)).sharpness or 0) < 75
    assert ((await quality(engine_detector, photo)).sharpness or 0) > 85


def test_the_further_a_head_is_turned_the_less_it_scores() -> None:
    """Beyond what the cloud's angles tell, too; these stay within its range."""
    whole = Completeness(90, 90, 90, 90, 90, 90)
    poses = [Pose(0.0, yaw, 0.0) for yaw in (0, 30, 45, 60, 80)]
    scores = [score(sharpness=90, brightness=50, completeness=whole, pose=pose, face_px=200) for pose in poses]
    assert scores == sorted(set(scores), reverse=True)
    assert scores[0] - scores[2] > 5
    behind = score(sharpness=90, brightness=50, completeness=whole, pose=Pose(0.0, 120, 0.0), face_px=200)
    assert behind <= scores[-1]
    assert [pose.attributes() for pose in poses] == [(0, 0), *4 * [(0, 30)]]


def test_a_score_falls_with_each_of_its_terms() -> None:
    """A small face, a dark or glaring one, and one covered part among whole ones."""
    whole = Completeness(90, 90, 90, 90, 90, 90)
    facing = Pose(0.0, 0.0, 0.0)
    best = score(sharpness=90, brightness=50, completeness=whole, pose=facing, face_px=200)
    for changed in (
        score(sharpness=60, brightness=50, completeness=whole, pose=facing, face_px=200),
        score(sharpness=90, brightness=10, completeness=whole, pose=facing, face_px=200),
        score(sharpness=90, brightness=95, completeness=whole, pose=facing, face_px=200),
        score(sharpness=90, brightness=50, completeness=whole, pose=facing, face_px=40),
    ):
        assert changed < best - 2
    spread = Completeness(75, 75, 75, 75, 75, 75)
    one = Completeness(90, 90, 90, 90, 90, 0)
    scores = [score(sharpness=90, brightness=50, completeness=parts, pose=facing, face_px=200) for parts in (spread, one)]
    assert scores[1] < scores[0] - 5, "one covered part weighs more than the same loss over all"


@pytest.mark.parametrize(
    ("mouth", "chin", "nose", "masked"), [(39, 59, 74, True), (40, 59, 74, False), (39, 60, 74, False), (39, 59, 75, False)]
)
def test_a_mask_covers_mouth_chin_and_nose(mouth: int, chin: int, nose: int, masked: bool) -> None:
    """Each of them."""
    parts = Completeness(eyebrow=90, eye=90, nose=nose, cheek=90, mouth=mouth, chin=chin)
    assert _wears_mask(parts) is masked


async def test_duplicates_of_a_face_are_one_and_a_face_may_fill_the_photo(engine_detector: EmbeddedDetector) -> None:
    """Faces are looked for at several sizes."""
    left, top, right, bottom = photos.FACE
    close = photos.portrait().crop((left - 10, top - 10, right + 10, bottom + 10)).resize((900, 1100), Image.Resampling.LANCZOS)
    both = Image.new("RGB", (1400, 1100), "gray")
    both.paste(close, (0, 0))
    both.paste(photos.portrait().resize((256, 256), Image.Resampling.LANCZOS), (1000, 400))
    for photo, count in ((close, 1), (both, 2)):
        answer = await engine_detector.detect(PhotoBytes(photos.encode(photo, "JPEG")), DetectOptions(max_face_num=5))
        assert isinstance(answer, Detection)
        assert len(answer.faces) == count


@pytest.mark.parametrize(("wanted", "count"), [(1, 1), (5, 2)])
async def test_small_faces_beside_a_large_one_are_looked_for_if_wanted(
    engine_detector: EmbeddedDetector, wanted: int, count: int
) -> None:
    """One of 37 px, which takes a second pass; the large face is found by both passes, and is one."""
    photo = Image.new("RGB", (3000, 3000), "gray")
    photo.paste(photos.portrait().resize((2600, 2600), Image.Resampling.LANCZOS), (0, 0))
    photo.paste(photos.portrait().resize((230, 230), Image.Resampling.LANCZOS), (2650, 1000))
    answer = await engine_detector.detect(PhotoBytes(photos.encode(photo, "JPEG")), DetectOptions(max_face_num=wanted))
    assert isinstance(answer, Detection)
    assert len(answer.faces) == count
    assert answer.faces[0].box.width > 400
    assert all(face.box.width < 50 for face in answer.faces[1:])


async def test_quality_and_attributes_are_for_the_largest_faces(engine_detector: EmbeddedDetector) -> None:
    """As the cloud gives them: quality of 30 faces, attributes of 5."""
    photo = Image.new("RGB", (7 * 256, 5 * 256))
    small = photos.portrait().resize((256, 256), Image.Resampling.LANCZOS)
    for place in range(32):
        photo.paste(small, (place % 7 * 256, place // 7 * 256))
    options = DetectOptions(max_face_num=40, need_face_attributes=True)
    answer = await engine_detector.detect(PhotoBytes(photos.encode(photo)), options)
    assert isinstance(answer, Detection)
    assert [face.quality is not None for face in answer.faces] == [True] * 30 + [False] * 2
    assert [face.attributes is not None for face in answer.faces] == [True] * 5 + [False] * 27


def test_a_face_is_no_sharper_than_its_own_resolution(astronaut: tuple[Pixels, Mesh]) -> None:
    """The same crop, said to be of a face of fewer px: it was enlarged."""
    face = portrait(*astronaut)
    head = SharpnessHead()
    sharpness = [head.sharpness(replace(face, face_px=px)) for px in (160.0, 60.0, 30.0, 15.0)]
    assert sharpness == sorted(set(sharpness), reverse=True)
    assert sharpness[2] < 45


def test_what_burns_out_is_no_cover_and_is_bright(astronaut: tuple[Pixels, Mesh]) -> None:
    """Of a face with hidden and glaring px, the glaring ones are seen; highlights count as much as the mean."""
    photo, mesh = astronaut
    hidden = np.zeros(mesh.crop.shape[:2], np.float32)
    assert not portrait(photo // 2, mesh, hidden).seen.any()
    assert portrait(np.full_like(photo, 250), mesh, hidden).seen[40:120, 40:120].all()
    dark = portrait(np.full_like(photo, 60), mesh)
    glints = dark.crop.copy()
    glints[:, ::8] = 255
    assert brightness(replace(dark, crop=glints)) > brightness(dark) + 20


def test_thin_parts_are_held_with_what_is_around_them(astronaut: tuple[Pixels, Mesh]) -> None:
    """Eyes and brows are a few px: a wider area decides; a nose is what it is."""
    _, mesh = astronaut
    visible = np.ones(mesh.crop.shape[:2], np.float32)
    for sides in (PARTS["eye"], PARTS["eyebrow"], PARTS["nose"]):
        for side in sides:
            visible[polygon(mesh.crop_points, side, len(visible))] = 0
    parts = completeness(visible, mesh)
    assert (parts.eye or 0) > 10
    assert (parts.eyebrow or 0) > 10
    assert parts.nose == 0


def test_a_pose_is_as_far_as_the_head_turns() -> None:
    """Of the canonical face, turned."""
    angle = np.radians(50)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    face = canonical_face() * [1, -1, -1]
    assert abs(PoseEstimator().fit(face @ turn.T).yaw) == pytest.approx(50, abs=0.1)


def test_a_mesh_without_an_area_has_a_sharpness() -> None:
    """Landmarks may fall together; nothing is known then, and nothing raises."""
    collapsed = Portrait(np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((468, 2)), 50.0, np.ones((SIZE, SIZE), np.bool_))
    assert 0 <= SharpnessHead().sharpness(collapsed) <= 100


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_turned_photo_is_found_with_rotate_detection(engine_detector: EmbeddedDetector, turns: int) -> None:
    """The box is mapped back, and the roll says how the head lies."""
    upright = photos.portrait()
    turned = Image.fromarray(np.rot90(np.asarray(upright), turns))
    options = DetectOptions(need_rotate_detection=True, need_face_attributes=True)
    answer = await engine_detector.detect(PhotoBytes(photos.encode(turned)), options)
    assert isinstance(answer, Detection)
    (face,) = answer.faces
    left, top, right, bottom = photos.FACE
    corners = {1: (top, 512 - right), 2: (512 - right, 512 - bottom), 3: (512 - bottom, left)}[turns]
    assert corners[0] <= face.box.x <= corners[0] + 60
    assert corners[1] <= face.box.y <= corners[1] + 60
    assert face.attributes is not None
    pose = (face.attributes.pitch, face.attributes.yaw, face.attributes.roll)
    assert all(angle is not None and float(angle).is_integer() for angle in pose)  # as the vendor gives them
    roll = face.attributes.roll or 0
    assert abs((roll + 90 * turns - 3.5 + 180) % 360 - 180) < 5


async def test_what_cannot_be_judged_is_left_unset(engine_detector: EmbeddedDetector) -> None:
    """No gender, age, glasses, hat, hair, expression, beauty or eyes: absent, not zero."""
    photo = PhotoBytes(photos.encode(photos.portrait()))
    answer = await engine_detector.detect(photo, DetectOptions(need_face_attributes=True))
    assert isinstance(answer, Detection)
    attributes = answer.faces[0].attributes
    assert attributes is not None
    for name in ("gender", "age", "glass", "hat", "hair", "expression", "beauty", "eye_open"):
        assert getattr(attributes, name) is None, name
    assert attributes.mask is False
    without = await engine_detector.detect(photo, DetectOptions())
    assert isinstance(without, Detection)
    assert without.faces[0].attributes is None


async def test_uris_are_refused(engine_detector: EmbeddedDetector) -> None:
    """The engine downloads nothing."""
    with pytest.raises(InvalidRequest) as caught:
        await engine_detector.detect(PhotoUri("https://example.com/a.jpg"), DetectOptions())
    assert caught.value.reason is ErrorReason.URL_FORBIDDEN


async def test_the_event_loop_stays_free_while_photos_are_judged(engine_detector: EmbeddedDetector) -> None:
    """The loop ticks many times during one analysis of a large photo."""
    large = photos.encode(photos.portrait().resize((3000, 3000)), "JPEG")
    task = asyncio.create_task(engine_detector.detect(PhotoBytes(large), DetectOptions()))
    ticks = 0
    while not task.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert ticks > 10


async def test_concurrent_photos_get_their_own_answers(engine_detector: EmbeddedDetector) -> None:
    """Engines are not shared: 60 photos at once give what they give alone."""
    kinds = [photos.portrait(), photos.blurred(3), photos.exposed(0.3), photos.cat(), photos.two_people()]
    data = [PhotoBytes(photos.encode(kind, "JPEG")) for kind in kinds]
    options = DetectOptions(max_face_num=3, need_face_attributes=True)
    alone = [await engine_detector.detect(photo, options) for photo in data]
    together = await asyncio.gather(*(engine_detector.detect(photo, options) for photo in data * 12))
    assert together == alone * 12


# -- other people ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["obama.jpg", "obama2.jpg", "biden.jpg"])
async def test_official_portraits_are_accepted(engine_detector: EmbeddedDetector, portraits: Path, name: str) -> None:
    """Good photographs of several people under the default policy."""
    assert (await check(engine_detector, (portraits / name).read_bytes())).judgement.reasons == ()


async def test_a_face_that_the_frame_cuts_is_not_whole(engine_detector: EmbeddedDetector, portraits: Path) -> None:
    """What lies outside the photo is not visible."""
    result = await check(engine_detector, (portraits / "obama_partial_face2.jpg").read_bytes())
    assert OCCLUSIONS & set(result.judgement.reasons)


async def test_the_port_gives_a_refusal_for_undecodable_bytes(engine_detector: EmbeddedDetector) -> None:
    """Also when called directly, without the gate's inspection."""
    assert await engine_detector.detect(PhotoBytes(b"junk"), DetectOptions()) == PhotoRefused(R.IMAGE_UNDECODABLE)
