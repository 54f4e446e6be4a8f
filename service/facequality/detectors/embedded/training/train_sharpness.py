"""Train the sharpness head: ``python -m facequality.detectors.embedded.training.train_sharpness``. About two minutes.

Faces get another skin and a known blur (Gaussian, motion, small size), are enlarged or sharpened again, and then get light, noise
and JPEG; small networks on their details learn log2 of the effective sigma, in px of a 160-px face. Seeded. A ridge on the same
details took what was sharpened for sharp.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPRegressor

from facequality.detectors.embedded.appearance import HEAD, SIZE, blur, details, portrait
from facequality.detectors.embedded.detection import FaceFinder
from facequality.detectors.embedded.geometry import Floats, Image
from facequality.detectors.embedded.mesh import FaceMesh, Mesh
from facequality.detectors.embedded.training.faces import whole_photographs
from facequality.detectors.embedded.training.materials import jpeg, streak

SEED = 0
SAMPLES = 8000
MIN_FACE_PX = 115
"""Smaller faces are not sharp enough to be called undegraded."""
NATIVE_SIGMA = 0.5
"""What an undegraded face counts as, px of a 160-px face."""
NETWORKS, HIDDEN, ALPHA, EPOCHS, RATE = 3, 16, 1.0, 60, 0.003
"""So many networks are averaged; the size, the weight decay, the length and the rate of each."""
SKINS = ((20, 1.2), (35, 2.0))
"""Bilateral filters that smooth skin and leave edges: grey levels, and px of a 160-px face."""
NOISE = 25.0
"""Standard deviation, grey levels, at most."""
ENLARGED = (cv2.INTER_NEAREST, cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)

_Pixels = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class _Source:
    person: str
    image: Image
    skins: tuple[Image, ...]
    """The image with its edges left and its skin smoothed, less and more."""
    mesh: Mesh
    side: float


def main() -> int:
    """Generate, fit, write the head."""
    cv2.setNumThreads(1)
    sources = _sources()
    random = np.random.default_rng(SEED)
    chosen = random.integers(len(sources), size=SAMPLES)
    pairs = [_sample(random, sources[index]) for index in chosen]
    x, y = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    for person in dict.fromkeys(source.person for source in sources):
        of_others = np.array([sources[index].person != person for index in chosen])
        predicted = blur(_fit(x[of_others], y[of_others]), x[~of_others])
        error, r = np.abs(predicted - y[~of_others]).mean(), np.corrcoef(predicted, y[~of_others])[0, 1]
        print(f"trained without {person}: {error:.2f} octaves, r {r:.3f}")
    head = _fit(x, y)
    np.savez_compressed(HEAD, allow_pickle=False, **{name: array.astype(np.float32) for name, array in head.items()})
    print(f"{HEAD}: {HEAD.stat().st_size} bytes, {len(sources)} faces")
    return 0


def _fit(x: Floats, y: Floats) -> dict[str, Floats]:
    """Fit networks and lay them side by side; their mean is stretched to the truth's spread, or sharp faces read blurred."""
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    networks = [_network(seed, (x - mean) / deviation, y) for seed in range(NETWORKS)]
    first, second = ([network.coefs_[layer] for network in networks] for layer in (0, 1))
    head = {
        "mean": mean,
        "deviation": deviation,
        "weights0": np.hstack(first),
        "biases0": np.hstack([network.intercepts_[0] for network in networks]),
        "weights1": np.vstack(second)[:, 0] / NETWORKS,
        "bias1": np.mean([network.intercepts_[1] for network in networks]),
    }
    predicted = blur(head, x)
    stretch = y.var() / np.cov(predicted, y)[0, 1]
    return head | {"weights1": stretch * head["weights1"], "bias1": y.mean() + stretch * (head["bias1"] - predicted.mean())}


def _network(seed: int, x: Floats, y: Floats) -> MLPRegressor:
    network = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), activation="tanh", alpha=ALPHA, learning_rate_init=RATE, max_iter=EPOCHS, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many epochs are not meant to converge
        return network.fit(x, y)


def _sources() -> list[_Source]:
    finder, mesher = FaceFinder(), FaceMesh()
    sources = []
    for name, image in whole_photographs().items():
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
            person = name.split(".")[0].rstrip("0123456789")
            skins = tuple(
                cv2.bilateralFilter(small, -1, contrast, reach * side * scale / SIZE).astype(np.uint8)
                for contrast, reach in SKINS
            )
            sources.append(_Source(person, small, skins, _moved(mesh, [left, top], scale), side * scale))
    return sources


