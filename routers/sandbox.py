"""The part of Jinja that templates may use, so that none can run on, grow without end, or reach the program.

Three walls. What can be written: texts, names, dotted paths, our filters, `if`, `for`, `set`; nothing is called, so a
template has no way to code. What it can see: values cut to a size before it looks at them. How much it can write:
the rendering is stopped at a cap, and each pass of a loop counts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from routers.escapes import Escape, plain
from routers.filters import FILTERS, MAX_TEXT, NOTHING, Nothing, as_text, holds_access_key, is_nothing

RESERVED_MARK = "$"  # begins the names of facts that are for the program alone
MAX_SOURCE = 20_000
MAX_OUTPUT = 20_000
MAX_PIECES = 5_000
MAX_ITEMS = 1_000
_MAX_CHARACTERS = 100_000
_MAX_NESTED_VALUES = 8
_MAX_BLOCKS = 10
_MAX_DEPTH = 60
_MAX_NUMBER = 10**15


class Problem(NamedTuple):
    """What is wrong with a template, in which line (from 1), and what to write instead."""

    line: int
    problem: str
    hint: str = ""


class TemplateFailed(Exception):
    """A template that could not be rendered. *line* is 0 where no line is to blame."""

    def __init__(self, problem: str, *, line: int = 0) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line


# --- what a template sees --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """Fields that a template reads by name, cut to a size one by one; links that let anybody listen are left out."""

    fields: Mapping[str, Any]

    def __iter__(self) -> Iterator[str]:
        return islice((name for name in self.fields if not name.startswith(RESERVED_MARK)), MAX_ITEMS)

    def get(self, name: object) -> object:
        if not isinstance(name, str) or name.startswith(RESERVED_MARK):
            return NOTHING
        value = self.fields.get(name)
        return NOTHING if holds_access_key(value) else bounded(value)


def bounded(value: Any) -> Any:
    """*value* cut to what a message can need; what is told empty becomes nothing."""
    if value.__class__ is str:
        return value[:MAX_TEXT] if value else NOTHING
    if is_nothing(value):
        return NOTHING
    return _Budget().cut(value, 0) if isinstance(value, list | dict) else value


@dataclass(slots=True)
class _Budget:
    items: int = MAX_ITEMS
    characters: int = _MAX_CHARACTERS

    def cut(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            text = value[: min(MAX_TEXT, self.characters)]
            self.characters -= len(text)
            return text
        if isinstance(value, list):
            return [] if depth > _MAX_NESTED_VALUES else [self.cut(part, depth + 1) for part in self._counted(value)]
        if isinstance(value, dict):
            pairs = [] if depth > _MAX_NESTED_VALUES else self._counted(value.items())
            return {self.cut(str(name), depth): self.cut(part, depth + 1) for name, part in pairs}
        return NOTHING if value is None else value

    def _counted(self, parts: Iterable[Any]) -> Iterator[Any]:
        for part in parts:
            if self.items <= 0:
                return
            self.items -= 1
            yield part


_LOOP = frozenset({"index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem"})


def _part(obj: object, name: object) -> object:
    """What stands in *obj* under *name*: a field, a place in a list, a fact of the loop. Never a Python attribute."""
    if isinstance(obj, dict):
        found = obj.get(name, NOTHING)
    elif isinstance(obj, View):
        found = obj.get(name)
    elif isinstance(obj, list | tuple) and isinstance(name, int):
        found = obj[name] if -len(obj) <= name < len(obj) else NOTHING
    elif isinstance(obj, LoopContext) and name in _LOOP:
        found = getattr(obj, str(name))
    else:
        found = NOTHING
    return NOTHING if is_nothing(found) else found


# Characters that filters may look at while one text is written, a tenth of a second or so on a slow machine.
MAX_WORK = 2_000_000
_CALL = 100  # what calling a filter costs, in characters
_work: ContextVar[list[int]] = ContextVar("_work")


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    """*function*, which fails once all filters together have looked at more than `MAX_WORK`."""

    @wraps(function)
    def charged(*args: Any, **options: Any) -> Any:
        left = _work.get()
        left[0] -= _CALL
        for value in args:
            if value.__class__ is str:
                left[0] -= len(value)
        if left[0] < 0:
            raise ValueError("the template works too much on too long a text")
        return function(*args, **options)

    return charged


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset({"+", "-"})

    def __init__(self, escape: Escape) -> None:
        super().__init__(
            undefined=Nothing,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: escape(as_text(value)),
            cache_size=0,
        )
        self.escape = escape
        self.globals.clear()
        self.filters = {name: _charged(function) for name, function in FILTERS.items()}
        self.tests = {"defined": _is_told, "undefined": is_nothing, "none": is_nothing}

    def getattr(self, obj: Any, attribute: str) -> Any:
        return _part(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return _part(obj, argument)

    def is_safe_callable(self, obj: Any) -> bool:  # the check refuses calls; this is the wall behind it
        return False

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if is_nothing(left) or is_nothing(right):
            return NOTHING
        return _number(super().call_binop(context, operator, _number(left), _number(right)))

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        return NOTHING if is_nothing(arg) else super().call_unop(context, operator, _number(arg))


def _is_told(value: object) -> bool:
    return not is_nothing(value)


def _number(value: object) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("only numbers can be calculated with; texts are put together by ~")
    if not abs(value) < _MAX_NUMBER:
        raise ValueError("a number grows too large")
    return value


@lru_cache(maxsize=16)
def _environment(escape: Escape) -> _Environment:
    return _Environment(escape)


# --- what can be written ---------------------------------------------------------------------------------------------

_ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.If, nodes.For, nodes.Assign, nodes.CondExpr, nodes.List),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand, nodes.Concat, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_REFUSED: dict[type[nodes.Node], tuple[str, str]] = {
    nodes.Call: ("a template calls nothing", "use a filter, as in {{ name | upper }} or {{ form_data | items }}"),
    nodes.Include: ("{% include %} is not for templates here", "write the text into this template"),
    nodes.Extends: ("{% extends %} is not for templates here", "write the text into this template"),
    nodes.Import: ("{% import %} is not for templates here", "write the text into this template"),
    nodes.FromImport: ("{% from %} is not for templates here", "write the text into this template"),
    nodes.Macro: ("{% macro %} is not for templates here", "write the text where it is needed"),
    nodes.CallBlock: ("{% call %} is not for templates here", "write the text where it is needed"),
    nodes.Block: ("{% block %} is not for templates here", "write the text without it"),
    nodes.FilterBlock: ("{% filter %} is not for templates here", "use the filter on a value: {{ name | upper }}"),
    nodes.AssignBlock: ("{% set %} around a text is not for templates here", "write {% set name = value %}"),
    nodes.Scope: ("{% autoescape %} is not for templates here", "leave it out: values are always escaped"),
    nodes.With: ("{% with %} is not for templates here", "write {% set name = value %}"),
    nodes.Pow: ("** makes numbers that are too large", "use * with a number"),
    nodes.Slice: ("a cut like [0:5] is not for templates here", "use | truncate(5) or, for a list, | first(5)"),
    nodes.Tuple: ("a list in round brackets is not for templates here", "use square brackets"),
    nodes.Dict: ("curly brackets inside {{ }} are not for templates here", "use {% if %} to tell cases apart"),
}
_ESCAPING = frozenset({"safe", "escape", "e", "forceescape"})
_TAGS = ("if", "elif", "else", "endif", "for", "endfor", "set")


def problems_of(source: str, known: Collection[str] | None) -> list[Problem]:
    """All that is wrong with a template that may use the names *known* (None: any), by line; empty if it is right."""
    if len(source) > MAX_SOURCE:
        return [Problem(1, f"the template has more than {MAX_SOURCE:,} characters", "make it shorter")]
    try:
        tree = _environment(plain).parse(source)
    except TemplateSyntaxError as error:
        return [_syntax_problem(error)]
    except RecursionError:
        return [Problem(1, "the template is nested too deeply", "make it simpler")]
    except ValueError:  # a number of some thousand digits
        return [Problem(1, "the template has a number that is too large", "write a smaller one")]
    found = list(_structure_problems(tree))
    if known is not None and not any(problem.problem.endswith(_TOO_DEEP) for problem in found):
        found += _name_problems(tree, known)
    return sorted(dict.fromkeys(found), key=lambda problem: problem.line)


_TOO_DEEP = "nested too deeply"


def _structure_problems(tree: nodes.Template) -> Iterator[Problem]:
    waiting: list[tuple[nodes.Node, nodes.Node, int, int]] = [(tree, tree, 0, 0)]
    for node, parent, depth, blocks in waiting:  # grows while it is gone through
        node.lineno = node.lineno or parent.lineno
        inside = blocks + isinstance(node, nodes.If | nodes.For)
        if depth > _MAX_DEPTH or inside > _MAX_BLOCKS:
            yield Problem(node.lineno, f"the template is {_TOO_DEEP}", "make it simpler")
            continue
        if problem := _problem_at(node, parent):
            yield problem
        waiting += [(child, node, depth + 1, inside) for child in node.iter_child_nodes()]


def _problem_at(node: nodes.Node, parent: nodes.Node) -> Problem | None:
    match node:
        case nodes.Filter() if node.name in _ESCAPING:
            hint = "leave it out: values are escaped for each sink, and nothing else is"
            return Problem(node.lineno, f"'{node.name}' is not for templates here", hint)
        case nodes.Filter() if node.name not in FILTERS:
            hint = _near(node.name, FILTERS) or f"there are: {', '.join(sorted(FILTERS))}"
            return Problem(node.lineno, f"unknown filter '{node.name}'", hint)
        case nodes.Test() if node.name not in ("defined", "undefined", "none"):
            return Problem(node.lineno, f"unknown test 'is {node.name}'", "write == to compare, or 'is defined'")
        case nodes.Tuple() if node.ctx == "store":
            return None
        case nodes.List() if not _is_list_in_place(node, parent):
            hint = "use it as [a, b] | join(', '), as 'x in [a, b]', or in {% for %}"
            return Problem(node.lineno, "a list cannot stand here", hint)
        case nodes.For() if node.recursive or node.test is not None:
            return Problem(node.lineno, "{% for %} with 'if' or 'recursive' is not for templates here", "use {% if %}")
    if isinstance(node, _ALLOWED):
        return None
    problem, hint = _REFUSED.get(type(node), ("this is not for templates here", "see docs/templates.md"))
    return Problem(node.lineno, problem, hint)


def _is_list_in_place(node: nodes.List, parent: nodes.Node) -> bool:
    """Whether nothing can come of the list that is larger than it: lists of lists can double with each line."""
    match parent:
        case nodes.Filter():
            return parent.node is node and parent.name == "join"
        case nodes.Operand():
            return parent.op in ("in", "notin")
        case nodes.For():
            return parent.iter is node
    return False


def _name_problems(tree: nodes.Template, known: Collection[str]) -> list[Problem]:
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    read = [name for name in tree.find_all(nodes.Name) if name.ctx == "load" and id(name) not in called]
    unknown = {name.name for name in read}.difference(known)
    if not unknown:
        return []
    for node in tree.find_all((nodes.Filter, nodes.Test)):  # unknown ones would hide unknown names
        node.name = "default" if isinstance(node, nodes.Filter) else "defined"
    try:
        unknown &= find_undeclared_variables(tree) | {"self"}
    except TemplateError:  # told already
        return []
    lines: dict[str, int] = {}
    for name in read:
        lines[name.name] = min(name.lineno, lines.get(name.name, name.lineno))
    else_ = "write a field by CallRail's name, like customer_name, or one of our own: docs/templates.md"
    return [Problem(lines[name], f"unknown name '{name}'", _near(name, known) or else_) for name in sorted(unknown)]


class PartRead(NamedTuple):
    """That a template reads `NAME.part.below`, in which line; what is not written is None."""

    line: int
    part: str | None
    below: str | None = None


def parts_read(source: str, name: str) -> list[PartRead]:
    """What a template reads of the value *name*; empty for one that cannot be read."""
    try:
        tree = _environment(plain).parse(source)
    except (TemplateError, RecursionError, ValueError):
        return []
    parents = {id(child): node for node in _all_nodes(tree) for child in node.iter_child_nodes()}
    found = []
    for node in tree.find_all(nodes.Name):
        if node.name == name and node.ctx == "load":
            first = parents[id(node)]
            part = _step(first, node)
            below = _step(parents[id(first)], first) if part is not None else None
            found.append(PartRead(node.lineno, part, below))
    return found


def _all_nodes(tree: nodes.Template) -> Iterator[nodes.Node]:
    yield tree
    yield from tree.find_all(nodes.Node)


def _step(node: nodes.Node, of: nodes.Node) -> str | None:
    """Which part of *of* the *node* reads; None if it reads no part, or one that is only known later."""
    if isinstance(node, nodes.Getattr) and node.node is of:
        return node.attr
    if isinstance(node, nodes.Getitem) and node.node is of and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return None


def _near(written: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(written, list(known), n=1, cutoff=0.7)
    return f"did you mean '{near[0]}'?" if near else ""


def _syntax_problem(error: TemplateSyntaxError) -> Problem:
    """The parser's complaint in words for people."""
    message = (error.message or "").strip()
    if match := re.match(r"Encountered unknown tag '(\w+)'", message):
        expected = re.search(r"block that needs to be closed is '(\w+)'", message)
        is_end = match[1].startswith("end")
        near = f"write {{% end{expected[1]} %}}" if expected and is_end else _near(match[1], _TAGS)
        return Problem(error.lineno, f"unknown tag '{{% {match[1]} %}}'", near or f"there are: {', '.join(_TAGS)}")
    if match := re.search(r"block that needs to be closed is '(\w+)'", message):
        return Problem(error.lineno, f"{{% {match[1]} %}} is not closed", f"write {{% end{match[1]} %}} after it")
    if message.startswith("Unexpected end of template"):
        return Problem(error.lineno, "the template ends too early", "close what is open")
    hint = "{{ }} holds one value and filters after |; text stands outside of it" if "expected token" in message else ""
    return Problem(error.lineno, f"this cannot be read: {message.rstrip('.')}", hint or "see docs/templates.md")


