"""Train the sharpness head: ``python -m facequality.detectors.embedded.training.train_sharpness``. About a minute.

Faces get a known blur (Gaussian, motion, small size) and then light, noise and JPEG; a ridge on the band energies learns
log2 of the effective sigma, in px of a 160-px face. Seeded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from facequality.detectors.embedded.appearance import HEAD, SIZE, band_energies, portrait
from facequality.detectors.embedded.detection import FaceFinder
from facequality.detectors.embedded.geometry import Floats, Image
from facequality.detectors.embedded.mesh import FaceMesh, Mesh
from facequality.detectors.embedded.training.faces import whole_photographs
from facequality.detectors.embedded.training.materials import jpeg

SEED = 0
SAMPLES = 4000
MIN_FACE_PX = 115
"""Smaller faces are not sharp enough to be called undegraded."""
NATIVE_SIGMA = 0.5
"""What an undegraded face counts as, px of a 160-px face."""
ALPHA = 10.0


@dataclass(frozen=True, slots=True)
class _Source:
    image: Image
    mesh: Mesh
    side: float


def main() -> int:
    """Generate, fit, write the head."""
    cv2.setNumThreads(1)
    sources = _sources()
    random = np.random.default_rng(SEED)
    pairs = [_sample(random, sources[int(random.integers(len(sources)))]) for _ in range(SAMPLES)]
    x, y = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    split = SAMPLES * 3 // 4
    z = (x - mean) / deviation
    held_out = Ridge(alpha=ALPHA).fit(z[:split], y[:split]).predict(z[split:])
    print(f"held out: {np.abs(held_out - y[split:]).mean():.2f} octaves, r {np.corrcoef(held_out, y[split:])[0, 1]:.3f}")
    model = Ridge(alpha=ALPHA).fit(z, y)
    arrays = {"mean": mean, "deviation": deviation, "weights": model.coef_, "bias": np.array(model.intercept_)}
    np.savez_compressed(HEAD, allow_pickle=False, **{name: array.astype(np.float32) for name, array in arrays.items()})
    print(f"{HEAD}: {HEAD.stat().st_size} bytes, {len(sources)} faces")
    return 0


def _sources() -> list[_Source]:
    finder, mesher = FaceFinder(), FaceMesh()
    sources = []
    for image in whole_photographs().values():
        for face in finder.find(image, min_size=60, all_sizes=True)[:3]:
            mesh = mesher.fit(image, face)
            side = portrait(image, mesh).face_px
            if side < MIN_FACE_PX:
                continue
            left, top = max(0, int(face.x - face.width / 2)), max(0, int(face.y - face.height / 2))
            right, bottom = int(face.x + 1.5 * face.width), int(face.y + 1.5 * face.height)
            crop = image[top:bottom, left:right]
            scale = min(1.0, 400 / side)
            small = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
            sources.append(_Source(small, _moved(mesh, [left, top], scale), side * scale))
    return sources


def _sample(random: np.random.Generator, source: _Source) -> tuple[Floats, float]:
    """Degrade a face; return its band energies and log2 of the blur it now has."""
    unit = source.side / SIZE
    image: npt.NDArray[np.floating[Any]] = source.image.astype(np.float32)
    variance, scale = 0.0, 1.0
    kind = random.random()
    if kind < 0.55:
        sigma = float(np.exp(random.uniform(np.log(0.25), np.log(7))))
        image = cv2.GaussianBlur(image, (0, 0), max(0.05, sigma * unit)).astype(np.float32)
        variance += sigma**2
    elif kind < 0.7:
        length = max(3, round(float(np.exp(random.uniform(np.log(1.5), np.log(16)))) * unit)) | 1
        image = cv2.filter2D(image, -1, _streak(length, random.uniform(0, np.pi))).astype(np.float32)
        variance += (length / unit) ** 2 / 12 * 0.5
    if random.random() < 0.4:
        target = float(np.exp(random.uniform(np.log(24), np.log(160))))
        scale = min(1.0, target / source.side)
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
        variance += (0.45 * max(0.0, SIZE / (source.side * scale) - 1)) ** 2
    if random.random() < 0.5:
        image = image * random.uniform(0.35, 1.2)
    if random.random() < 0.3:
        image = (np.clip(image / 255, 0, 1) ** random.uniform(0.6, 1.6)) * 255
    if random.random() < 0.4:
        image = image + random.normal(size=image.shape) * random.uniform(0.5, 7)
    photo = np.clip(image, 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        photo = jpeg(photo, int(random.uniform(40, 95)))
    mesh = _moved(source.mesh, [0, 0], scale)
    mesh.points[:, :2] += random.normal(size=(1, 2)) * source.side * scale * 0.01
    energies = band_energies(portrait(photo, mesh)).astype(np.float64)
    return energies, 0.5 * float(np.log2(variance + NATIVE_SIGMA**2))


def _streak(length: int, angle: float) -> Floats:
    kernel, centre = np.zeros((length, length)), length // 2
    reach = (round(np.cos(angle) * centre), round(np.sin(angle) * centre))
    start, end = (centre - reach[0], centre - reach[1]), (centre + reach[0], centre + reach[1])
    cv2.line(kernel, start, end, (1.0,), 1)
    streak: Floats = kernel / kernel.sum()
    return streak


def _moved(mesh: Mesh, origin: list[int], scale: float) -> Mesh:
    points = mesh.points.copy()
    points[:, :2] = (points[:, :2] - origin + 0.5) * scale - 0.5
    return Mesh(mesh.roi, mesh.affine, mesh.crop, mesh.crop_points, points, mesh.presence, ())


if __name__ == "__main__":
    sys.exit(main())
