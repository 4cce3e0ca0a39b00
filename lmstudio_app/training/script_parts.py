"""Scripts out of parts: the files of ``resources/scripts``, which are Python by themselves, put below each other.

A part begins with the imports it needs; ``from script import …`` names what a script has besides it. Behind the line
``# --- script`` comes its text. Of it, lines between ``#: if NAME`` (or ``#: if not NAME``), ``#: else`` and ``#: end``
stay where the name is among the conditions. Imports and constants that nothing in the script uses are left out.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmstudio_app.assets import resource

_BEGIN = "# --- script\n"
_MARK = re.compile(r"\s*#: (if (?P<not>not )?(?P<name>\w+)|else|end)\n")
_WIDTH = 120
# the parts with which the sections of a script begin
_HEADINGS = {"data": "data", "model": "model", "optimizer": "training"}


class Expression(str):
    """A constant that is Python already, such as ``len(LABELS)``."""


@dataclass(frozen=True)
class Constant:
    """A value at the top of a script, and what is said behind it."""

    value: Any
    comment: str = ""


@dataclass(frozen=True)
class Part:
    """``imports`` are (module, name), with an empty name for the module itself; ``text`` is below the mark."""

    imports: tuple[tuple[str, str], ...]
    text: str


@functools.cache
def read_part(name: str) -> Part:
    head, _, text = resource("scripts", f"{name}.py").read_text(encoding="utf-8").partition(_BEGIN)
    imports: list[tuple[str, str]] = []
    for node in ast.parse(head).body:
        if isinstance(node, ast.Import):
            imports += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module != "script":
            imports += [(node.module, alias.name) for alias in node.names]
    return Part(tuple(imports), text)


def choose_lines(text: str, conditions: Collection[str]) -> str:
    """``text`` without its marks, and without the lines whose condition is not met."""
    kept: list[str] = []
    levels: list[bool] = []
    for line in text.splitlines(keepends=True):
        if (mark := _MARK.fullmatch(line)) is None:
            if all(levels):
                kept.append(line)
        elif mark["name"]:
            levels.append((mark["name"] in conditions) != bool(mark["not"]))
        elif mark[1] == "else":
            levels[-1] = not levels[-1]
        else:
            levels.pop()
    return "".join(kept)


def compose(
    title: str,
    names: Sequence[str],
    conditions: Collection[str],
    constants: Mapping[str, Constant],
    replaced: Mapping[str, str],
) -> str:
    """The script of these parts, in their order. ``replaced`` are names in the parts that stand for others."""
    parts = [read_part(name) for name in names]
    headings = [f"# --- {_HEADINGS[name]}\n\n" if name in _HEADINGS else "" for name in names]
    bodies = [_rename(choose_lines(part.text, conditions), replaced).strip("\n") for part in parts]
    used = _names("\n".join(bodies))
    kept = _used_constants(constants, used)
    used |= {name for constant in kept.values() for name in _names(literal(constant.value))}
    imports = {(module, _rename(name, replaced)) for part in parts for module, name in part.imports}
    lines = [_assignment(name, constant) for name, constant in kept.items()]
    head = f'"""{title}\n"""\n\n{_import_lines(imports, used)}\n\n# --- the recipe\n\n' + "\n".join(lines)
    text = "\n\n".join([head, *map(_spaced, headings, bodies)])
    return re.sub(r"\n{4,}", "\n\n\n", text).strip("\n") + "\n"


def run_part(name: str, conditions: Collection[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The names that a part defines when its constants and what it takes from above are ``values``."""
    import importlib

    part = read_part(name)
    space: dict[str, Any] = dict(values)
    for module, member in part.imports:
        if module.partition(".")[0] not in ("transformers", "peft"):
            found = importlib.import_module(module)
            space[member or module] = getattr(found, member) if member else found
    if "numpy" in space:
        space["np"] = space["numpy"]
    exec(compile(choose_lines(part.text, conditions), f"scripts/{name}.py", "exec"), space)
    return space


def _rename(text: str, replaced: Mapping[str, str]) -> str:
    for name, other in replaced.items():
        text = re.sub(rf"\b{name}\b", other, text)
    return text


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _used_constants(constants: Mapping[str, Constant], used: Iterable[str]) -> dict[str, Constant]:
    """Those that are used, and those that these are made of, in the order of ``constants``."""
    wanted = set(used)
    for name in reversed(list(constants)):  # one is made of those above it
        if name in wanted:
            wanted |= _names(literal(constants[name].value))
    return {name: constant for name, constant in constants.items() if name in wanted}


def _spaced(heading: str, body: str) -> str:
    """Two empty lines around what begins or ends with a function, one between other parts."""
    last = ast.parse(body).body[-1]
    before = "\n" if not heading and body.startswith(("def ", "@")) else ""
    return before + heading + body + ("\n" if isinstance(last, ast.FunctionDef) else "")


_ALIASES = {"numpy": "np"}


def _import_lines(imports: Iterable[tuple[str, str]], used: Collection[str]) -> str:
    modules: dict[str, set[str]] = {}
    for module, name in imports:
        if (name or _ALIASES.get(module, module.partition(".")[0])) in used:
            modules.setdefault(module, set()).add(name)
    groups: list[list[str]] = [[], []]
    for module in sorted(modules):
        group = groups[module.partition(".")[0] not in sys.stdlib_module_names]
        if "" in modules[module]:
            group.append(f"import {module} as {_ALIASES[module]}" if module in _ALIASES else f"import {module}")
    for module in sorted(modules):
        group = groups[module.partition(".")[0] not in sys.stdlib_module_names]
        if members := sorted(modules[module] - {""}):
            group.append(f"from {module} import {', '.join(members)}")
    return "\n\n".join("\n".join(group) for group in groups if group)


# --- constants


def _assignment(name: str, constant: Constant) -> str:
    """``NAME = value  # comment``, with the comment above what is too long for one line."""
    text = f"{name} = {literal(constant.value)}"
    whole = f"{text}  # {constant.comment}" if constant.comment else text
    if len(whole) <= _WIDTH:
        return whole
    if len(text) > _WIDTH:
        text = f"{name} = {literal(constant.value, broken=True)}"
    return f"# {constant.comment}\n{text}" if constant.comment else text


def literal(value: Any, *, broken: bool = False, indent: int = 0) -> str:
    """``value`` as Python, laid out as ruff does it; ``broken``: over several lines."""
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, str) and broken:
        pieces = [value[at : at + _WIDTH - 20] for at in range(0, len(value), _WIDTH - 20)]
        return "\n".join(["(", *(f"{' ' * (indent + 4)}{literal(piece)}" for piece in pieces), " " * indent + ")"])
    if isinstance(value, str):
        return repr(value) if '"' in value and "'" not in value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        items = [f"{literal(key)}: " for key in value]
        values, ends = list(value.values()), "{}"
    elif isinstance(value, list | tuple):
        items, values, ends = [""] * len(value), list(value), "[]"
    else:
        return repr(value)
    if not broken:
        return ends[0] + ", ".join(key + literal(item) for key, item in zip(items, values, strict=True)) + ends[1]
    space, lines = " " * (indent + 4), []
    for key, item in zip(items, values, strict=True):
        line = f"{space}{key}{literal(item)},"
        if len(line) > _WIDTH and isinstance(item, Mapping | list | tuple):
            line = f"{space}{key}{literal(item, broken=True, indent=indent + 4)},"
        lines.append(line)
    return "\n".join([ends[0], *lines, " " * indent + ends[1]])
