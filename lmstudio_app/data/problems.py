"""What is odd about a data file: one sentence, the line it starts at, and a fix that one click applies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SEVERITIES = ("info", "warning", "error")
_ROWS_KEPT = 5  # line numbers shown of one kind of problem

_FIX_TITLES = {
    "encoding": "Read as {value}",
    "delimiter": "Use {value} between columns",
    "header=true": "First row is the header",
    "header=false": "First row is data",
    "quoting=none": "Take quotation marks literally",
    "quoting=double": "Quotation marks enclose fields",
    "format": "Read as {value}",
    "rejected": "Show the rows set aside",
    "deduplicate": "Leave out duplicates",
    "details": "Copy details",
}
_ENCODING_NAMES = {
    "gb18030": "GB18030", "cp1252": "Windows-1252", "latin-1": "Latin-1", "iso8859-1": "Latin-1",
    "utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16 LE", "utf-16-be": "UTF-16 BE",
    "big5": "Big5", "cp932": "Shift-JIS", "euc_jp": "EUC-JP", "cp949": "CP949",
    "cp1251": "Windows-1251", "koi8-r": "KOI8-R",
}  # fmt: skip
_DELIMITER_NAMES = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "vertical bar", "": "nothing"}


@dataclass(frozen=True)
class Problem:
    """A finding about a file or a split.

    ``template`` with ``parameters`` is the sentence (a template, so that it can be translated). ``row`` is the
    1-based line in the file. ``fix`` is ``"name=value"`` (see :func:`fix_title`), for the most part a reading option
    that :meth:`ReadOptions.with_fix` applies; ``more_fixes`` are further ones.
    """

    kind: str
    template: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    row: int | None = None
    fix: str | None = None
    severity: str = "warning"
    more_fixes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        return self.template.format(**self.parameters)

    @property
    def fixes(self) -> tuple[str, ...]:
        return ((self.fix,) if self.fix else ()) + self.more_fixes

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "parameters": dict(self.parameters), "more_fixes": list(self.more_fixes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Problem:
        return cls(**{**values, "more_fixes": tuple(values.get("more_fixes", ()))})


def fix_title(fix: str) -> tuple[str, dict[str, str]]:
    """Template and parameters of the words on a fix's button: ``fix_title("delimiter=;")``."""
    name, _, value = fix.partition("=")
    if fix in _FIX_TITLES:
        return _FIX_TITLES[fix], {}
    names = {"delimiter": _DELIMITER_NAMES, "encoding": _ENCODING_NAMES}.get(name, {})
    return _FIX_TITLES[name], {"value": names.get(value, value)}


def delimiter_name(delimiter: str) -> str:
    """What a person calls it: ``delimiter_name(";") == "semicolon"``."""
    return _DELIMITER_NAMES.get(delimiter, delimiter)


def encoding_name(encoding: str) -> str:
    """What a person calls it: ``encoding_name("cp1252") == "Windows-1252"``."""
    return _ENCODING_NAMES.get(encoding, encoding)


def by_severity(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Errors first, otherwise in the given order."""
    return tuple(sorted(problems, key=lambda problem: -SEVERITIES.index(problem.severity)))


class Findings:
    """Collects problems while a file is read; the same kind at many lines becomes one problem with a count."""

    def __init__(self) -> None:
        self._problems: dict[str, dict[str, Any]] = {}

    def add(
        self,
        kind: str,
        template: str,
        *,
        row: int | None = None,
        fix: str | None = None,
        more_fixes: tuple[str, ...] = (),
        severity: str = "warning",
        times: int = 1,
        **parameters: Any,
    ) -> None:
        """``template`` may use ``{count}``, ``{row}`` (the first line) and ``{rows}`` (the first few lines).

        ``times`` counts rows that are not told one by one.
        """
        known = self._problems.get(kind)
        if known is None:
            self._problems[kind] = {
                "kind": kind,
                "template": template,
                "parameters": parameters,
                "row": row,
                "fix": fix,
                "more_fixes": more_fixes,
                "severity": severity,
                "rows": [] if row is None else [row],
                "count": times,
            }
            return
        known["count"] += times
        if row is not None and len(known["rows"]) < _ROWS_KEPT:
            known["rows"].append(row)

    def count(self, kind: str) -> int:
        return self._problems[kind]["count"] if kind in self._problems else 0

    def problems(self) -> tuple[Problem, ...]:
        """In order of severity, errors first."""
        found = []
        for known in self._problems.values():
            values = dict(known)
            rows, count = values.pop("rows"), values.pop("count")
            listed = ", ".join(str(row) for row in rows) + (", …" if rows and count > len(rows) else "")
            values["parameters"] = {**values["parameters"], "count": count, "row": values["row"], "rows": listed}
            found.append(Problem(**values))
        return by_severity(found)
