"""Marks of tests that need a simulator of hardware."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is not installed")
needs_cocotb = pytest.mark.skipif(
    importlib.util.find_spec("cocotb_tools") is None, reason="cocotb 2.0 is not installed: pip install 'accelsim[rtl]'"
)
