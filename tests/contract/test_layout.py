"""ARCHITECTURE.md draws the packages that there are, and names only files and modules that exist."""

from __future__ import annotations

import re

from tests import layout


def test_the_layout_is_drawn_from_the_imports() -> None:
    assert layout.drawn() == layout.draw(), "run `make layout`"


def test_each_package_is_in_a_layer_or_stands_alone() -> None:
    layered = {name for layer in layout.read_layers() for name in layer}
    assert layered <= set(layout.list_packages())
    assert set(layout.list_packages()) - layered == {"demo", "execution", "settings"}


def test_what_is_imported_is_never_above() -> None:
    height = {name: -position for position, layer in enumerate(layout.read_layers()) for name in layer}
    upward = {
        f"{package} imports {name}"
        for package, imports in layout.read_imports().items()
        for name in (imported.removeprefix("app.") for imported in imports if imported.startswith("app."))
        if package in height and name in height and height[name] >= height[package]
    }
    assert upward == set()


def test_the_paths_that_it_names_exist() -> None:
    page = layout.PAGE.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:app|tests|docs|frontend|benchmarks|alembic)/[^`*\s]*)`", page)
    assert len(paths) > 10
    assert [path for path in paths if not (layout.ROOT / path).exists() and path != "app/web/static" and "NAME" not in path] == []
