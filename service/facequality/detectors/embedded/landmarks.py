"""Indices into MediaPipe's 468-point face mesh.

"Right" and "left" are the person's own. The sets follow the mesh's published topology (canonical face model UV map).
"""

RIGHT_EYE_OUTER, RIGHT_EYE_INNER = 33, 133
LEFT_EYE_OUTER, LEFT_EYE_INNER = 263, 362
NOSE_TIP = 4
MOUTH_UPPER, MOUTH_LOWER = 13, 14
FOREHEAD_TOP, CHIN_BOTTOM = 10, 152
RIGHT_CHEEK_EDGE, LEFT_CHEEK_EDGE = 234, 454
RIGHT_BROW_PEAK, LEFT_BROW_PEAK = 105, 334

OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
        136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
"""The outline of the face, in order."""

EYEBROWS = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
NOSE = ((168, 6, 122, 351, 196, 419, 3, 248, 131, 360, 198, 420, 48, 278, 64, 294, 98, 327, 97, 326, 2),)
CHEEKS = (
    (116, 117, 118, 119, 100, 142, 203, 206, 216, 207, 187, 147, 123),
    (345, 346, 347, 348, 329, 371, 423, 426, 436, 427, 411, 376, 352),
)
MOUTH = ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),)
CHIN = ((152, 148, 176, 149, 150, 170, 211, 204, 106, 182, 83, 18, 313, 406, 335, 424, 431, 395, 379, 378, 400, 377),)
FOREHEAD = ((10, 109, 67, 69, 108, 151, 337, 299, 297, 338),)

PARTS = {"eyebrow": EYEBROWS, "eye": EYES, "nose": NOSE, "cheek": CHEEKS, "mouth": MOUTH, "chin": CHIN}
"""Each part of the face as one polygon per side (convex hulls)."""

SKIN = CHEEKS + NOSE + FOREHEAD
"""Where brightness is read: skin that hair, eyes and lips do not cover."""
