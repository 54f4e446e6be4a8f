"""Measure the engine: ``make evaluate-engine``. Degrades portraits by known amounts and prints what the engine makes of it.

The faces are the ones that the heads were trained on; blur, light and the occluders' textures are not. So the tables show
that the measures follow their cause, not how well they carry over to other people.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.appearance import FACE_MARGIN
from facequality.detectors.embedded.detection import FaceFinder
from facequality.detectors.embedded.engine import Engine
from facequality.detectors.embedded.geometry import Floats, Image
from facequality.detectors.embedded.mesh import FaceMesh
from facequality.detectors.embedded.training.faces import TEXTURES, read, whole_photographs
from facequality.detectors.embedded.training.materials import jpeg, streak
from facequality.model import DetectOptions, Face, Measure
from facequality.policy import PRESETS

LONG_SIDE = 1280
OCCLUDED_BELOW = {part: PRESETS["enroll"].bounds[Measure[f"COMPLETENESS_{part.upper()}"]].minimum or 0.0 for part in lm.PARTS}
"""What `enroll` calls covered: the vendor's bounds of occlusion."""
FAR_PARTS = {
    "eyebrow": ("mouth", "chin"),
    "eye": ("mouth", "chin"),
    "nose": ("eyebrow", "chin"),
    "cheek": ("eyebrow", "mouth", "chin"),
    "mouth": ("eyebrow", "eye"),
    "chin": ("eyebrow", "eye", "nose"),
}
"""Parts that an occluder of each part does not touch."""
STEP_TOLERANCE = 1.0
"""A step against the direction of a degradation counts from this many points on."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A whole, uncovered face in a photo."""

    name: str
    image: Image
    points: Floats
    """(468, 3), px."""

    @property
    def face_px(self) -> float:
        """Height of the face with the margin that sharpness is measured in, px."""
        height = self.points[lm.FOREHEAD_TOP, :2] - self.points[lm.CHIN_BOTTOM, :2]
        return FACE_MARGIN * float(np.linalg.norm(height))


@dataclass(frozen=True, slots=True)
class Sweep:
    """One degradation by levels, and the measure that must follow it."""

    title: str
    measure: str
    levels: tuple[float, ...]
    degrade: Callable[[Portrait, float], Image]
    direction: int
    """+1 rises with the level, -1 falls, 0 no claim."""


def main() -> int:
    """Print the tables; fail if a measure steps against its degradation or a whole face is called covered."""
    argparse.ArgumentParser(prog="evaluate", description=main.__doc__).parse_args()
    cv2.setNumThreads(1)
    console, engine, faces = Console(width=118), Engine(), portraits()
    console.print(f"{len(faces)} portraits: {', '.join(face.name for face in faces)}")
    wrong = sum(_sweep(console, engine, faces, sweep) for sweep in SWEEPS)
    wrong += _clean(console, engine, faces) + _upside_down(console, engine, faces)
    _occluders(console, engine, faces)
    _speed(console, engine, faces)
    console.print(f"steps against the degradation and whole faces called covered: {wrong}")
    return 1 if wrong else 0


def portraits() -> list[Portrait]:
    """Return the portraits with one whole face, at most LONG_SIDE px."""
    finder, mesher, found = FaceFinder(), FaceMesh(), []
    for name, photograph in whole_photographs().items():
        scale = min(1.0, LONG_SIDE / max(photograph.shape[:2]))
        image = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        face = finder.find(image, min_size=34, all_sizes=False)[0]
        found.append(Portrait(name.split(".")[0], image, mesher.fit(image, face).points))
    return found


def blurred(portrait: Portrait, sigma: float) -> Image:
    """Blur by a sigma in px of a 160-px face."""
    if not sigma:
        return portrait.image
    return cv2.GaussianBlur(portrait.image, (0, 0), sigma * portrait.face_px / 160).astype(np.uint8, copy=False)


def exposed(image: Image, gain: float) -> Image:
    """Multiply all values, clipped."""
    return np.clip(image.astype(np.float64) * gain, 0, 255).astype(np.uint8)


def gamma(image: Image, exponent: float) -> Image:
    """Raise all values (0..1) to a power."""
    return (255 * (image / 255.0) ** exponent).astype(np.uint8)


def noisy(image: Image, deviation: float) -> Image:
    """Add seeded Gaussian noise."""
    noise = np.random.default_rng(0).normal(size=image.shape) * deviation
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def moved(portrait: Portrait, length: float, angle: float) -> Image:
    """Blur along a line, in px of a 160-px face; an angle of 0 is level."""
    if not length:
        return portrait.image
    kernel = streak(max(3, round(length * portrait.face_px / 160)) | 1, angle)
    return cv2.filter2D(portrait.image, -1, kernel).astype(np.uint8, copy=False)


