"""Specs: presets load, overrides are checked again, errors name file, field and line."""

from __future__ import annotations

import pytest

from accelsim.errors import AccelsimError
from accelsim.hardware import AccumulatorSpec, list_presets, load_spec, load_technology


@pytest.mark.parametrize("name", list_presets())
def test_presets_load_and_name_their_sources(name):
    spec = load_spec(name)
    assert spec.name == name and spec.sources and spec.description
    assert load_spec(spec) is spec


def test_every_constant_has_unit_source_and_uncertainty():
    for constant in load_technology("45nm").constants.values():
        assert constant.unit and len(constant.source) > 10 and 0 <= constant.uncertainty <= 1


def test_replace_revalidates_and_names_the_field():
    spec = load_spec("edge-16x16")
    changed = spec.replace(**{"array.rows": 32, "array.accumulators.bits": 20, "memories.buffer.size_bytes": 4096})
    assert (changed.array.rows, changed.array.accumulators.bits) == (32, 20)
    assert changed.buffer_of("weight").size_bytes == 4096 and spec.array.rows == 16
    for field, value in (
        ("array.rows", 0),
        ("array.raws", 3),
        ("array.accumulators.bits", 65),
        ("array.accumulators.bits", 7),
        ("array.dataflow", "diagonal"),
    ):
        with pytest.raises(AccelsimError, match=field.rsplit(".", 1)[-1]):
            spec.replace(**{field: value})
    with pytest.raises(AccelsimError, match="no element 'cache'"):
        spec.replace(**{"memories.cache.size_bytes": 1})


def test_accumulator_keywords_for_the_kernels():
    single = AccumulatorSpec.model_validate({"bits": 20, "overflow": "saturate", "order": "tree:4"})
    assert single.kernel_kwargs() == {
        "order": "tree:4",
        "bias_at": "preload",
        "zero_point_at": "operand",
        "levels": [(20, "saturate", None)],
    }
    two = AccumulatorSpec.model_validate({"levels": [{"bits": 20, "span": 16}, {"bits": 32}]})
    assert (two.inner_bits, two.bits) == (20, 32)
    for levels in (
        [],
        [{"bits": 20}, {"bits": 32}],
        [{"bits": 32, "span": 4}],
        [{"bits": 32, "span": 4}, {"bits": 20}],
    ):
        with pytest.raises(ValueError, match="level"):
            AccumulatorSpec.model_validate({"levels": levels})
    with pytest.raises(AccelsimError, match="mapping"):
        AccumulatorSpec(order="mapping").kernel_kwargs()


def test_a_file_can_extend_a_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: edge-16x16\nname: mine\nmemories:\n  - {name: buffer, size_bytes: 524288}\n"
    )
    (tmp_path / "child.yaml").write_text("extends: mine.yaml\nname: child\narray: {rows: 8}\n")
    child, base = load_spec(tmp_path / "child.yaml"), load_spec("edge-16x16")
    assert child.buffer_of("input").size_bytes == 524288 and child.array.rows == 8
    assert child.array.cols == base.array.cols and len(child.memories) == len(base.memories)
    # accumulators of several levels in the place of a single one, and back
    two = "{levels: [{bits: 20, overflow: saturate, span: 32}, {bits: 32}]}"
    (tmp_path / "two.yaml").write_text(f"extends: mine.yaml\nname: two\narray: {{accumulators: {two}}}\n")
    (tmp_path / "one.yaml").write_text("extends: two.yaml\nname: one\narray: {accumulators: {bits: 24}}\n")
    assert [level.bits for level in load_spec(tmp_path / "two.yaml").array.accumulators.levels] == [20, 32]
    assert [level.bits for level in load_spec(tmp_path / "one.yaml").array.accumulators.levels] == [24]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "extends: edge-16x16\nname: x\narray:\n  rows: 4\n  colls: 3\n",
            ["bad.yaml", "line 5", "colls", "unknown"],
        ),
        ("extends: edge-16x16\nname: x\nclock_hz: -1\n", ["bad.yaml", "line 3", "clock_hz"]),
        ("name: [\n", ["bad.yaml", "line", "not valid YAML"]),
        ("- 3\n", ["bad.yaml", "mapping"]),
        ("extends: edge-16\nname: x\n", ["edge-16", "did you mean edge-16x16"]),
        ("extends: edge-16x16\narray: {rows: 4}\narray: {rows: 8}\n", ["line 3", "given twice"]),
    ],
)
def test_wrong_files_are_named_with_their_line(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(AccelsimError) as caught:
        load_spec(path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_unknown_and_missing_files():
    with pytest.raises(AccelsimError, match="did you mean micro-8x8"):
        load_spec("micro-8x9")
    with pytest.raises(AccelsimError, match="cannot read"):
        load_spec("nowhere.yaml")
    with pytest.raises(AccelsimError, match="exactly one sram"):
        load_spec("edge-16x16").replace(**{"memories.buffer.operands": ["weight", "input"]})
