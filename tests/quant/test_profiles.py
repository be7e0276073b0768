"""Every profile loads, names schemes and arithmetic that exist, and says where it comes from."""

from __future__ import annotations

import subprocess
import sys

import accelsim_kernels as kernels
import numpy as np
import pytest
import yaml
from accelsim_kernels.names import ARITHMETIC, SCHEMES
from shared_material import SHARED, needs_shared

from accelsim.errors import AccelsimError
from accelsim.ops.parameters import add_parameters, mean_scale_parameters
from accelsim.profiles import DEFAULT_PROFILE, list_profiles, load_profile, parse_profile
from accelsim.quant import QuantParams
from accelsim.requant import PRODUCTS, Requantizer

NEEDED = ("conv2d", "depthwise_conv2d", "linear", "average_pool2d", "mean", "requantize", "quantize")


def test_the_default_comes_first():
    assert list_profiles()[0] == DEFAULT_PROFILE == "tflm"
    assert load_profile().name == "tflm"


@pytest.mark.parametrize("name", list_profiles())
def test_profile(name):
    profile = load_profile(name)
    assert profile.name == name
    assert len(profile.source) > 30 and profile.version and profile.runtime and profile.bits
    for operator in NEEDED:
        numerics = profile.operator(operator)
        assert numerics.scheme in (None, *SCHEMES)
        assert numerics.product in PRODUCTS
        assert numerics.scheme or numerics.arithmetic in ARITHMETIC[operator]
    for operator, numerics in profile.operators.items():
        if numerics.scheme and operator in ("conv2d", "linear"):
            zero = 0 if SCHEMES[numerics.scheme].zero_point == "none" else 5
            scale = 2.0**-9 if profile.power_of_two else (0.1, np.array([0.01, 0.02]), 0.05)
            how = {} if profile.power_of_two else {"product": numerics.product}
            assert Requantizer.from_scale(numerics.scheme, scale, zero_point=zero, **how).scheme == numerics.scheme


@pytest.mark.parametrize("name", [n for n in list_profiles() if "add" in load_profile(n).operators])
def test_add_and_mean_of_every_profile_stay_near_the_real_result(name):
    profile = load_profile(name)
    sa, sb, sy = (2.0**-4, 2.0**-5, 2.0**-3) if profile.power_of_two else (0.05, 0.031, 0.07)
    a, b, y = QuantParams(sa, 3), QuantParams(sb, -7), QuantParams(sy, 1)
    x, z = (v.astype(np.int8) for v in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    numerics = profile.operator("add")
    code = kernels.add(x, z, arithmetic=numerics.arithmetic, a_zero_point=3, b_zero_point=-7, zero_point=1,
                       **add_parameters(numerics, a, b, y))  # fmt: skip
    real = np.clip((sa * (x - 3.0) + sb * (z + 7.0)) / sy + 1, -128, 127)
    assert np.abs(code - real).max() <= 0.51
    numerics = profile.operator("mean")
    if numerics.arithmetic == "requantize":
        image = x.reshape(1, 256, 16, 16)[:, :5, :7]
        how = Requantizer(numerics.scheme, mean_scale_parameters(numerics, a, y, 35), 1).kwargs()
        code = kernels.mean(image, arithmetic="requantize", x_zero_point=3, requantize=how)
        real = (image - 3.0).mean(axis=(1, 2), keepdims=True) * sa / sy + 1
        assert np.abs(code - np.clip(real, -128, 127)).max() <= 0.52


def test_they_mix():
    reference, micro = load_profile("tflite-reference"), load_profile("tflm")
    assert reference.operator("conv2d").scheme == micro.operator("linear").scheme == "tflite-double"
    assert reference.operator("linear").scheme == "real-double"
    assert load_profile("tflite-ruy").operator("add").scheme == "tflite-double"


def test_unknown_names():
    with pytest.raises(AccelsimError, match="unknown numeric profile 'tflite'; known: tflm"):
        load_profile("tflite")
    with pytest.raises(AccelsimError, match="does not define operator 'lstm'; it defines conv2d"):
        load_profile("tflm").operator("lstm")


def test_a_malformed_profile_names_the_field():
    good = {"name": "x", "runtime": "r", "version": "1", "source": "s", "bits": [8], "operators": {}}
    assert parse_profile(good, "p.yaml").name == "x"
    for changes, words in (
        ({"sorce": "s"}, "unknown fields .'sorce'"),
        ({"operators": {"conv2d": {"scheme": "tflite"}}}, "operator conv2d: scheme 'tflite' is not one of"),
        ({"operators": {"add": {"arithmetic": "sum"}}}, "operator add: arithmetic 'sum' is not one of rescale"),
        ({"operators": {"add": {"rounding": "up"}}}, "operator add: unknown fields .'rounding'"),
    ):
        with pytest.raises(AccelsimError, match=words):
            parse_profile({**good, **changes}, "p.yaml")
    with pytest.raises(AccelsimError, match="must be a mapping"):
        parse_profile(yaml.safe_load("- 1"), "p.yaml")


def test_listing_profiles_needs_no_numba():
    code = "import sys, accelsim.profiles as p; p.load_profile(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_shared
def test_xnnpack_adds_as_its_delegate_does():
    import json

    with np.load(SHARED / "vectors" / "tflite" / "add.npz") as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays["meta"]))
    a, b = (QuantParams(i["scale"], i["zero_point"]) for i in meta["inputs"])
    y = QuantParams(meta["output"]["scale"], meta["output"]["zero_point"])
    numerics = load_profile("xnnpack").operator("add")
    code = kernels.add(
        arrays["input0"], arrays["input1"], arithmetic=numerics.arithmetic, a_zero_point=a.zero_point,
        b_zero_point=b.zero_point, zero_point=y.zero_point, **add_parameters(numerics, a, b, y),
    )  # fmt: skip
    np.testing.assert_array_equal(code, arrays["output_xnn"])


def test_nvdla_refuses_a_padded_average_pool_that_leaves_the_padding_out():
    from accelsim.ops.pool import AveragePool2d

    def pool(padding: int, divisor: str) -> AveragePool2d:
        pads = ((padding, padding),) * 2
        return AveragePool2d("pool", ("x",), "y", (3, 3), (1, 1), pads, divisor, 0, -128, 127, "two-roundings", {})

    with pytest.raises(AccelsimError, match="layer 'pool'.*count the padding"):
        pool(1, "valid")
    assert (pool(0, "valid").divisor, pool(1, "window").divisor) == ("valid", "window")
