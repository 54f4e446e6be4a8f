"""Tests over real sockets, real files and the real engine."""
