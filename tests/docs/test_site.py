"""The site: every public name in the reference, nothing fetched, a strict build without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import accelsim_kernels
import pytest
import yaml
from markdown_pages import ROOT

import accelsim as acs

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None,
    reason="mkdocs-material is not installed: pip install 'accelsim[docs]'",
)


def built(folder, *options: str, root=ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *options]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9",
                   "https_proxy": "http://127.0.0.1:9"}  # fmt: skip
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@needs_mkdocs
def test_a_strict_build_without_network(tmp_path):
    done = built(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text("utf-8")
        fetched = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//([^"]+)"', text)
        assert not fetched, (page, fetched)
    verbs = (tmp_path / "site" / "reference" / "command-line.html").read_text("utf-8")
    names = [path.stem for path in (ROOT / "accelsim" / "cli").glob("[!_]*.py")]
    assert [name for name in names if f">accelsim {name}<" not in verbs] == []
    for page, homes in (
        ("accelsim", {name: f"{module}.{name}" for name, module in acs._PUBLIC.items()}),
        ("kernels", {name: f"accelsim_kernels.{home}.{name}" for name, home in accelsim_kernels._HOMES.items()}),
    ):
        text = (tmp_path / "site" / "reference" / f"{page}.html").read_text("utf-8")
        assert [name for name, path in homes.items() if f'id="{path}"' not in text] == []


@pytest.mark.slow
@needs_mkdocs
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gone](how-to/gone.md)", "how-to/gone.md"),
        ("[gone](tutorial.md#gone)", "#gone"),
        ("![gone](images/gone.png)", "images/gone.png"),
        ("::: accelsim.evaluation.nothing", "accelsim.evaluation.nothing"),
    ],
)
def test_a_broken_link_or_name_fails_the_build(tmp_path, text, says):
    for part in ("docs", "mkdocs.yml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    for part in ("accelsim", "kernels"):
        (tmp_path / part).symlink_to(ROOT / part)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{text}\n")
    done = built(tmp_path / "site", root=tmp_path)
    assert done.returncode != 0
    assert says in done.stderr + done.stdout


def test_docstrings_become_lists_where_they_explain_names():
    pytest.importorskip("griffe", reason="needs mkdocstrings")
    sys.path.insert(0, str(ROOT / "docs" / "site_tools"))
    try:
        from docstrings import as_markdown
    finally:
        sys.path.pop(0)
    text = "Sums.\n\na, b: two arrays; innermost\nfirst in place of c, d: here.\nReturns e, also\nf: g."
    assert as_markdown(text) == (
        "Sums.\n\n\n- `a`, `b`: two arrays; innermost\n    first in place of c, d: here.\n\nReturns e, also\nf: g."
    )


def test_pages_in_the_navigation_exist():
    def paths(item):
        if isinstance(item, str):
            return [item]
        return [path for value in (item.values() if isinstance(item, dict) else item) for path in paths(value)]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert set(paths(nav)) == there
