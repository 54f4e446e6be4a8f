"""What occluders are made of: cloth, photographs, stripes, skin; how they are lit and laid on; and the camera behind it all.

Canvases are (n, n, 3) BGR 0-255 or (n, n) covers 0..1. All randomness comes from the one seeded generator.
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

_TRAIN_TEXTURES = ("brick.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg", "retina.jpg", "page.png",
                  "coins.png", "ihc.png", "cell.png")  # fmt: skip
"""Files that scikit-image ships; the engine is measured with others."""
SKIN_TONES = np.array([[120, 150, 205], [100, 130, 190], [60, 90, 140], [40, 60, 95], [150, 180, 230]], np.float64)
SURGICAL_BLUE = np.array([225.0, 200.0, 150.0])

_SKIN_SPOTS = (50, 280, 4, 101, 330, 151)
_CHEEK, _BROW = list(lm.CHEEKS[0]), list(lm.FOREHEAD[0])


class Materials:
    """A seeded source of materials and camera effects."""

    def __init__(self, seed: int) -> None:
        """Begin again with the same seed, and everything comes again."""
        self.random = np.random.default_rng(seed)
        self._textures = [read(TEXTURES / name) for name in _TRAIN_TEXTURES]

    def _between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def _chance(self, probability: float) -> bool:
        return bool(self.random.uniform() < probability)

    def _pick(self, choices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(choices[int(self.random.integers(len(choices)))], np.float64)

    def _index(self, *choices: int) -> int:
        return choices[int(self.random.integers(len(choices)))]

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


def jpeg(image: Image, quality: int) -> Image:
    """Encode and decode again."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - we have just encoded it
    return decoded.astype(np.uint8, copy=False)


def streak(length: int, angle: float) -> Floats:
    """Make the kernel of a camera that moved by ``length`` px, odd, at an angle; 0 is level."""
    kernel, centre = np.zeros((length, length)), length // 2
    reach = (round(np.cos(angle) * centre), round(np.sin(angle) * centre))
    start, end = (centre - reach[0], centre - reach[1]), (centre + reach[0], centre + reach[1])
    cv2.line(kernel, start, end, (1.0,), 1)
    streak: Floats = kernel / kernel.sum()
    return streak
