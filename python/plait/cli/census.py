"""A census of Python source code: the demo's job, and nothing but plain functions.

`count` looks at some files, `merge` adds two counts, `report` makes the text. None of them knows plait: they run here
or on any worker.
"""

from __future__ import annotations

import ast
import builtins
import heapq
import io
import keyword
import os
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: How many of the most complex functions are kept.
HARDEST = 10
#: Files are grouped up to about this many bytes: a tenth of a second or two of work.
GROUP_BYTES = 128 << 10

#: Nodes at which control flow may take one way or another.
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.BoolOp,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Folders that hold other people's code, not the library's.
FOREIGN = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass
class Census:
    """What was counted; two of them merge into one."""

    files: int = 0
    lines: int = 0
    tokens: int = 0
    branches: int = 0
    functions: int = 0
    #: How often each identifier stands there; keywords are none.
    identifiers: Counter[str] = field(default_factory=Counter)
    #: How many nodes of each kind the syntax trees have.
    nodes: Counter[str] = field(default_factory=Counter)
    #: The most complex functions, hardest first: minus the complexity, file, line, name.
    hardest: list[tuple[int, str, int, str]] = field(default_factory=list)
    #: Files that are not Python 3 of this version, with the reason.
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def sources(folder: str | os.PathLike[str]) -> list[str]:
    """List the Python files below a folder, sorted, without installed packages."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in FOREIGN)
        found += [os.path.join(parent, name) for name in names if name.endswith(".py")]
    return sorted(found)


def groups(paths: Iterable[str]) -> Iterator[list[str]]:
    """Put neighbouring files together, so that each group is worth sending."""
    group: list[str] = []
    weight = 0
    for path in paths:
        group.append(path)
        weight += os.lstat(path).st_size
        if weight >= GROUP_BYTES:
            yield group
            group, weight = [], 0
    if group:
        yield group


def count(paths: Sequence[str]) -> Census:
    """Tokenise and parse each file, and count what is in it."""
    census = Census()
    for path in paths:
        try:
            tokens, identifiers, lines = _tokens(path)
            tree = _tree(path)
        except (SyntaxError, UnicodeError, ValueError, RecursionError, MemoryError, OSError) as error:
            census.unreadable.append((path, f"{type(error).__name__}: {error}"))
            continue
        census.files += 1
        census.lines += lines
        census.tokens += tokens
        census.identifiers.update(identifiers)
        _walk(tree, path, census)
    census.hardest = heapq.nsmallest(HARDEST, census.hardest)
    return census


def merge(left: Census, right: Census) -> Census:
    """Add `right` to `left`; the order of files is kept."""
    left.files += right.files
    left.lines += right.lines
    left.tokens += right.tokens
    left.branches += right.branches
    left.functions += right.functions
    left.identifiers.update(right.identifiers)
    left.nodes.update(right.nodes)
    left.hardest = heapq.nsmallest(HARDEST, left.hardest + right.hardest)
    left.unreadable += right.unreadable
    return left


def report(census: Census) -> str:
    """Say what was found, for people."""
    names = Counter({name: n for name, n in census.identifiers.items() if not hasattr(builtins, name)})
    lines = [
        f"  files       {census.files:>12,}",
        f"  lines       {census.lines:>12,}",
        f"  tokens      {census.tokens:>12,}",
        f"  identifiers {census.identifiers.total():>12,}   {len(census.identifiers):,} different",
        f"  nodes       {census.nodes.total():>12,}   {len(census.nodes):,} kinds",
        f"  branches    {census.branches:>12,}",
        f"  functions   {census.functions:>12,}",
        "",
        f"  most used names   {_most(names)}",
        f"  most used nodes   {_most(census.nodes)}",
        "",
        "  most complex functions",
    ]
    lines += [f"    {-score:>5}  {name}  {path}:{line}" for score, path, line, name in census.hardest]
    lines += ["", f"  files that do not parse: {len(census.unreadable)}"]
    lines += [f"    {path}  {reason}" for path, reason in census.unreadable]
    return "\n".join(lines)


def _most(counter: Counter[str]) -> str:
    ranked = sorted(counter.items(), key=lambda entry: (-entry[1], entry[0]))[:8]
    return ", ".join(f"{name} {n:,}" for name, n in ranked)


def _tokens(path: str) -> tuple[int, list[str], int]:
    """How many tokens a file has, which identifiers, and how many lines."""
    text = Path(path).read_bytes()
    identifiers = []
    total = 0
    try:
        for token in tokenize.tokenize(io.BytesIO(text).readline):
            total += 1
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                identifiers.append(token.string)
    except tokenize.TokenError as error:
        raise SyntaxError(str(error)) from error
    return total, identifiers, len(text.splitlines())


def _tree(path: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the code's own authors should see
        return ast.parse(Path(path).read_bytes(), path)


def _walk(tree: ast.Module, path: str, census: Census) -> None:
    """Count nodes, and the branches of each function without those of functions in it."""
    pending: list[tuple[ast.AST, int]] = [(tree, -1)]
    owners: list[tuple[str, int, int]] = []
    while pending:
        node, owner = pending.pop()
        census.nodes[type(node).__name__] += 1
        if isinstance(node, FUNCTIONS):
            owners.append((node.name, node.lineno, 1))
            owner = len(owners) - 1
        elif isinstance(node, BRANCHES):
            census.branches += 1
            if owner >= 0:
                name, line, score = owners[owner]
                owners[owner] = name, line, score + 1
        pending += [(child, owner) for child in ast.iter_child_nodes(node)]
    census.functions += len(owners)
    census.hardest += [(-score, path, line, name) for name, line, score in owners]