def enlarged(portrait: Portrait, face_px: float, interpolation: int) -> Image:
    """Leave as much detail as a face of so few px has, in a photo as large as before."""
    height, width = portrait.image.shape[:2]
    scale = min(1.0, face_px / portrait.face_px)
    small = cv2.resize(portrait.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def sharpened(portrait: Portrait, amount: float) -> Image:
    """Blur by a sigma of 2 px of a 160-px face, then add a share of what a blur of 1 px takes away."""
    image = blurred(portrait, 2).astype(np.float64)
    coarse = cv2.GaussianBlur(image, (0, 0), portrait.face_px / 160)
    return np.clip(image + amount * (image - coarse), 0, 255).astype(np.uint8)


def side_lit(portrait: Portrait, gain: float) -> Image:
    """Darken one half of the face."""
    image = portrait.image.astype(np.float64)
    image[:, : int(portrait.points[:, 0].mean())] *= gain
    return image.astype(np.uint8)


def flattened(image: Image, contrast: float) -> Image:
    """Draw all values towards their mean."""
    mean = float(image.mean())
    flat: Image = ((image - mean) * contrast + mean).astype(np.uint8)
    return flat


SWEEPS = (
    Sweep("Gaussian blur, px of a 160-px face", "sharpness", (0, 0.5, 1, 2, 3, 4, 6), blurred, -1),
    Sweep("motion, level, px of a 160-px face", "sharpness", (0, 5, 9, 15), lambda p, v: moved(p, v, 0.0), -1),
    Sweep("motion, upright, px of a 160-px face", "sharpness", (0, 5, 9, 15), lambda p, v: moved(p, v, np.pi / 2), -1),
    # Of so much motion only streaks are left, whose own edges are sharp.
    Sweep("more motion, level", "sharpness", (15, 25), lambda p, v: moved(p, v, 0.0), 0),
    Sweep("more motion, upright", "sharpness", (15, 25), lambda p, v: moved(p, v, np.pi / 2), 0),
    Sweep("enlarged from px per face", "sharpness", (160, 80, 60, 40, 24), lambda p, v: enlarged(p, v, cv2.INTER_CUBIC), -1),
    Sweep("blocks, px per face", "sharpness", (160, 80, 60, 40, 24), lambda p, v: enlarged(p, v, cv2.INTER_NEAREST), 0),
    Sweep("blur of 2 px, then sharpened by", "sharpness", (0, 0.5, 1, 2, 3), sharpened, 0),
    Sweep("one half darker, gain", "sharpness", (1, 0.5, 0.25, 0.15), side_lit, 0),
    Sweep("contrast", "sharpness", (1, 0.5, 0.25, 0.15), lambda p, v: flattened(p.image, v), 0),
    Sweep("JPEG, quality", "sharpness", (95, 50, 20, 10), lambda p, v: jpeg(p.image, int(v)), 0),
    Sweep("gain below 1", "brightness", (1, 0.8, 0.6, 0.4, 0.25, 0.15), lambda p, v: exposed(p.image, v), -1),
    Sweep("gain above 1", "brightness", (1, 1.25, 1.5, 2, 3), lambda p, v: exposed(p.image, v), 1),
    Sweep("gamma", "brightness", (0.5, 0.75, 1, 1.5, 2.5), lambda p, v: gamma(p.image, v), -1),
    Sweep("Gaussian blur, px of a 160-px face", "score", (0, 1, 2, 4, 6), blurred, -1),
    Sweep("gain below 1", "sharpness", (1, 0.6, 0.4, 0.25), lambda p, v: exposed(p.image, v), 0),
    Sweep("noise, standard deviation", "sharpness", (0, 5, 10, 20), lambda p, v: noisy(p.image, v), 0),
)


def _assess(engine: Engine, image: Image) -> Face | None:
    faces = engine.analyse(image, DetectOptions()).faces
    return faces[0] if faces else None


def _sweep(console: Console, engine: Engine, faces: list[Portrait], sweep: Sweep) -> int:
    values = np.full((len(faces), len(sweep.levels)), np.nan)
    for row, portrait in enumerate(faces):
        for column, level in enumerate(sweep.levels):
            face = _assess(engine, sweep.degrade(portrait, level))
            if face is not None and face.quality is not None:
                values[row, column] = getattr(face.quality, sweep.measure)
    steps = np.diff(values, axis=1) * sweep.direction
    against = int(np.nansum(steps < -STEP_TOLERANCE))
    claim = f"; steps against it {against} of {steps.size}" if sweep.direction else ""
    table = Table("", *(f"{level:g}" for level in sweep.levels), title=f"{sweep.title} -> {sweep.measure}{claim}")
    for label, row_values in (
        ("median", np.nanmedian(values, axis=0)),
        ("lowest", np.nanmin(values, axis=0)),
        ("highest", np.nanmax(values, axis=0)),
    ):
        table.add_row(label, *(f"{value:.0f}" for value in row_values))
    console.print(table)
    return against


def _clean(console: Console, engine: Engine, faces: list[Portrait]) -> int:
    flagged = 0
    for portrait in faces:
        face = _assess(engine, portrait.image)
        parts = {} if face is None or face.quality is None else asdict(face.quality.completeness)
        flagged += sum(parts.get(part, 0) < bound for part, bound in OCCLUDED_BELOW.items())
    console.print(f"parts of whole faces called covered: {flagged} of {6 * len(faces)}")
    return flagged


def _upside_down(console: Console, engine: Engine, faces: list[Portrait]) -> int:
    """Count what is found the wrong way up, over several sizes and leanings of upright and turned portraits."""
    found = {True: 0, False: 0}
    total = 0
    for portrait in faces:
        for scale, lean in itertools.product((0.35, 0.5, 0.7, 1.0, 1.3), (-15, 0, 15)):
            height, width = portrait.image.shape[:2]
            leaning = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), lean, scale), np.float64)
            leaning[:, 2] += np.array([width, height]) * (scale - 1) / 2
            image = cv2.warpAffine(portrait.image, leaning, (int(width * scale), int(height * scale))).astype(np.uint8)
            total += 1
            for turned in (True, False):
                seen = _assess(engine, np.ascontiguousarray(np.rot90(image, 2)) if turned else image)
                found[turned] += seen is not None
    console.print(f"faces found, of {total}: upright {found[False]}, upside down {found[True]}")
    return found[True]


