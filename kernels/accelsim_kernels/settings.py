"""The error that a wrong environment variable raises."""

from __future__ import annotations


class SettingError(ValueError):
    """An environment variable of the kernels has a value that means nothing here; the message names it."""
