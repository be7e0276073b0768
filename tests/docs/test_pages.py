"""Every code block of the documentation runs, and prints what the page shows."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil

import pytest
from markdown_pages import ROOT, PageError, PageRun, blocks, same
from page_setups import SETUPS

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
#: pages that take seconds; the others train, search or compile
QUICK = {
    "docs/explanation/accumulators.md", "docs/explanation/profiles.md", "docs/explanation/energy.md",
    "docs/how-to/specification.md", "docs/how-to/calibrate.md", "docs/index.md",
    "docs/reference/accelsim.md", "docs/reference/kernels.md", "docs/reference/command-line.md",
}  # fmt: skip
#: page -> modules and programs that it needs
NEEDS = {
    "docs/how-to/verify.md": ("bitwuzla", "cc", "verilator", "iverilog"),
    "docs/how-to/replay.md": ("tflite", "ai_edge_litert", "onnx", "onnxruntime", "torch"),
    "docs/how-to/cluster.md": ("distributed", "torch", "sklearn"),
    "README.md": ("tflite", "ai_edge_litert", "onnx", "onnxruntime", "torch", "sklearn"),
}


def test_the_table_names_pages() -> None:
    assert QUICK | set(NEEDS) | set(SETUPS) <= set(PAGES)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[] if page in QUICK else [pytest.mark.slow]) for page in PAGES]
)
def test_page(page, tmp_path, tmp_path_factory, monkeypatch):
    missing = [n for n in NEEDS.get(page, ()) if importlib.util.find_spec(n) is None and shutil.which(n) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("ACCELSIM_CACHE", str(tmp_path_factory.getbasetemp() / "pages-cache"))
    if page not in QUICK and importlib.util.find_spec("torch"):
        from accelsim.frontend import digits

        monkeypatch.setattr(digits, "PROTOCOL", dataclasses.replace(digits.PROTOCOL, epochs=2))
    run = PageRun(ROOT / page, tmp_path, plain=page == "README.md")
    if page in SETUPS:
        run.names |= SETUPS[page](tmp_path)
    run.run()


def page_of(tmp_path, text: str) -> PageRun:
    path = tmp_path / "page.md"
    path.write_text(text)
    (tmp_path / "folder").mkdir(exist_ok=True)
    return PageRun(path, tmp_path / "folder")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```python\n1 / 0\n```\n", "page.md, line 2: ZeroDivisionError"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "line 6: the page shows\n2\nbut it prints\n1"),
        ("```python\nimport accelsim\naccelsim.nothing\n```\n", "has no attribute 'nothing'"),
        ("```text\n2\n```\n", "no python block comes right before it"),
        ("```bash\nls\n```\n", "a block of 'bash' cannot be run"),
        ("```\nls\n```\n", "a block of 'no language' cannot be run"),
        ("```console\n$ accelsim presets --show nobody\n```\n", "exits with 2"),
        ("```console\n$ accelsim presets --json\n{}\n```\n", "the page shows\n{}\nbut it prints"),
        ("```console\n$ make nothing\n```\n", "returned non-zero exit status"),
        ("```console\n$ rm -r x\n```\n", "no way to run"),
        ("```console\n$ pip install 'accelsim[nothing]'\n```\n", "no extra nothing"),
    ],
)
def test_what_is_wrong_in_a_page_is_seen(tmp_path, text, says):
    with pytest.raises(PageError, match=re.escape(says)):
        page_of(tmp_path, text).run()


def test_blocks_share_names_and_files(tmp_path):
    page_of(tmp_path, """
1.  In a list:

    ```yaml title="some/file.yaml"
    a: 1
    ```

```python
from pathlib import Path
x = Path("some/file.yaml").read_text()
```

```python
print(x, "and more")
```

```text
a: 1
… more
```

```console
$ accelsim presets --show nobody
error: unknown …
$ echo $?
2
```
""").run()  # fmt: skip


def test_ellipsis():
    assert same("a … c", "a b c\n")
    assert same("a\n…\nc", "a\nb\nb\nc\n")
    assert same("…\nc", "c\n")
    assert not same("a … c", "a b d\n")
    assert not same("a\nc", "a\nb\nc\n")


def test_indented_blocks_lose_their_indentation():
    (block,) = blocks("- x\n\n    ```python\n    if a:\n        b\n    ```\n")
    assert (block.body, block.line) == ("if a:\n    b\n", 4)
