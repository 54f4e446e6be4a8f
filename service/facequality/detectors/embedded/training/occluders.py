"""Things painted over faces, with the mask of what they cover: masks, hands, glasses, hair, brims, scarves, patches.

Every painter takes a float image (n, n, 3) BGR 0-255 and the mesh in its px, and returns the painted image and the cover,
(n, n), 0..1. All randomness comes from the one seeded generator.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image
from facequality.detectors.embedded.training.faces import TEXTURES, read

Canvas = npt.NDArray[Any]
"""Numbers 0-255, (n, n, 3), or 0..1, (n, n)."""
Painted = tuple[Canvas, Canvas]

TRAIN_TEXTURES = ("brick.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg", "page.png",
                  "coins.png", "ihc.png", "cell.png")  # fmt: skip
TEST_TEXTURES = ("grass.png", "hubble_deep_field.jpg", "motorcycle_left.png", "text.png", "moon.png", "logo.png",
                 "clock_motion.png")  # fmt: skip
SKIN_TONES = np.array([[120, 150, 205], [100, 130, 190], [60, 90, 140], [40, 60, 95], [150, 180, 230]], np.float64)
HAIR_TONES = np.array([[20, 20, 25], [30, 45, 70], [70, 120, 170], [40, 60, 100]], np.float64)
SURGICAL_BLUE = np.array([225.0, 200.0, 150.0])

_SKIN_SPOTS = (50, 280, 4, 101, 330, 151)
_CHEEK, _BROW = list(lm.CHEEKS[0]), list(lm.FOREHEAD[0])
_JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234)
_MIXTURE = {"mask": 0.16, "hand": 0.15, "blob": 0.13, "glasses": 0.13, "hair": 0.08, "brim": 0.06, "scarf": 0.05,
            "part": 0.17, "skin_blob": 0.07}  # fmt: skip


class Occluders:
    """A seeded source of occluders."""

    def __init__(self, seed: int, textures: tuple[str, ...] = TRAIN_TEXTURES) -> None:
        """``textures`` are files that scikit-image ships."""
        self.random = np.random.default_rng(seed)
        self._textures = [read(TEXTURES / name) for name in textures]

    def paint(self, image: Image, points: Floats) -> Painted:
        """Paint nothing (one time in eight), thin frames (one in twelve), or one or two occluders."""
        canvas, cover = image.astype(np.float64), np.zeros(image.shape[:2])
        if self._chance(0.22):
            return (canvas, cover) if self._chance(0.6) else (self._clear_glasses(canvas, points), cover)
        for _ in range(1 if self._chance(0.75) else 2):
            kind = self.random.choice(list(_MIXTURE), p=list(_MIXTURE.values()))
            canvas, more = getattr(self, f"_{kind}")(canvas, points)
            cover = np.maximum(cover, more)
        return canvas, cover

    def reshape(self, image: Image, points: Floats) -> tuple[Image, Floats]:
        """Bend a face into another one: smooth local displacements, another aspect, other tones of skin and hair."""
        size = image.shape[0]
        amplitude = self._between(0, 0.05) * size
        bend = [self._noise(size, max(2, size // 4)) * amplitude / 2 for _ in range(2)]
        stretch = [self._between(-0.14, 0.14), self._between(-0.08, 0.08)]
        yy, xx = np.mgrid[:size, :size].astype(np.float64)
        dx = np.clip(bend[0], -0.08 * size, 0.08 * size) + stretch[0] * (xx - size / 2)
        dy = np.clip(bend[1], -0.08 * size, 0.08 * size) + stretch[1] * (yy - size / 2)
        source = (xx + dx).astype(np.float32), (yy + dy).astype(np.float32)
        bent = cv2.remap(image, *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        moved = points.copy()
        for _ in range(4):  # p' + d(p') = p, solved by iteration
            x, y = np.clip(np.round(moved[:, :2]), 0, size - 1).astype(int).T
            moved[:, 0], moved[:, 1] = points[:, 0] - dx[y, x], points[:, 1] - dy[y, x]
        lab = cv2.cvtColor(bent.astype(np.uint8), cv2.COLOR_BGR2LAB).astype(np.float64)
        lab[..., 0] = 255 * (lab[..., 0] / 255) ** float(np.exp(self._between(-0.5, 0.6)))
        lab[..., 1:] = 128 + (lab[..., 1:] - 128) * self._between(0.6, 1.4) + self.random.normal(size=2) * 3
        return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR).astype(np.uint8), moved

    def light(self, canvas: Canvas) -> Image:
        """Cast shadows, exposure, colour casts, blur, small sizes, noise and JPEG, as cameras do."""
        size = canvas.shape[0]
        x: Canvas = canvas / 255.0
        if self._chance(0.35):
            angle = self._between(0, 2 * np.pi)
            yy, xx = np.mgrid[:size, :size] / size - 0.5
            distance = np.cos(angle) * xx + np.sin(angle) * yy + self._between(-0.15, 0.15)
            shadow = 1 / (1 + np.exp(-distance * self._between(4, 60)))
            x = x * (1 - self._between(0.2, 0.75) * shadow)[..., None]
        if self._chance(0.6):
            gain = float(np.exp(self._between(np.log(0.2), np.log(2.4))))
            x = np.clip(x, 0, 1) ** self._between(0.55, 1.7) * gain
        if self._chance(0.3):
            x = x * self.random.uniform(0.75, 1.25, 3)
        if self._chance(0.12):
            x = x.mean(axis=2, keepdims=True).repeat(3, axis=2)
        if self._chance(0.35):
            x = cv2.GaussianBlur(x, (0, 0), self._between(0.4, 3.5) * size / 320)
        if self._chance(0.2):
            scale = self._between(0.2, 0.7)
            small = cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        if self._chance(0.3):
            x = x + self.random.normal(size=x.shape) * self._between(0.005, 0.05)
        photo: Image = np.clip(x * 255, 0, 255).astype(np.uint8)
        if self._chance(0.4):
            photo = jpeg(photo, int(self._between(25, 90)))
        return photo

    # -- randomness ----------------------------------------------------------------------------------------------------

    def _between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def _chance(self, probability: float) -> bool:
        return bool(self.random.uniform() < probability)

    def _pick(self, choices: tuple[int, ...] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(choices[int(self.random.integers(len(choices)))], np.float64)

    def _index(self, *choices: int) -> int:
        return choices[int(self.random.integers(len(choices)))]

    # -- material ------------------------------------------------------------------------------------------------------

    def _noise(self, size: int, grain: int) -> Canvas:
        cells = max(2, size // grain)
        coarse = self.random.normal(size=(cells, cells))
        return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float64)

    def _colour(self) -> npt.NDArray[np.float64]:
        kind = self.random.integers(6)
        if kind == 0:
            return np.full(3, 255.0) * self._between(0.6, 1)
        if kind == 1:
            return np.full(3, 255.0) * self._between(0, 0.25)
        if kind == 2:
            return SURGICAL_BLUE * self._between(0.6, 1.1)
        return self.random.uniform(0, 255, 3)

    def _material(self, size: int) -> Canvas:
        """Plain cloth, a piece of a photograph, or stripes and checks, with folds and light on it."""
        kind = self.random.integers(5)
        if kind <= 1:
            material = np.ones((size, size, 3)) * self._colour()
        elif kind in (2, 3):
            source = self._textures[int(self.random.integers(len(self._textures)))]
            side = int(self._between(0.25, 1) * min(source.shape[:2]))
            y, x = (int(self._between(0, extent - side + 1)) for extent in source.shape[:2])
            patch = source[y : y + side, x : x + side]
            material = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
            if self._chance(0.4):
                material = material.mean(axis=2, keepdims=True) * self._colour() / 160
        else:
            material = self._stripes(size)
        yy, xx = np.mgrid[:size, :size] / size
        light = 1 + self._between(0, 0.25) * self._noise(size, max(8, size // 4))
        light = light * (1 + self._between(-0.4, 0.4) * (xx - 0.5) + self._between(-0.4, 0.4) * (yy - 0.5))
        grain = self.random.normal(size=(size, size, 1)) * self._between(0, 6)
        lit: Canvas = np.clip(material * light[..., None] + grain, 0, 255)
        return lit

    def _stripes(self, size: int) -> Canvas:
        period, angle = self._between(4, 40), self._between(0, np.pi)
        yy, xx = np.mgrid[:size, :size]
        on = np.sin((np.cos(angle) * xx + np.sin(angle) * yy) * 2 * np.pi / period) > 0
        if self._chance(0.4):
            on = on & (np.sin((np.cos(angle) * yy - np.sin(angle) * xx) * 2 * np.pi / period) > 0)
        return np.where(on[..., None], self._colour(), self._colour())

    def _skin_tone(self, canvas: Canvas, points: Floats) -> npt.NDArray[np.float64]:
        if self._chance(0.5):
            x, y = np.clip(points[self._index(*_SKIN_SPOTS), :2], 3, canvas.shape[0] - 4).astype(int)
            tone = canvas[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(0)
        else:
            tone = self._pick(SKIN_TONES)
        shifted: npt.NDArray[np.float64] = tone * self._between(0.6, 1.25) + self.random.normal(size=3) * 6
        return shifted

    def _skin(self, canvas: Canvas, points: Floats) -> Canvas:
        """Skin of the same face, flat or with its own texture, unevenly lit."""
        size = canvas.shape[0]
        if self._chance(1 / 3):
            skin: Canvas = np.ones((size, size, 3)) * self._skin_tone(canvas, points)
        else:
            area = points[_CHEEK if self._chance(0.6) else _BROW, :2]
            low = np.clip(area.min(0), 0, size - 4).astype(int)
            high = np.clip(area.max(0), low + 3, size).astype(int)
            patch = np.clip(canvas[low[1] : high[1], low[0] : high[0]], 0, 255)
            skin = cv2.resize(patch, (size, size), interpolation=cv2.INTER_CUBIC) * self._between(0.75, 1.2)
        yy, xx = np.mgrid[:size, :size] / size
        light = 1 + 4 * self._between(-0.3, 0.3) * (xx - 0.5) + 4 * self._between(-0.3, 0.3) * (yy - 0.5)
        light = light + self._between(0, 0.06) * self._noise(size, max(4, size // 16))
        grain = self.random.normal(size=(size, size, 1)) * self._between(0, 4)
        lit: Canvas = np.clip(skin * light[..., None] + grain, 0, 255)
        return lit

    def _soften(self, cover: Canvas) -> Canvas:
        return np.clip(cv2.GaussianBlur(cover, (0, 0), self._between(0.4, 1.6)), 0, 1).astype(np.float64)

    def _lay(
        self,
        canvas: Canvas,
        outline: Floats,
        material: Canvas | None = None,
        *,
        alpha: float = 1.0,
        shadow: bool = True,
    ) -> Painted:
        """Lay a material within an outline, with a soft edge and a contact shadow."""
        size = canvas.shape[0]
        hard = np.zeros((size, size), np.uint8)
        cv2.fillPoly(hard, [np.round(outline).astype(np.int32)], (255,))
        cover = self._soften(hard / 255.0)
        if shadow:
            dark = 0.25 * self._between(0, 1) * cv2.GaussianBlur(cover, (0, 0), size * 0.012)
            canvas = canvas * (1 - dark[..., None])
        weight = (cover * alpha)[..., None]
        return canvas * (1 - weight) + (self._material(size) if material is None else material) * weight, cover

    # -- occluders -----------------------------------------------------------------------------------------------------

    def _mask(self, canvas: Canvas, points: Floats) -> Painted:
        size, width = canvas.shape[0], _face_width(points)
        bridge = (6, 197, 195, 5, 4, 1) if self._chance(0.85) else (2, 164, 0)
        top = points[self._index(*bridge), :2]
        jaw = list(_JAW)
        for probability in (0.5, 0.3):
            if self._chance(probability):
                jaw = jaw[1:-1]
        nose = points[lm.NOSE_TIP, :2]
        lower = [nose + (points[index, :2] - nose) * self._between(0.97, 1.08) for index in jaw]
        right = points[self._index(118, 119, 117, 50), :2]
        left = points[self._index(347, 348, 346, 280), :2]
        outline = np.array([left, *lower, right, top]) if self._chance(0.8) else np.array(lower)
        if self._chance(0.2):
            return self._lay(canvas, outline)
        yy, xx = np.mgrid[:size, :size]
        distance = np.hypot((xx - nose[0]) / width, (yy - points[lm.MOUTH_UPPER, 1]) / width)
        light = 1.08 - self._between(0.2, 0.9) * distance**2
        if self._chance(0.5):
            pleat = (yy + 0.15 * np.abs(xx - nose[0])) * 2 * np.pi / (width * self._between(0.06, 0.16))
            light = light + self._between(0.02, 0.08) * np.sin(pleat)
        light = light + 0.03 * self._noise(size, max(4, size // 16))
        cloth = self._colour() * light[..., None] + self.random.normal(size=(size, size, 1)) * 2
        if self._chance(0.25):
            cloth = cloth * 0.5 + self._material(size) * 0.5
        return self._lay(canvas, outline, np.clip(cloth, 0, 255))

    def _hand(self, canvas: Canvas, points: Floats) -> Painted:
        size, width = canvas.shape[0], _face_width(points)
        centre = points[self._index(4, 13, 152, 50, 280, 105, 334, 159, 386, 200, 0), :2]
        centre = centre + self.random.normal(size=2) * width * 0.08
        angle = self._between(0, 2 * np.pi)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        count, thick = int(self.random.integers(1, 5)), width * self._between(0.09, 0.16)
        length = width * self._between(0.4, 0.8)
        strokes = []
        for finger in range(count):
            root = centre + across * (finger - (count - 1) / 2) * thick * self._between(0.95, 1.15)
            tip = root - along * length * self._between(0.35, 0.55)
            strokes.append((tip, root + along * length * self._between(0.7, 1.0), thick / 2 * self._between(0.85, 1.05)))
        if self._chance(0.6):
            palm = centre + along * length * 0.9
            reach = across * thick * count * 0.3
            strokes.append((palm - reach, palm + reach, thick * max(1.2, count * 0.55)))
        yy, xx = np.mgrid[:size, :size].astype(np.float64)
        hard, light = np.zeros((size, size)), np.ones((size, size))
        for start, end, radius in strokes:
            step = end - start
            t = np.clip(((xx - start[0]) * step[0] + (yy - start[1]) * step[1]) / (step @ step + 1e-6), 0, 1)
            distance = np.hypot(xx - start[0] - t * step[0], yy - start[1] - t * step[1])
            light = np.where(distance < radius, 1.08 - 0.38 * (distance / radius) ** 2, light)
            hard = np.maximum(hard, np.clip(radius - distance + 0.5, 0, 1))
        grain = 1 + 0.05 * self._noise(size, max(4, size // 24))
        skin = self._skin_tone(canvas, points) * (light * grain)[..., None]
        skin = np.clip(skin + self.random.normal(size=(size, size, 1)) * self._between(1, 5), 0, 255)
        shadow = 0.35 * self._between(0, 1) * np.clip(cv2.GaussianBlur(hard, (0, 0), width * 0.03), 0, 1)
        cover = self._soften(hard)
        return canvas * (1 - shadow)[..., None] * (1 - cover)[..., None] + skin * cover[..., None], cover

    def _scarf(self, canvas: Canvas, points: Floats) -> Painted:
        size = canvas.shape[0]
        y, tilt = points[self._index(2, 0, 13, 17, 200), 1], self._between(-0.1, 0.1) * size
        x0, x1 = points[lm.RIGHT_CHEEK_EDGE, 0] - size * 0.1, points[lm.LEFT_CHEEK_EDGE, 0] + size * 0.1
        sag = y + self._between(-0.03, 0.05) * size
        return self._lay(canvas, np.array([[x0, y + tilt], [(x0 + x1) / 2, sag], [x1, y - tilt], [x1, size], [x0, size]]))

    def _glasses(self, canvas: Canvas, points: Floats) -> Painted:
        size = canvas.shape[0]
        tint = self._colour() * self._between(0, 0.45)
        fade = np.mgrid[:size, :size][0][..., None] / size
        gleam = np.clip(self._noise(size, max(6, size // 6)), 0, 2)[..., None] * self._between(0, 1)
        lens = tint * (1 + self._between(-1, 2) * (fade - 0.4)) + self._between(0, 60) * gleam
        lens = np.clip(lens, 0, 255) * np.ones((1, 1, 3))
        eyes, across, down = _eye_axes(points)
        alpha, half = self._between(0.88, 1), eyes * self._between(0.2, 0.27)
        tall, squareness = half * self._between(0.6, 1.05), self._between(2, 5)
        cover = np.zeros((size, size))
        turn = np.linspace(0, 2 * np.pi, 40)
        for outer, inner in _EYE_CORNERS:
            centre = (points[outer, :2] + points[inner, :2]) / 2 + down * tall * 0.12
            x, y = (np.sign(f(turn)) * np.abs(f(turn)) ** (2 / squareness) for f in (np.cos, np.sin))
            rim = centre + np.outer(x * half, across) + np.outer(y * tall, down)
            canvas, one = self._lay(canvas, rim, lens, alpha=alpha, shadow=False)
            cover = np.maximum(cover, one)
        drawn = np.clip(canvas, 0, 255).astype(np.uint8)
        bridge = points[168, :2]
        ends = [tuple(int(v) for v in bridge + side * across * half * 0.25) for side in (-1, 1)]
        cv2.line(drawn, ends[0], ends[1], tuple(float(v) for v in tint), max(1, int(eyes * 0.03)))
        return drawn.astype(np.float64), cover

    def _clear_glasses(self, canvas: Canvas, points: Floats) -> Canvas:
        """Thin frames: they cover nothing that matters, and the head must learn so."""
        drawn = np.clip(canvas, 0, 255).astype(np.uint8)
        eyes, across, _ = _eye_axes(points)
        colour = tuple(float(v) for v in self._colour() * self._between(0, 0.8))
        line, half = max(1, int(eyes * self._between(0.01, 0.045))), eyes * self._between(0.2, 0.28)
        radii = (int(half), int(half * self._between(0.55, 1.0)))
        tilt = float(np.degrees(np.arctan2(across[1], across[0])))
        for outer, inner in _EYE_CORNERS:
            x, y = (points[outer, :2] + points[inner, :2]) / 2
            cv2.ellipse(drawn, (int(x), int(y)), radii, tilt, 0, 360, colour, line, cv2.LINE_AA)
        x, y = points[168, :2]
        cv2.line(drawn, (int(x - half * 0.3), int(y)), (int(x + half * 0.3), int(y)), colour, line, cv2.LINE_AA)
        return drawn.astype(np.float64)

    def _hair(self, canvas: Canvas, points: Floats) -> Painted:
        size, width = canvas.shape[0], _face_width(points)
        x, y = np.clip(points[lm.FOREHEAD_TOP, :2] - [0, width * 0.12], 2, size - 3).astype(int)
        own = canvas[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)
        tone = own if self._chance(0.5) else self._pick(HAIR_TONES) * self._between(0.6, 1.3)
        root = points[lm.FOREHEAD_TOP] + [self._between(-0.5, 0.5) * width, -width * 0.2, 0]
        spread = width * self._between(0.15, 0.6)
        end = points[self._index(105, 334, 159, 386, 50, 280, 67), 1]
        strands = np.zeros((size, size), np.uint8)
        t = np.linspace(0, 1, 12)[:, None]
        for _ in range(int(self._between(25, 90))):
            a = np.array([root[0] + self._between(-0.3, 0.3) * spread, root[1]])
            drift = self._between(-0.6, 0.6) * spread + self._between(-0.1, 0.1) * width
            b = np.array([root[0] + drift, end + self._between(-0.1, 0.15) * width])
            bend = (a + b) / 2 + self.random.normal(size=2) * width * 0.08
            curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * bend + t**2 * b
            line = max(1, int(width * self._between(0.006, 0.02)))
            shade = (int(self._between(150, 255)),)
            cv2.polylines(
                strands,
                [np.round(curve).astype(np.int32)],
                isClosed=False,
                color=shade,
                thickness=line,
                lineType=cv2.LINE_AA,
            )
        blurred = cv2.GaussianBlur(strands / 255.0, (0, 0), self._between(0.5, 1.2))
        weight = np.clip(blurred * 1.3, 0, 1)[..., None]
        grain = self.random.normal(size=(size, size, 1)) * self._between(0.3, 1)
        painted = canvas * (1 - weight) + np.clip(tone * (1 + 0.25 * grain), 0, 255) * weight
        return painted, cv2.GaussianBlur(weight[..., 0], (0, 0), size * 0.01).astype(np.float64)

    def _brim(self, canvas: Canvas, points: Floats) -> Painted:
        size = canvas.shape[0]
        height = np.linalg.norm(points[lm.FOREHEAD_TOP, :2] - points[lm.CHIN_BOTTOM, :2])
        y = (points[lm.RIGHT_BROW_PEAK, 1] + points[lm.LEFT_BROW_PEAK, 1]) / 2 + self._between(-0.12, 0.06) * height
        x0, x1 = points[lm.RIGHT_CHEEK_EDGE, 0] - size * 0.06, points[lm.LEFT_CHEEK_EDGE, 0] + size * 0.06
        x = np.linspace(x0, x1, 15)
        curve = self._between(-0.04, 0.08) * size * np.cos((x - x0) / (x1 - x0) * 2 * np.pi - np.pi)
        return self._lay(canvas, np.concatenate([np.stack([x, y + curve], axis=1), [[x1, 0], [x0, 0]]]))

    def _blob(self, canvas: Canvas, points: Floats) -> Painted:
        width = _face_width(points)
        centre = points[int(self.random.integers(468)), :2] + self.random.normal(size=2) * width * 0.05
        half = np.array([width * self._between(0.12, 0.75), width * self._between(0.12, 0.75)]) / 2
        kind = self.random.integers(3)
        if kind == 0:
            shape = _RECTANGLE * half
        else:
            many = 36 if kind == 1 else int(self.random.integers(5, 10))
            turn = np.linspace(0, 2 * np.pi, many) if kind == 1 else np.sort(self.random.uniform(0, 2 * np.pi, many))
            radius = np.ones(many) if kind == 1 else self.random.uniform(0.6, 1.1, many)
            shape = np.stack([np.cos(turn), np.sin(turn)], axis=1) * half * radius[:, None]
        return self._lay(canvas, shape @ _turn(self._between(0, np.pi)) + centre)

    def _skin_blob(self, canvas: Canvas, points: Floats) -> Painted:
        width = _face_width(points)
        centre = points[int(self.random.integers(468)), :2]
        half = np.array([width * self._between(0.15, 0.7), width * self._between(0.12, 0.4)]) / 2
        turn = np.linspace(0, 2 * np.pi, 36)
        shape = np.stack([np.sign(f(turn)) * np.abs(f(turn)) ** 0.6 for f in (np.cos, np.sin)], axis=1) * half
        return self._lay(canvas, shape @ _turn(self._between(0, np.pi)) + centre, self._skin(canvas, points))

    def _part(self, canvas: Canvas, points: Floats) -> Painted:
        """Cover just one part of the face, on one side or both."""
        size = canvas.shape[0]
        parts = ("eyebrow", "eye", "eye", "nose", "cheek", "mouth", "mouth", "chin")
        sides = lm.PARTS[parts[int(self.random.integers(len(parts)))]]
        if self._chance(0.5):
            sides = (sides[int(self.random.integers(len(sides)))],)
        material = self._skin(canvas, points) if self._chance(0.3) else self._material(size)
        cover = np.zeros((size, size))
        for side in sides:
            low, high = points[list(side), :2].min(0), points[list(side), :2].max(0)
            half = (high - low) / 2 + (high - low) * self._between(0.02, 0.5) + self._between(0, 3)
            turn = np.linspace(0, 2 * np.pi, 30)
            oval = np.stack([np.cos(turn), np.sin(turn)], axis=1) * 1.15
            shape = (_RECTANGLE if self._chance(0.6) else oval) * half
            tilt = self._between(-0.3, 0.3) if self._chance(0.5) else 0.0
            outline = shape @ _turn(tilt) + (low + high) / 2
            canvas, one = self._lay(canvas, outline, material, shadow=self._chance(0.5))
            cover = np.maximum(cover, one)
        return canvas, cover


_RECTANGLE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
_EYE_CORNERS = ((lm.RIGHT_EYE_OUTER, lm.RIGHT_EYE_INNER), (lm.LEFT_EYE_OUTER, lm.LEFT_EYE_INNER))


def jpeg(image: Image, quality: int) -> Image:
    """Encode and decode again."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - we have just encoded it
    return decoded.astype(np.uint8, copy=False)


def _face_width(points: Floats) -> float:
    return float(np.linalg.norm(points[lm.RIGHT_CHEEK_EDGE, :2] - points[lm.LEFT_CHEEK_EDGE, :2]))


def _turn(angle: float) -> Floats:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _eye_axes(points: Floats) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distance of the eyes' outer corners, px, and the unit vectors along and below their line."""
    line = points[lm.LEFT_EYE_OUTER, :2] - points[lm.RIGHT_EYE_OUTER, :2]
    distance = float(np.linalg.norm(line))
    across = line / distance
    return distance, across, np.array([-across[1], across[0]])
