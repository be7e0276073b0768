"""Questions about the nodes of an exported program: what they write, what computes the same, where they come from."""

from __future__ import annotations

import re
from typing import Any

import torch


def alive_nodes(graph: Any) -> set[Any]:
    """fx nodes that an output depends on, and those that write to their operands."""
    alive: set[Any] = set()
    for node in reversed(graph.nodes):
        writes = node.op == "call_function" and in_place(node.target)
        if node.op in ("placeholder", "output") or writes or node in alive:
            alive.add(node)
            alive.update(node.all_input_nodes)
    return alive


def in_place(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)


def functional(target: Any) -> Any:
    """aten.relu for aten.relu_: the operator that computes the same without writing to its input."""
    packet = str(target).split(".")[1]
    if not (in_place(target) and packet.endswith("_")):
        return target
    found = getattr(torch.ops.aten, packet[:-1], None)
    return getattr(found, target._overloadname, target)


def provenance(node: Any) -> tuple[str, str]:
    """(module path, "module path, file:line: source") of an fx node."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = re.sub(r"@\d+", "", stack[-1][0]) if stack else ""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/nn/" not in frame[0] and "/torch/_" not in frame[0]]
    place = ""
    if own or frames:
        file, line, source = (own or frames)[-1]
        place = f", {file}:{line}: {source.strip()}"
    return path, (f"module {path!r}" if path else "the root module") + place
