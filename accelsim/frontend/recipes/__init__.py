"""Post-training quantization as pipelines of named steps (paper, section 3); `names.py` lists them."""
