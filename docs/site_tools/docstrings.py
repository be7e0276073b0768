"""Docstrings as Markdown: the house writes `name: what it is` in plain lines, and formulas with stars."""

from __future__ import annotations

import re

import griffe

#: a line that explains parameters or fields: names, a colon, words
NAMED = re.compile(r"^(?P<names>[a-z_]\w*(?:(?:,|,? and) [a-z_]\w*){0,6}): (?P<rest>\S.*)$")
#: lines that begin something new behind explained names
ANEW = re.compile(r"^(Returns?|Raises?|Method|Source|Methods?|AccelsimError|Example|A |The |Where |How )\b")


class PlainDocstrings(griffe.Extension):
    """Turns every docstring of the reference into Markdown when it is collected."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Explained names as a list, the rest as paragraphs; nothing in it is markup but `code`."""
    lines: list[str] = []
    listed, last = False, ""
    for line in text.split("\n"):
        # within a sentence, `word:` at the start of a line explains nothing
        found = NAMED.match(line) if listed or not last or last.endswith((".", ":", ")")) else None
        last = line.strip()
        if found:
            if not listed:
                lines.append("")
            names = ", ".join(f"`{name}`" for name in re.findall(r"\w+", found["names"]) if name != "and")
            lines.append(f"- {names}: {escaped(found['rest'])}")
            listed = True
        elif not line.strip():
            lines.append("")
            listed = False
        elif listed and not line.startswith(" ") and ANEW.match(line):
            lines += ["", escaped(line)]
            listed = False
        elif line.startswith("    ") and not listed:
            lines.append(line)  # a block of code, or a continued line of a paragraph
        else:
            lines.append(("    " if listed else "") + escaped(line.strip()))
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Stars, brackets and angles as they are, outside of `code`."""
    parts = text.split("`")
    return "`".join(re.sub(r"([*\[\]<_])", r"\\\1", part) if n % 2 == 0 else part for n, part in enumerate(parts))
