"""Draws the packages of `app` for ARCHITECTURE.md: what each owns (its docstring), what it imports, and the layers of pyproject.toml.

`python -m tests.layout` (`make layout`) writes the drawing; tests/contract/test_layout.py compares it.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- layout: `make layout` draws this from the imports -->", "<!-- end of layout -->"


def read_layers() -> list[tuple[str, ...]]:
    """Return the names of the packages in layers, the highest first, as the layers contract declares them."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = [contract for contract in tool["importlinter"]["contracts"] if contract["type"] == "layers"]
    return [tuple(name.strip().removeprefix("app.") for name in layer.split("|")) for layer in contract["layers"]]


def list_packages() -> list[str]:
    """Return the packages and modules directly below `app`: those in layers first, then the others by name."""
    found = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")} | {path.stem for path in (ROOT / "app").glob("[!_]*.py")}
    layered = [name for layer in read_layers() for name in layer]
    return [name for name in layered if name in found] + sorted(found - set(layered))


def _owns(package: str) -> str:
    folder = ROOT / "app" / package
    source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    words = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return " ".join(words.split("\n\n")[0].split()).replace("|", "\\|")


def read_imports() -> dict[str, set[str]]:
    """Return for each package what it imports: `app.NAME` for another package, the bare name for a library."""
    graph = grimp.build_graph("app", include_external_packages=True, cache_dir=None)
    imports: dict[str, set[str]] = {package: set() for package in list_packages()}
    for module in graph.modules:
        root, _, rest = module.partition(".")
        package = rest.partition(".")[0]
        if root != "app" or package not in imports:
            continue
        for imported in graph.find_modules_directly_imported_by(module):
            top, _, below = imported.partition(".")
            name = f"app.{below.partition('.')[0]}" if top == "app" and below else top
            if name not in (f"app.{package}", "app") and top not in sys.stdlib_module_names:
                imports[package].add(name)
    return imports


def draw() -> str:
    """Return the layers and the table of packages, as Markdown."""
    imports = read_imports()
    lines = ["```", " > ".join(" | ".join(layer) for layer in read_layers()), "```", ""]
    lines += ["| package | owns | imports | libraries |", "|---|---|---|---|"]
    for package in list_packages():
        ours = [name for name in list_packages() if f"app.{name}" in imports[package]]
        libraries = sorted(name for name in imports[package] if not name.startswith("app."))
        lines.append(f"| `{package}` | {_owns(package)} | {', '.join(ours)} | {', '.join(libraries)} |")
    return "\n".join(lines)


def _split() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    inside, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE.name} has no {BEGIN} and {END}")
    return before, inside.strip(), after


def drawn() -> str:
    """Return the drawing that ARCHITECTURE.md has."""
    return _split()[1]


def main() -> None:
    """Write the drawing into ARCHITECTURE.md."""
    before, _, after = _split()
    PAGE.write_text(f"{before}{BEGIN}\n\n{draw()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
