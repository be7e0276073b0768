"""Report: accuracy beside cost; text, HTML, JSON, CSV and data frames."""

from accelsim.report.report import Report

__all__ = ["Report"]
