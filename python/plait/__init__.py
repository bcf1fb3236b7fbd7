"""Distributed computing for Python."""
