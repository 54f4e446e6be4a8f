"""The embedded detector: a local engine behind the detector port. Needs the extra ``embedded``."""
