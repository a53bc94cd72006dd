"""Which code of the library a notebook can reach, name by name, so that an edit elsewhere does not execute it again.

A notebook that uses `figures.gallery` depends on that function and on what it uses, not on the other figures, although
importing one imports them all. Names are followed through imports, through packages that pass on the names of their
modules (by `from ... import` or by `lazy_loader.attach`), and through module names in strings. Where a name can't be
followed, the whole module counts. Docstrings and comments do not count, unless some code shows its own source.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

EVERYTHING = "*"


class Symbol(NamedTuple):
    """A name in a module; the empty name stands for the module as an object, `EVERYTHING` for all that it defines."""

    module: str
    name: str


@dataclass
class Code:
    """What some code refers to: directly, or at any number of steps."""

    symbols: set[Symbol] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)  # its string constants
    shows_source: bool = False  # whether it calls `inspect.getsource`

    def uses(self, module: str) -> bool:
        """Whether anything of a module, or of a package's modules, is reached; named without the package at the top."""
        return any(f"{symbol.module.partition('.')[2]}.".startswith(f"{module}.") for symbol in self.symbols)


class Module:
    """The top-level statements of a module, by the names that they define."""

    def __init__(self, name: str, text: str, *, is_package: bool = False, stub: str = "") -> None:
        self.name, self.text = name, text
        self.package = name if is_package else name.rpartition(".")[0]
        self.tree = _without_docstrings(ast.parse(text))
        self.imported = dict(_imports(ast.parse(stub), self.package)) | dict(_imports(self.tree, self.package))
        self.defined: dict[str, list[ast.stmt]] = {}
        self.always: list[ast.stmt] = []  # statements that act when the module is imported
        for statement in self.tree.body:
            names = _names_bound_by(statement)
            for bound in names:
                self.defined.setdefault(bound, []).append(statement)
            if _acts(statement) or not names:
                self.always.append(statement)

    def statements(self, name: str) -> list[ast.stmt]:
        """The statements behind a name, and those that always act; all of them for `EVERYTHING`."""
        if name == EVERYTHING:
            return self.tree.body
        return [*self.defined.get(name, []), *self.always]


class Library:
    """The modules of a package, read when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, Module] = {}
        self._direct: dict[Symbol, Code] = {}

    @cached_property
    def paths(self) -> dict[str, Path]:
        """The files of all modules, by dotted name."""
        paths = {}
        for path in sorted(self.folder.rglob("*.py")):
            parts = path.relative_to(self.folder.parent).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return paths

    def module(self, name: str) -> Module:
        """A module by its dotted name."""
        if name not in self._modules:
            path = self.paths[name]
            stub = path.with_suffix(".pyi")  # of `lazy_loader.attach_stub`
            self._modules[name] = Module(
                name,
                path.read_text(encoding="utf-8"),
                is_package=path.name == "__init__.py",
                stub=stub.read_text(encoding="utf-8") if stub.exists() else "",
            )
        return self._modules[name]

    def reached_by(self, program: str) -> Code:
        """All that a program reaches, at any number of steps. Raises SyntaxError if it is no Python."""
        main = Module("", program)
        reached = self._references(main, main.tree.body)
        waiting = list(reached.symbols)
        while waiting:
            symbol = waiting.pop()
            if symbol not in self._direct:
                module = self.module(symbol.module)
                self._direct[symbol] = self._references(module, module.statements(symbol.name))
            direct = self._direct[symbol]
            waiting += direct.symbols - reached.symbols
            reached.symbols |= direct.symbols
            reached.strings |= direct.strings
            reached.shows_source |= direct.shows_source
        return reached

    def everything(self) -> Code:
        """All code of the package."""
        return Code({Symbol(name, EVERYTHING) for name in self.paths})

    def digest(self, reached: Code) -> bytes:
        """A hash of the code that is reached."""
        digest = hashlib.sha256()
        for symbol in sorted(reached.symbols):
            module = self.module(symbol.module)
            digest.update(repr(symbol).encode())
            if reached.shows_source:
                digest.update(module.text.encode())
            for statement in module.statements(symbol.name):
                digest.update(ast.dump(statement).encode())
        return digest.digest()

    def _references(self, module: Module, statements: list[ast.stmt]) -> Code:
        """What some statements of a module refer to directly."""
        code = Code()
        outer = {name: Symbol(module.name, name) for name in module.defined} | module.imported
        for statement in statements:
            scope = outer | dict(_imports(statement, module.package))
            for node, attributes in _uses(statement):
                if isinstance(node, ast.Constant):
                    code.strings.add(node.value)
                    code.symbols |= set(self._named_in(node.value))
                elif node.id in scope:
                    code.symbols |= set(self._resolve(scope[node.id], attributes))
                if "getsource" in (*attributes, getattr(node, "id", "")):
                    code.shows_source = True
        return code

    def _resolve(self, symbol: Symbol, attributes: list[str]) -> Iterator[Symbol]:
        """The symbols that a name with attributes behind it, as in `figures.gallery`, stands for."""
        module, name = symbol
        if module not in self.paths:
            if f"{module}.{name}" not in self.paths:
                return  # of another package
            module, name = f"{module}.{name}", ""
        if not name and attributes:
            name, attributes = attributes[0], attributes[1:]
        itself = Symbol(module, name)
        if not name or name == EVERYTHING:  # a module as a whole, passed on, or asked for its names
            yield from self._everything(module)
        elif name in self.module(module).defined:
            yield itself
        elif self.module(module).imported.get(name, itself) != itself:
            yield from self._resolve(self.module(module).imported[name], attributes)
        elif f"{module}.{name}" in self.paths:
            yield from self._resolve(Symbol(f"{module}.{name}", ""), attributes)
        else:
            yield Symbol(module, EVERYTHING)

    def _everything(self, module: str) -> Iterator[Symbol]:
        yield from (Symbol(name, EVERYTHING) for name in self.paths if f"{name}.".startswith(f"{module}."))

    def _named_in(self, text: str) -> Iterator[Symbol]:
        """The modules that a string names: one, as in `python -m`, or all of a package, as in f"lemmse.engines.{x}"."""
        if "." in text.rstrip(".") and text.rstrip(".") in self.paths:
            yield from self._everything(text.rstrip("."))


def _imports(tree: ast.AST, package: str) -> Iterator[tuple[str, Symbol]]:
    """The names that imports bind, those of `lazy_loader.attach` included, and what they stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                yield (alias.asname, Symbol(alias.name, "")) if alias.asname else (root, Symbol(root, ""))
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parents = package.split(".")
                source = ".".join([*parents[: len(parents) - node.level + 1], *([source] if source else [])])
            for alias in node.names:
                yield alias.asname or alias.name, Symbol(source, alias.name)
        elif isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            for submodule, names in ast.literal_eval(node.value).items():
                for name in names:
                    yield name, Symbol(f"{package}.{submodule}", name)


def _names_bound_by(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement defines, unless it only imports."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    names = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
    return names


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement that defines names may also change something else: a decorator may register what it gets."""
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    return any("dataclass" not in ast.dump(decorator) for decorator in statement.decorator_list)


def _uses(tree: ast.AST) -> Iterator[tuple[ast.Name | ast.Constant, list[str]]]:
    """The names in some code, each with the attributes that are asked of it at once, and the string constants."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            yield node, attributes
        else:
            waiting += ast.iter_child_nodes(node)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree
