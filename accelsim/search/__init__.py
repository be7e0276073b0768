"""Searches over bit widths and hardware."""

from __future__ import annotations
