"""Detectors: adapters of the port, one package each."""
