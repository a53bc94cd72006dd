"""Which code of the library a notebook can reach, name by name, so that an edit elsewhere does not execute it again.

A notebook that uses `figures.gallery` depends on that function and on what it uses, not on the other figures, although
importing one imports them all. Names are followed through imports, through packages that pass on the names of their
modules (by `from ... import` or by `lazy_loader.attach`), and through module names in strings. Where a name can't be
followed, the whole module counts. Docstrings and comments do not count, unless some code shows its own source.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

EVERYTHING = "*"
ON_IMPORT = "on import"


class Symbol(NamedTuple):
    """A name in a module; the empty name stands for the module as an object, `EVERYTHING` for all that it defines, and
    `ON_IMPORT` for the statements that act when it is imported."""

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
        nodes = [*ast.walk(ast.parse(stub)), *_top_level_nodes(self.tree)]
        self.imported = dict(_imports(nodes, self.package))
        self.defined: dict[str, list[ast.stmt]] = {}
        self.always: list[ast.stmt] = []  # statements that act when the module is imported
        for statement in self.tree.body:
            names = _names_bound_by(statement)
            for bound in names:
                self.defined.setdefault(bound, []).append(statement)
            if _acts(statement) or not names:
                self.always.append(statement)

    def statements(self, name: str) -> list[ast.stmt]:
        """The statements behind a name; those that always act for `ON_IMPORT`, and all of them for `EVERYTHING`."""
        special = {ON_IMPORT: self.always, EVERYTHING: self.tree.body}
        return special[name] if name in special else self.defined.get(name, [])


class Library:
    """The modules of a package, read when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, Module] = {}
        self._direct: dict[Symbol, Code] = {}
        self._dumped: dict[Symbol, bytes] = {}

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
            new = (direct.symbols | {Symbol(symbol.module, ON_IMPORT)}) - reached.symbols
            waiting += new
            reached.symbols |= new
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
            if symbol not in self._dumped:
                self._dumped[symbol] = "".join(map(ast.dump, module.statements(symbol.name))).encode()
            digest.update(self._dumped[symbol])
        return digest.digest()

    def _references(self, module: Module, statements: list[ast.stmt]) -> Code:
        """What some statements of a module refer to directly."""
        code = Code()
        for statement in statements:
            uses = _uses(statement)
            inner = dict(_imports(uses.imports, module.package))
            for name, attributes in uses.names:
                if name in inner or name in module.imported:
                    symbol = inner.get(name) or module.imported[name]
                    code.symbols |= set(self._resolve(symbol, attributes))
                elif name in module.defined:
                    code.symbols.add(Symbol(module.name, name))
                code.shows_source |= "getsource" in (name, *attributes)
            for text in uses.strings:
                code.symbols |= set(self._named_in(text))
            code.strings |= uses.strings
        code.symbols = {symbol for symbol in code.symbols if symbol.module in self.paths}
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


def _imports(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, Symbol]]:
    """The names that imports bind, those of `lazy_loader.attach` included, and what they stand for."""
    for node in nodes:
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
    for node in _top_level_nodes(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
    return names


def _top_level_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes outside the bodies of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += ast.iter_child_nodes(node)


def _acts(statement: ast.stmt) -> bool:
    """Whether a statement that defines names may also change something else: a decorator may register what it gets."""
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    return any("dataclass" not in ast.dump(decorator) for decorator in statement.decorator_list)


class Uses(NamedTuple):
    """What stands in some code."""

    names: list[tuple[str, list[str]]]  # each with the attributes that are asked of it at once
    strings: set[str]
    imports: list[ast.AST]


def _uses(tree: ast.AST) -> Uses:
    uses = Uses([], set(), [])
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            uses.names.append((node.id, attributes))
        elif isinstance(node, ast.Constant):
            uses.strings.update({node.value} if isinstance(node.value, str) else ())
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            uses.imports.append(node)
        else:
            waiting += ast.iter_child_nodes(node)
    return uses


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
