"""Write ``packaging/constraints.txt``: the exact version of everything that the dependencies bring along.

    .venv/bin/python packaging/lock.py            # after changing a pin in pyproject.toml and "setup"
    .venv/bin/python packaging/lock.py --check    # exit code 1 when the file would change

The versions are those installed beside this interpreter. What only other systems need (the CUDA libraries
that torch brings on Linux, say) is not installed everywhere: such lines are kept. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
HEADER = """\
# Every version that installing lmstudio-app may bring along, on any system. Written by packaging/lock.py.
"""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# (sys_platform, platform_system, os_name, platform_machine)
SYSTEMS = (
    ("linux", "Linux", "posix", "x86_64"),
    ("linux", "Linux", "posix", "aarch64"),
    ("darwin", "Darwin", "posix", "arm64"),
    ("win32", "Windows", "nt", "AMD64"),
)


def direct_requirements() -> list[Requirement]:
    """The pins of pyproject.toml: the program's, the developers', and the build's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def read_constraints() -> dict[str, str]:
    """Canonical name -> version, as the file has them now."""
    if not CONSTRAINTS.is_file():
        return {}
    lines = (line.split("#")[0].strip() for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def environments() -> Iterator[Environment]:
    for python in PYTHONS:
        for sys_platform, system, os_name, machine in SYSTEMS:
            environment = default_environment()
            environment.update(
                sys_platform=sys_platform,
                platform_system=system,
                os_name=os_name,
                platform_machine=machine,
                python_version=python,
                python_full_version=f"{python}.0",
            )
            yield environment


def is_needed(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Does the marker hold on any system and Python, for any of the extras that were asked for?"""
    marker = requirement.marker
    if marker is None:
        return True
    return any(
        marker.evaluate({**environment, "extra": extra})  # type: ignore[dict-item]
        for environment in environments()
        for extra in (extras or {""})
    )


def closure(kept: dict[str, str]) -> dict[str, str]:
    """Name as its author writes it -> version, for everything that is needed on any system.

    Raises ``SystemExit`` when something needed is neither installed nor in ``kept``, or is installed in
    another version than the one asked for.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = [(requirement, frozenset(requirement.extras)) for requirement in direct_requirements()]
    while queue:
        requirement, extras = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name not in kept:
                raise SystemExit(f"{name} is needed and not installed; set up the environment first.") from None
            found[name] = kept[name]
            continue
        version = Version(installed.version).public  # 2.13.0+cpu is 2.13.0
        if not requirement.specifier.contains(version, prereleases=True):
            raise SystemExit(f"{requirement} is asked for and {version} is installed; set up the environment again.")
        found[installed.metadata["Name"]] = version
        for line in installed.requires or ():
            child = Requirement(line)
            if is_needed(child, extras):
                queue.append((child, frozenset(child.extras)))
    known = {canonicalize_name(name) for name in found}
    return found | {name: version for name, version in kept.items() if name not in known and is_cuda(name)}


def is_cuda(name: str) -> bool:
    """The CPU build of torch says nothing of these; its general Linux build asks for them."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


def render(versions: dict[str, str]) -> str:
    return HEADER + "".join(f"{name}=={versions[name]}\n" for name in sorted(versions, key=canonicalize_name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say whether the file is up to date")
    check = parser.parse_args().check
    text = render(closure(read_constraints()))
    if CONSTRAINTS.is_file() and CONSTRAINTS.read_text(encoding="utf-8") == text:
        print("packaging/constraints.txt is up to date.")
        return 0
    if check:
        print("packaging/constraints.txt is out of date; run packaging/lock.py.")
        return 1
    CONSTRAINTS.write_text(text, encoding="utf-8")
    print(f"packaging/constraints.txt: {text.count('==')} versions.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
