"""Runs the code blocks of a Markdown page as a reader would, and compares what they print with what the page shows.

Blocks of a page share a namespace and a folder.

- ```python is executed; a ```text right behind it is what it prints.
- ```console holds `$ command` lines, each with what it prints; nothing shown means nothing is compared.
- a block with title="name" is written to that file instead.

In what a page shows, … stands for anything, also over several lines where it is alone on its line. Every other
language is an error: what cannot run must not be in a page.

    python tests/docs/markdown_pages.py docs/tutorial.md     # rewrites what the page shows to what it prints now
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```(?P<about>[^\n`]*)\n(?P<body>.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block. body: without its indentation. span: of the body in the page; line: where it begins."""

    language: str
    title: str | None
    body: str
    span: tuple[int, int]
    indent: str
    line: int


def blocks(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        about = match["about"].strip()
        title = TITLE.search(about)
        body = re.sub(rf"^{match[1]}", "", match["body"], flags=re.MULTILINE)
        line = text[: match.start("body")].count("\n") + 1
        language = re.split(r"[ {]", about, maxsplit=1)[0]
        found.append(Block(language, title and title[1], body, match.span("body"), match[1], line))
    return found


class PageError(AssertionError):
    """A block that fails, or shows what it does not print."""


@dataclass
class PageRun:
    """A page on its way through its blocks. shown: (span, indent, new text) of what is printed otherwise."""

    path: Path
    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    shown: list[tuple[tuple[int, int], str, str]] = field(default_factory=list)
    rewrite: bool = False
    plain: bool = False  # blocks without a language are run where their lines are commands: the README's
    status: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self) -> None:
        """Every block in turn. PageError names the page and the line."""
        text = self.path.read_text("utf-8")
        found = blocks(text)
        home = Path.cwd()
        self.names.setdefault("__name__", "page")
        os.chdir(self.folder)
        sys.path.insert(0, "")  # where Python is started, as for a reader
        known = set(sys.modules)
        try:
            printed: str | None = None
            for block in found:
                printed = self._block(block, printed)
        finally:
            os.chdir(home)
            sys.path.remove("")
            for name in set(sys.modules) - known:
                if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(self.folder)):
                    del sys.modules[name]
            for process in self.processes:
                process.terminate()
            for process in self.processes:
                process.wait(30)
        if self.rewrite and self.shown:
            for span, indent, new in reversed(self.shown):
                text = text[: span[0]] + re.sub("^(?=.)", indent, new, flags=re.MULTILINE) + text[span[1] :]
            self.path.write_text(text, "utf-8")

    def _block(self, block: Block, printed: str | None) -> str | None:
        """What a python block printed; None for the others."""
        if block.title is not None:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, "utf-8")
        elif block.language == "python":
            return self._captured(lambda: self._python(block), block.line)
        elif block.language == "text":
            if printed is None:
                raise self._error(block.line, "shows output, but no python block comes right before it")
            self._compare(block, block.body, printed)
        elif block.language == "console":
            self._console(block)
        elif not block.language and self.plain:
            self._listing(block)
        else:
            raise self._error(block.line, f"a block of {block.language or 'no language'!r} cannot be run")
        return None

    def _python(self, block: Block) -> None:
        code = compile("\n" * (block.line - 1) + block.body, str(self.path), "exec")
        exec(code, self.names)

    def _console(self, block: Block) -> None:
        parts = re.split(r"^\$ ", block.body, flags=re.MULTILINE)
        if parts[0].strip() or len(parts) < 2:
            raise self._error(block.line, "a console block begins with `$ `")
        result, line = [], block.line
        command = printed = ""
        for part in parts[1:]:
            command, _, expected = part.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = command[:-1] + more.strip()
            printed = self._captured(lambda command=command: self._command(command), line)
            keep = not expected.strip() or same(expected, printed)
            if not keep and not self.rewrite:
                raise self._error(line, difference(expected, printed))
            shown = part[: len(part) - len(expected)] + (expected if keep else printed.rstrip() + "\n")
            result.append("$ " + shown)
            line += part.count("\n")
        if self.status:
            raise self._error(line, f"{command} exits with {self.status}, unsaid by `$ echo $?`; it prints\n{printed}")
        if "".join(result) != block.body:
            self.shown.append((block.span, block.indent, "".join(result)))

    def _listing(self, block: Block) -> None:
        for number, text in enumerate(block.body.splitlines(), block.line):
            if text.startswith(("accelsim ", "make ", "pip ")):
                printed = self._captured(lambda text=text: self._command(text), number)
                if self.status > 1:
                    raise self._error(number, f"{text} exits with {self.status}; it prints\n{printed}")
                self.status = 0

    def _compare(self, block: Block, expected: str, printed: str) -> None:
        if same(expected, printed):
            return
        if not self.rewrite:
            raise self._error(block.line, difference(expected, printed))
        self.shown.append((block.span, block.indent, printed.rstrip() + "\n"))

    def _captured(self, work: Callable[[], None], line: int) -> str:
        stream = io.StringIO()
        try:
            with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
                work()
        except Exception as error:
            said = f"\nit printed:\n{stream.getvalue()}" if stream.getvalue() else ""
            raise self._error(line, f"{type(error).__name__}: {error}{said}") from error
        # said at the first use on a machine
        return re.sub(r"^compiling kernels for this CPU.*\n", "", stream.getvalue(), flags=re.MULTILINE)

    def _command(self, command: str) -> None:
        if command == "echo $?":
            print(self.status)
            self.status = 0
            return
        if self.status:
            raise ValueError(f"the command before exits with {self.status}: show it with `$ echo $?`")
        background = command.endswith("&")
        words = shlex.split(command.rstrip("& "), comments=True)
        if words[0] == "accelsim":
            self.status = accelsim(words[1:])
        elif words[0] == "python":
            runpy.run_path(words[1], run_name="__main__")
        elif words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif words[:2] == ["pip", "install"]:
            check_extras(words[2:])
        elif words[0] == "mkdir":
            Path(words[1]).mkdir()
        elif words[0] == "cd":
            os.chdir(words[1])
        elif words[0] == "source":  # a virtual environment that `make` set up: the tests run in theirs
            assert words[1:] == [".venv/bin/activate"], command
        elif words[0] == "pytest":
            # the entry point, whatever is installed here
            plugin = ("-p", "no:accelsim", "-p", "accelsim.pytest_plugin")
            done = subprocess.run([sys.executable, "-m", *words, *plugin], capture_output=True, text=True, check=False)
            print(done.stdout)
            self.status = done.returncode
        elif words[0] == "dask" and background:
            self.processes.append(subprocess.Popen([Path(sys.executable).parent / words[0], *words[1:]],
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))  # fmt: skip
        else:
            raise ValueError(f"no way to run {command!r} here")

    def _error(self, line: int, text: str) -> PageError:
        return PageError(f"{self.path.name}, line {line}: {text}")


