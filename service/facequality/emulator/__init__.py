"""A DetectFace endpoint of our own: the vendor's wire and its errors, answered by any detector, with scripted faults."""
