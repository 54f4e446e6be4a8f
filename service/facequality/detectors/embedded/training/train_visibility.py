"""Train the visibility head: ``python -m facequality.detectors.embedded.training.train_visibility``. About fifteen minutes.

Faces that packages ship, half of them mirrored, get occluders and camera effects painted on; the mesh network runs on the
result, and a small network learns from its inner activations which cells of the grid are covered. The faces are few: they
are morphed into each other and bent into other ones, or the head would learn their owners. Everything is seeded.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from facequality.detectors.embedded import landmarks as lm
from facequality.detectors.embedded.geometry import Floats, Roi, polygon
from facequality.detectors.embedded.mesh import SIZE, FaceMesh, frame_of
from facequality.detectors.embedded.pose import canonical_face
from facequality.detectors.embedded.training.faces import TrainingFace, training_faces
from facequality.detectors.embedded.training.identities import between
from facequality.detectors.embedded.training.occluders import Occluders
from facequality.detectors.embedded.visibility import GRID, HEAD, Features, cell_features

SEED = 31
IMAGES = 16_000
CELLS_PER_IMAGE = 45
MORPHED = 0.5
"""Share of faces that are mixed from two."""
EPOCHS = 6
HIDDEN = (64, 32)
BATCH = 512
LEARNING_RATES = (1e-3, 2e-4)
"""First 60 % of the epochs, then the rest."""
DROPPED, NOISE = 0.3, 0.3
"""Share of inputs that are blanked, and deviation of noise on the rest (in standard deviations): without them the head
learns the few faces by heart and calls other people's brows and cheeks covered."""
CLEARLY_OPEN, CLEARLY_COVERED = 0.3, 0.6
"""Cells whose cover lies between are left out; the label's border lies halfway."""
PART_WEIGHT = 3.0
"""Cells of eyes, brows, nose and mouth are drawn this much more often."""


def main() -> int:
    """Generate, train, write the head."""
    cv2.setNumThreads(1)
    features, visible = generate(training_faces())
    print(f"{len(features)} cells, {visible.mean():.3f} visible", flush=True)
    arrays = train(features, visible)
    HEAD.parent.mkdir(exist_ok=True)
    np.savez_compressed(HEAD, allow_pickle=False, **arrays)
    print(f"{HEAD}: {HEAD.stat().st_size} bytes")
    return 0


def generate(faces: list[TrainingFace]) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.bool_]]:
    """Paint, run the mesh network, sample cells."""
    occluders, mesher, mirror = Occluders(SEED), FaceMesh(), mirror_permutation()
    random = occluders.random
    rows, labels = [], []
    for count in range(IMAGES):
        face = faces[int(random.integers(len(faces)))]
        if random.random() < MORPHED:
            face = between(face, faces[int(random.integers(len(faces)))], float(random.uniform(0.2, 0.8)))
        crop, points = face.crop, face.points
        if random.random() < 0.5:
            crop, points = np.ascontiguousarray(crop[:, ::-1]), points[mirror].copy()
            points[:, 0] = crop.shape[1] - 1 - points[:, 0]
        crop, points = occluders.reshape(crop, points)
        canvas, cover = occluders.paint(crop, points)
        photo = occluders.light(canvas)
        first = mesher.run(photo, _jitter(random, frame_of(points)), with_features=False)
        mesh = mesher.run(photo, frame_of(first.points), with_features=True)
        chosen, visible = _sample(random, cover, mesh.affine, mesh.crop_points)
        if len(chosen):
            rows.append(cell_features(mesh)[chosen].astype(np.float16))
            labels.append(visible)
        if count % 1000 == 0:
            print(f"{count} of {IMAGES} images", flush=True)
    return np.concatenate(rows), np.concatenate(labels)


def train(features: npt.NDArray[np.float16], visible: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.float32]]:
    """Fit the network, cell by cell."""
    x: Features = features.astype(np.float32)
    mean, deviation = x.mean(0), x.std(0) + 1e-3
    x = (x - mean) / deviation
    network = MLPClassifier(
        HIDDEN, alpha=1e-3, batch_size=BATCH, learning_rate_init=LEARNING_RATES[0], max_iter=1, random_state=0
    )
    with warnings.catch_warnings(), threadpool_limits(2):
        warnings.simplefilter("ignore")  # one partial fit is not meant to converge
        network.partial_fit(x[:BATCH], visible[:BATCH], classes=[False, True])
        for epoch in range(EPOCHS):
            network._optimizer.learning_rate = LEARNING_RATES[epoch >= 0.6 * EPOCHS]  # noqa: SLF001 - no public schedule
            random = np.random.default_rng(epoch)
            order = random.permutation(len(x))
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                kept = random.random((len(batch), x.shape[1]), dtype=np.float32) >= DROPPED
                noise = random.standard_normal(kept.shape, dtype=np.float32) * NOISE
                network.partial_fit(x[batch] * kept / (1 - DROPPED) + noise, visible[batch])
            print(f"epoch {epoch}: loss {network.loss_:.4f}", flush=True)
    arrays = {"mean": mean, "deviation": deviation}
    for index, (weights, biases) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        arrays[f"weights{index}"], arrays[f"biases{index}"] = weights, biases
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def mirror_permutation() -> npt.NDArray[np.intp]:
    """Return the index of each landmark's mirror image, found in the canonical face."""
    face = canonical_face()
    distances = ((face[None] - (face * [-1, 1, 1])[:, None]) ** 2).sum(axis=2)
    nearest: npt.NDArray[np.intp] = distances.argmin(axis=1)
    return nearest


def _jitter(random: np.random.Generator, roi: Roi) -> Roi:
    x, y = (centre + float(random.normal()) * roi.side * 0.02 for centre in (roi.x, roi.y))
    return Roi(x, y, roi.side * float(np.exp(random.normal() * 0.05)), roi.angle + float(random.normal()) * 0.04)


def _sample(
    random: np.random.Generator, cover: Floats, affine: Floats, points: Floats
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Draw cells on the face whose cover is clear; return their indices and whether each is visible."""
    covered = _cells(cv2.warpAffine(cover, affine, (SIZE, SIZE)))
    in_crop = _cells(cv2.warpAffine(np.ones_like(cover), affine, (SIZE, SIZE))) > 0.9
    on_face = _cells(cv2.dilate(polygon(points, lm.OVAL, SIZE, hull=False).astype(np.float64), np.ones((9, 9)))) > 0.5
    usable = np.flatnonzero(in_crop & on_face & ((covered < CLEARLY_OPEN) | (covered > CLEARLY_COVERED)))
    if not len(usable):
        return usable, np.zeros(0, np.bool_)
    details = np.zeros((SIZE, SIZE), np.bool_)
    for side in (*lm.EYEBROWS, *lm.EYES, *lm.MOUTH, *lm.NOSE):
        details |= polygon(points, side, SIZE, grow=2)
    weight = 1 + PART_WEIGHT * _cells(details.astype(np.float64))[usable]
    chosen = random.choice(usable, min(CELLS_PER_IMAGE, len(usable)), replace=False, p=weight / weight.sum())
    return chosen, covered[chosen] < (CLEARLY_OPEN + CLEARLY_COVERED) / 2


def _cells(values: npt.NDArray[Any]) -> Floats:
    return cv2.resize(values, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel().astype(np.float64)


if __name__ == "__main__":
    sys.exit(main())