# --- compiling and writing -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template ready to be rendered for one escape.

    Attributes:
        names: Those it looks at.
        is_name: Whether it is a name and nothing else, as most settings of sinks are.
    """

    names: tuple[str, ...]
    template: Template
    escape: Escape
    is_name: bool = False

    def write(self, values: Mapping[str, Any], always: Mapping[str, Any]) -> tuple[str, bool]:
        """The rendered text, and whether it was stopped at the cap.

        Args:
            values: What the template may look at; of these only what it names is looked at, and cut.
            always: What filters look at.
        Raises:
            TemplateFailed: An expression cannot be computed with these values.
        """
        if self.is_name:  # what Jinja would do of it, at a fifth of the cost
            text = self.escape(as_text(bounded(values.get(self.names[0]))))
            return (text, False) if len(text) <= MAX_OUTPUT else (without_half_an_entity(text[:MAX_OUTPUT]), True)
        seen = {name: bounded(values.get(name)) for name in self.names}
        seen.update(always)
        context = self.template.new_context(seen, shared=True)
        pieces: list[str] = []
        room = MAX_OUTPUT
        _work.set([MAX_WORK])
        try:
            for piece in self.template.root_render_func(context):
                pieces.append(piece[:room])
                room -= len(piece)
                if room < 0 or len(pieces) > MAX_PIECES:
                    return without_half_an_entity("".join(pieces)), True
        except Exception as error:
            raise TemplateFailed(_said(error), line=self._line(error.__traceback__)) from error
        return "".join(pieces), False

    def _line(self, traceback: TracebackType | None) -> int:
        line = 0
        while traceback is not None:
            if traceback.tb_frame.f_code is self.template.root_render_func.__code__:
                line = self.template.get_corresponding_lineno(traceback.tb_lineno)
            traceback = traceback.tb_next
        return line


def without_half_an_entity(cut: str) -> str:
    """A text that was cut after it was escaped, without what may be left of `&amp;` at its end."""
    return re.sub(r"&#?\w{0,6}$", "", cut)


def compile_template(source: str, escape: Escape) -> Compiled:
    """The template *source*, ready. A name nobody knows is nothing, for CallRail may tell it one day.

    Raises:
        TemplateFailed: It has a problem that `problems_of` tells.
    """
    problems = problems_of(source, None)
    if problems:
        raise TemplateFailed(problems[0].problem, line=problems[0].line)
    try:
        return _compiled(_environment(escape), source)
    except (TemplateError, SyntaxError) as error:  # what Jinja and Python see when they compile, like an option twice
        line = error.lineno if isinstance(error, TemplateSyntaxError) else 0  # Python counts its own lines
        raise TemplateFailed("something in it cannot be read", line=line) from error


def _compiled(environment: _Environment, source: str) -> Compiled:
    tree = environment.parse(source)
    names = tuple(sorted(find_undeclared_variables(tree)))
    is_name = len(names) == 1 and len(tree.body) == 1 and _is_name(tree.body[0])
    for loop in tree.find_all(nodes.For):  # so that each pass is a piece, and counts
        loop.body.insert(0, nodes.Output([nodes.TemplateData("")], lineno=loop.lineno))
    _replace(tree, nodes.Concat, _joined)
    return Compiled(names, environment.from_string(tree), environment.escape, is_name)


def _is_name(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and len(node.nodes) == 1 and isinstance(node.nodes[0], nodes.Name)


def _replace(node: nodes.Node, old: type[nodes.Node], new: Callable[[Any], nodes.Node]) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [new(part) if isinstance(part, old) else part for part in value])
        elif isinstance(value, old):
            setattr(node, name, new(value))
    for child in node.iter_child_nodes():
        _replace(child, old, new)


def _joined(node: nodes.Concat) -> nodes.Filter:
    """`a ~ b` as a join, which stops at a length: twenty lines of `a ~ a` would else make a million times the text."""
    parts = nodes.List(node.nodes, lineno=node.lineno)
    return nodes.Filter(parts, "join", [nodes.Const("")], [], None, None, lineno=node.lineno)


def _said(error: Exception) -> str:
    """What went wrong, in words, and without the values: it is logged, and they may be personal."""
    message = str(error)
    if isinstance(error, ZeroDivisionError):
        return "a number is divided by 0"
    if isinstance(error, TypeError):
        name = re.match(r"(\w+)\(\) (?:takes|got|missing) ", message)
        for filter_name, function in FILTERS.items():
            if name and function.__name__ == name[1]:
                return f"the filter '{filter_name}' does not take what stands in its brackets"
        if "not supported between" in message:
            return "a text and a number cannot be compared by size"
    return message[:300] if isinstance(error, ValueError | TypeError) and message else type(error).__name__
