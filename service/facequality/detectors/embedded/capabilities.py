"""What the embedded detector can give: known without OpenCV, so that policies can be checked anywhere."""

from facequality.detector import DetectorInfo
from facequality.measure import QUALITY_MEASURES
from facequality.model import Measure

INFO = DetectorInfo(
    name="embedded",
    measures=frozenset(
        {
            *QUALITY_MEASURES,
            Measure.FACE_SIZE,
            Measure.FACE_AREA_PERCENT,
            Measure.PITCH,
            Measure.YAW,
            Measure.ROLL,
            Measure.MASK,
        }
    ),
    paid=False,
    cloud_calibrated=False,
)
