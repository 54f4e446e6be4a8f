"""Things painted over faces, with the mask of what they cover: masks, hands, glasses, hair, brims, scarves, patches.

Every painter takes a float image (n, n, 3) BGR 0-255 and the mesh in its px, and returns the painted image and the cover,
(n, n), 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Image
from facequality.detectors.embedded.training.materials import Canvas, Materials, Painted

HAIR_TONES = np.array([[20, 20, 25], [30, 45, 70], [70, 120, 170], [40, 60, 100]], np.float64)
_JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234)
_MIXTURE = {"mask": 0.16, "hand": 0.15, "blob": 0.13, "glasses": 0.13, "hair": 0.08, "brim": 0.06, "scarf": 0.05,
            "part": 0.17, "skin_blob": 0.07}  # fmt: skip


class Occluders(Materials):
    """A seeded source of occluders."""

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