def accelsim(arguments: list[str]) -> int:
    """The command in this process; its exit status."""
    from accelsim.cli import main

    before, formatted = sys.argv, warnings.formatwarning
    sys.argv = ["accelsim", *arguments]
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv, warnings.formatwarning = before, formatted


def check_extras(words: list[str]) -> None:
    """`pip install` is not run: what it asks for must be this project, and its extras ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for word in words:
        name = re.fullmatch(r"(?:-e|(accelsim|\.)(?:\[([\w,-]+)\])?)", word)
        if name is None:
            raise ValueError(f"pip install {word}: not this project")
        missing = set((name[2] or "").split(",")) - {""} - set(project["optional-dependencies"])
        if missing:
            raise ValueError(f"pip install {word}: no extra {', '.join(missing)}")


def same(expected: str, printed: str) -> bool:
    """Whether the page shows what was printed; … matches within a line, or any lines where it is alone."""
    pattern = ""
    for line in expected.strip("\n").split("\n"):
        if line.strip() in ("…", "..."):
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*?".join(map(re.escape, line.rstrip().split("…"))) + r"[ ]*\n"
    return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None


def difference(expected: str, printed: str) -> str:
    return f"the page shows\n{expected.rstrip()}\nbut it prints\n{printed.rstrip()}"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        from page_setups import SETUPS

        with tempfile.TemporaryDirectory() as made:
            page = PageRun(Path(argument).resolve(), Path(made), rewrite=True)
            setup = SETUPS.get(page.path.relative_to(ROOT).as_posix())
            if setup is not None:
                page.names |= setup(page.folder)
            page.run()
            print(f"{argument}: {len(page.shown)} blocks rewritten")