def _occluders(console: Console, engine: Engine, faces: list[Portrait]) -> None:
    title = "share of covered parts found covered (lowest tenth of the untouched parts)"
    table = Table("occluder", *OCCLUDED_BELOW, title=title)
    for name, fill in _fills():
        cells = []
        for part, bound in OCCLUDED_BELOW.items():
            hits, untouched = [], []
            for portrait in faces:
                face = _assess(engine, cover_part(portrait, part, fill))
                if face is None or face.quality is None:
                    continue
                seen = asdict(face.quality.completeness)
                hits.append(seen[part] < bound)
                untouched += [seen[far] for far in FAR_PARTS[part]]
            cells.append(f"{np.mean(hits):.2f} ({np.percentile(untouched, 10):.0f})" if hits else "no face")
        table.add_row(name, *cells)
    console.print(table)


def _speed(console: Console, engine: Engine, faces: list[Portrait]) -> None:
    image = cv2.resize(faces[0].image, (640, 800), interpolation=cv2.INTER_AREA).astype(np.uint8)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        _assess(engine, image)
        seconds.append(time.perf_counter() - started)
    console.print(f"one face in 640 x 800 px on one thread: median {1000 * float(np.median(seconds)):.0f} ms (this machine, now)")


Fill = Callable[[Portrait, int, int], Image]
"""Makes a (height, width, 3) patch for a portrait."""


def cover_part(portrait: Portrait, part: str, fill: Fill) -> Image:
    """Paint a rectangle over each side of a part, 12 % larger than it."""
    image = portrait.image.copy()
    height, width = image.shape[:2]
    for side in lm.PARTS[part]:
        points = portrait.points[list(side), :2]
        grow = (points.max(0) - points.min(0)) * 0.12 + 2
        left, top = np.maximum(points.min(0) - grow, 0).astype(int)
        right, bottom = np.minimum(points.max(0) + grow, [width, height]).astype(int)
        if right > left and bottom > top:
            image[top:bottom, left:right] = fill(portrait, bottom - top, right - left)
    return image


def plain(colour: npt.ArrayLike) -> Fill:
    """Fill with one colour, BGR."""
    return lambda _, height, width: np.full((height, width, 3), colour, np.uint8)


def _fills() -> Iterator[tuple[str, Fill]]:
    yield "black", plain(0)
    yield "white", plain(245)
    yield "grey", plain(128)
    for name in ("grass.png", "motorcycle_left.png"):
        texture = read(TEXTURES / name)[100:300, 200:500]
        yield name.split(".")[0], lambda _, h, w, t=texture: cv2.resize(t, (w, h)).astype(np.uint8)  # type: ignore[misc]
    yield "own skin, flat", lambda p, h, w: np.full((h, w, 3), _cheek(p).reshape(-1, 3).mean(0), np.uint8)
    yield (
        "own skin, cloned",
        lambda p, h, w: cv2.resize(_cheek(p), (w, h), interpolation=cv2.INTER_CUBIC).astype(np.uint8),
    )


def _cheek(portrait: Portrait) -> Image:
    points = portrait.points[list(lm.CHEEKS[0]), :2]
    low, high = np.maximum(points.min(0), 0), points.max(0)
    inset = (high - low) / 4
    (left, top), (right, bottom) = (low + inset).astype(int), (high - inset).astype(int)
    return portrait.image[top : max(bottom, top + 2), left : max(right, left + 2)]


if __name__ == "__main__":
    sys.exit(main())