def _sample(random: np.random.Generator, source: _Source) -> tuple[Floats, float]:
    """Degrade a face; return how much detail it has and log2 of the blur it now has."""
    image, variance = _blurred(random, source)
    scale = 1.0
    if random.random() < 0.4:
        scale = min(1.0, _between(random, 24, 160) / source.side)
        image = _resized(image, scale)
        variance += _lost(source.side * scale)
    photo = np.clip(_lit(random, image), 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        photo = jpeg(photo, int(random.uniform(40, 95)))
    mesh = _moved(source.mesh, [0, 0], scale)
    mesh.points[:, :2] += random.normal(size=(1, 2)) * source.side * scale * 0.01
    return details(portrait(photo, mesh)).astype(np.float64), 0.5 * float(np.log2(variance + NATIVE_SIGMA**2))


def _blurred(random: np.random.Generator, source: _Source) -> tuple[_Pixels, float]:
    """Take detail away, and perhaps pretend that it is there; return the blur's variance, px² of a 160-px face."""
    unit = source.side / SIZE
    image = _other_skin(random, source)
    variance = 0.0
    kind = random.random()
    if kind < 0.5:
        sigma = _between(random, 0.25, 7)
        image = cv2.GaussianBlur(image, (0, 0), max(0.05, sigma * unit)).astype(np.float32)
        variance += sigma**2
    elif kind < 0.72:
        length = max(3, round(_between(random, 1.5, 26) * unit)) | 1
        angle = random.uniform(0, np.pi) if random.random() < 0.5 else random.integers(4) * np.pi / 4
        image = cv2.filter2D(image, -1, streak(length, angle)).astype(np.float32)
        variance += (length / unit) ** 2 / 12
    if random.random() < 0.35:
        # Enlarged again: there are more pixels than there is to see.
        lost = min(1.0, _between(random, 14, 150) / source.side)
        image = _resized(_resized(image, lost), 1 / lost, int(random.choice(ENLARGED)), image.shape)
        variance += _lost(source.side * lost)
    if random.random() < 0.5:
        # As phones and editors do: stronger edges, no more detail.
        coarse = cv2.GaussianBlur(image, (0, 0), max(0.3, _between(random, 0.5, 4) * unit))
        image = np.clip(image + random.uniform(0.3, 4) * (image - coarse), 0, 255)
    return image, variance


def _other_skin(random: np.random.Generator, source: _Source) -> _Pixels:
    """Make the skin smoother, as other people's is, and leave the edges: how sharp a photo is does not depend on them."""
    image: _Pixels = source.image.astype(np.float32)
    if random.random() < 0.6:
        smooth = source.skins[int(random.integers(len(source.skins)))].astype(np.float32)
        image = np.clip(smooth + random.uniform(0, 1) * (image - smooth), 0, 255)
    return image


def _lit(random: np.random.Generator, image: _Pixels) -> _Pixels:
    """Change what a camera or its place would: light from a side, exposure, contrast, noise."""
    if random.random() < 0.3:
        image = image * _side_light(random, image.shape)
    if random.random() < 0.5:
        image = image * random.uniform(0.35, 1.2)
    if random.random() < 0.15:
        image = (image - image.mean()) * random.uniform(0.2, 1) + image.mean()
    if random.random() < 0.3:
        image = (np.clip(image / 255, 0, 1) ** random.uniform(0.6, 1.6)) * 255
    if random.random() < 0.4:
        image = image + random.normal(size=image.shape) * _between(random, 0.5, NOISE)
    return image


def _between(random: np.random.Generator, low: float, high: float) -> float:
    """Draw with every octave as likely."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _lost(face_px: float) -> float:
    """Return the variance of the blur that a face of so few pixels has, px of a 160-px face."""
    return (0.45 * max(0.0, SIZE / face_px - 1)) ** 2


def _resized(image: _Pixels, scale: float, interpolation: int = cv2.INTER_AREA, shape: tuple[int, ...] | None = None) -> _Pixels:
    size = None if shape is None else (shape[1], shape[0])
    return cv2.resize(image, size, fx=scale, fy=scale, interpolation=interpolation).astype(np.float32)


def _side_light(random: np.random.Generator, shape: tuple[int, ...]) -> _Pixels:
    """Make a factor per pixel that falls to a share from one side, or from above or below, to the other."""
    long = max(shape[:2])
    dark, edge, width = random.uniform(0.15, 1), random.uniform(0.3, 0.7) * long, random.uniform(0.02, 0.3) * long
    ramp = dark + (1 - dark) / (1 + np.exp(np.clip((edge - np.arange(long)) / width * 4, -50, 50)))
    if random.random() < 0.5:
        ramp = ramp[::-1]
    flat = np.tile(ramp, (long, 1)) if random.random() < 0.7 else np.tile(ramp[:, None], (1, long))
    factors: _Pixels = flat[: shape[0], : shape[1], None].astype(np.float32)
    return factors


def _moved(mesh: Mesh, origin: list[int], scale: float) -> Mesh:
    points = mesh.points.copy()
    points[:, :2] = (points[:, :2] - origin + 0.5) * scale - 0.5
    return Mesh(mesh.roi, mesh.affine, mesh.crop, mesh.crop_points, points, mesh.presence, ())


if __name__ == "__main__":
    sys.exit(main())
