"""accelsim: a bit-accurate fixed-point accelerator simulator with a cost model."""

__version__ = "0.1.0"
