"""The pages of docs/reference/, written from the program itself: `python -m routers.reference` writes them anew.

Each page is a pure function that returns Markdown. What can be computed is: the tables of outcomes and of the three
values are the answers of the very functions that route events.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from callrail.fields import FIELDS, FieldType
from receiver.companies import DEFAULTS
from routers.cli import cli
from routers.durations import written_duration
from routers.hours import CLOSED
from routers.lifecycle import ABANDONED_BELOW, outcome_of
from routers.rule_schema import Schema, router_schema
from routers.rules.conditions import compile_conditions
from routers.rules.fields import RuleField, fields_at, told_at
from routers.rules.operators import OPERATORS
from routers.rules.reasons import Reason, sentence_of
from routers.sinks import SINK_TYPES
from routers.sinks.config import SCHEDULES, Audience, SinkConfig
from routers.transitions import Transition
from routers.urls import CALLRAIL_FIELD, FEEDS

FOLDER = Path("docs", "reference")
COMMAND = "make reference"


def pages() -> dict[str, str]:
    """Every page by the name of its file."""
    written: dict[str, Callable[[], str]] = {
        "README.md": contents_page,
        "transitions.md": transitions_page,
        "fields.md": fields_page,
        "operators.md": operators_page,
        "settings.md": settings_page,
        "reasons.md": reasons_page,
        "cli.md": cli_page,
    }
    return {name: page() for name, page in written.items()}


def contents_page() -> str:
    return _page(
        "Reference",
        "What stands in the program, page by page. To learn the language of the rules, read [rules](../rules.md).",
        "* [Transitions](transitions.md): what can happen, which webhooks tell it, and how an outcome is decided.\n"
        "* [Fields](fields.md): what a rule can ask.\n"
        "* [Operators](operators.md): how it can ask.\n"
        "* [Settings](settings.md): every key of `router.yaml`.\n"
        "* [Reasons](reasons.md): why somebody was told, or was not.\n"
        "* [Commands](cli.md): every command with its options, and the exit codes.",
    )


# --- transitions -----------------------------------------------------------------------------------------------------

_T = Transition

HAPPENS: Mapping[Transition, str] = {
    _T.CALL_RINGING: "A call comes in and begins to ring.",
    _T.CALL_ROUTED: "CallRail has decided where to put the call through.",
    _T.CALL_ENDED: "A call has ended, whatever came of it.",
    _T.CALL_ANSWERED: "A call has ended, and somebody had taken it.",
    _T.CALL_MISSED: "A call has ended, and nobody took it.",
    _T.CALL_ABANDONED: "A caller hung up before anybody could take the call.",
    _T.CALL_VOICEMAIL: "A call has ended, and the caller left a message.",
    _T.CALL_RECORDING_READY: "The recording of a call is known for the first time.",
    _T.CALL_TRANSCRIPT_READY: "What was said in a call is known as text for the first time.",
    _T.CALL_CHANGED: "Somebody or something changed a call that had ended: tags, note, value, ...",
    _T.CALL_SPAM: "A call is marked as spam.",
    _T.CALL_CORRECTED: "The outcome told of a call proves wrong. The new outcome's own transition happens too.",
    _T.OUTBOUND_ANSWERED: "A call that the company made was answered.",
    _T.OUTBOUND_UNANSWERED: "A call that the company made was not answered.",
    _T.OUTBOUND_CHANGED: "Something about a call that the company made was changed.",
    _T.TEXT_RECEIVED: "A text message comes in.",
    _T.TEXT_SENT: "The company sent a text message.",
    _T.FORM_SUBMITTED: "Somebody sent a form of the website.",
    _T.ASSIST_COMPLETED: "Convert Assist has finished its advice on a call or text.",
    _T.ASSIST_ANSWERED: "Voice Assist has taken a call.",
    _T.UNKNOWN_RECEIVED: "A webhook comes in that is not understood. It is kept, and its fields can be asked.",
}
_EACH_VERSION = frozenset({_T.CALL_CHANGED, _T.OUTBOUND_CHANGED, _T.CALL_CORRECTED})
_OBJECTS = {"call": "call", "outbound": "call", "text": "text", "form": "form"}

# Ended calls as they are told; the outcome beside them is computed.
_ENDED_CALLS = (
    "voicemail: true, answered: true",
    "call_type: voicemail",
    "answered: true",
    "call_type: abandoned, answered: false",
    "call_type: missed, answered: false",
    f"answered: false, duration: {ABANDONED_BELOW - 1}",
    f"answered: false, duration: {ABANDONED_BELOW}",
    "answered: false",
    "tags: [Quote]",
)


def transitions_page() -> str:
    rows = [
        (_code(name), HAPPENS[name], _kinds(FEEDS[name].needs) or "any", _kinds(FEEDS[name].better_with), _often(name))
        for name in Transition
    ]
    return _page(
        "Transitions",
        "What can happen to a call, a text or a form. This is what a rule names under `when`; there are no others.",
        _table(("Transition", "It happens when", "Needs the webhook", "Better with", "How often"), rows),
        "*Needs* and *better with* are the names of CallRail's page Integrations > Webhooks; `callrail-router urls "
        "COMPANY` prints what to paste there for your rules. A webhook that comes late brings no news of what is over: "
        "when a call is known to have ended, `call.ringing` and `call.routed` are recorded as superseded, and nobody "
        "is told.",
        "## How an outcome is decided",
        "CallRail posts every ringing call as unanswered and missed, so nothing that is said of the outcome before the "
        "call has ended counts. Once it has ended, the first line that fits decides:",
        _table(("Is told", "Outcome"), [(_code(told), _code(outcome_of(_flow(told)))) for told in _ENDED_CALLS]),
        f"An unanswered call of which CallRail does not say more is abandoned if it lasted less than {ABANDONED_BELOW} "
        "seconds, because nobody could have come to the phone by then, and missed otherwise. A call that the company "
        "made is `answered` or `unanswered`.",
        "A later webhook may tell it otherwise: then `call.corrected` happens, with the outcome before in "
        "`was_outcome`, and together with it the transition of the new outcome.",
    )


def _kinds(kinds: Iterable[Any]) -> str:
    return ", ".join(CALLRAIL_FIELD[kind] for kind in kinds)


def _often(name: Transition) -> str:
    if name in _EACH_VERSION:
        return "each time"
    sort = "call" if name is _T.ASSIST_ANSWERED else name.partition(".")[0]
    return f"once a {_OBJECTS.get(sort, 'webhook')}"


# --- fields ----------------------------------------------------------------------------------------------------------

_TYPES = {
    FieldType.TEXT: "text",
    FieldType.BOOLEAN: "true or false",
    FieldType.INTEGER: "number",
    FieldType.NUMBER: "number",
    FieldType.LIST: "list",
    FieldType.OBJECT: "block",
    FieldType.TIME: "time",
    FieldType.PHONE: "phone number",
}
_BELOW = "what stands below a block"
_MOST_VALUES = 12  # more are not listed one by one


def _named(prefix: str, *left_out: Transition) -> tuple[Transition, ...]:
    return tuple(name for name in Transition if name.startswith(prefix) and name not in left_out)


# Words for where a field can be told, the widest first; `unknown.received` may hold any field and is not said.
_WHERE: Mapping[str, tuple[Transition, ...]] = {
    "everywhere": tuple(name for name in Transition if name is not _T.UNKNOWN_RECEIVED),
    "calls": _named("call."),
    "calls put through": _named("call.", _T.CALL_RINGING),
    "ended calls": _named("call.", _T.CALL_RINGING, _T.CALL_ROUTED),
    "outbound": _named("outbound."),
    "texts": _named("text."),
    "forms": _named("form."),
    "assists": _named("assist."),
}


def fields_page() -> str:
    asked = fields_at(())
    ours = [field for name, field in asked.items() if name not in FIELDS or name == "changes"]
    told = [field for name, field in asked.items() if name in FIELDS and name != "changes"]
    header = ("Field", "Type", "Where", "Meaning")
    where = [(words, ", ".join(map(_code, names))) for words, names in _WHERE.items() if words != "everywhere"]
    return _page(
        "Fields",
        "What a rule can ask under `if` and `unless`. A field that can never be told where a rule listens is an error "
        "of `rules check`; a field that was not told in this case satisfies nothing (see [rules](../rules.md)).",
        "## Where a field is told",
        _table(("Said below", "Transitions"), where),
        "Other names stand for themselves. `unknown.received` can hold every field.",
        "## Our own",
        _table(header, [_field_row(field) for field in ours]),
        "## CallRail's",
        "A *fact* is filled once it is known, and nothing blanks it. An *opinion* is what people and models think now: "
        "the newest full telling replaces it, also by nothing. Before a call has ended, `answered`, `call_type`, "
        "`duration` and `voicemail` are not told, whatever CallRail posts. Below a block ask by dots: "
        "`form_data.zip`, `milestones.first_touch.source`.",
        _table(
            (*header[:2], "Class", *header[2:]),
            [(*_field_row(field)[:2], FIELDS[field.name].cls.value, *_field_row(field)[2:]) for field in told],
        ),
    )


def _field_row(field: RuleField) -> tuple[str, str, str, str]:
    values = f": {', '.join(map(_code, field.values))}" if 0 < len(field.values) <= _MOST_VALUES else ""
    return _code(field.name), _TYPES[field.type], where_told(field.name), field.meaning + values


def where_told(name: str) -> str:
    """Where the field *name* can be told, in the words of the page's first table."""
    left = {transition for transition in told_at(name) if transition is not _T.UNKNOWN_RECEIVED}
    words = []
    for word, transitions in _WHERE.items():
        if left.issuperset(transitions):
            words.append(word)
            left.difference_update(transitions)
    return ", ".join([*words, *(_code(transition) for transition in Transition if transition in left)])


# --- operators -------------------------------------------------------------------------------------------------------

EXAMPLES: Mapping[str, str] = {
    "not": "source: {not: [Yelp, Test]}",
    "prefix": "utm_campaign: {prefix: emergency}",
    "suffix": "agent_email: {suffix: '@acme.example'}",
    "contains": "note: {contains: [urgent, leak]}",
    "matches": "landing_page_url: {matches: '/(repair|emergency)/'}",
    "gt": "duration: {gt: 60}",
    "gte": "value: {gte: 500}",
    "lt": "duration: {lt: 20}",
    "lte": "prior_calls: {lte: 2}",
    "between": "duration: {between: [10, 60]}",
    "exists": "note: {exists: true}",
    "changed": "lead_status: {changed: true}",
    "added": "tags: {added: Emergency}",
    "removed": "tags: {removed: [Quote, Emergency]}",
    "phone_in": "customer_phone_number: {phone_in: ['(770) 555-0123', '+442079460000']}",
    "within": "start_time: {within: 15m}",
}
_NOTES = ("urgent", "thank you", None)  # what a note may be told as; None is told empty
_NOTE_CONDITIONS = (
    "note: urgent",
    "note: {not: urgent}",
    "not: {note: urgent}",
    "note: {exists: true}",
    "note: {exists: false}",
)
_BOTH = ("all: [{spam: true}, {first_call: true}]", "any: [{spam: true}, {first_call: true}]", "not: {spam: true}")
_TRUTHS: tuple[dict[str, bool], ...] = ({"": True}, {"": False}, {})


def operators_page() -> str:
    rows = [
        (_code(name), operator.meaning, _types(operator.types), _code(EXAMPLES[name]))
        for name, operator in OPERATORS.items()
    ]
    return _page(
        "Operators",
        "A condition is `field: value`, `field: [one, of, these]`, or `field: {operator: ...}`. Several operators of "
        "one field must all hold. Where an operator takes a value, a list of values means one of them.",
        _table(("Operator", "It asks for", "Asked of", "Example"), rows),
        "Text compares without regard to capitals; a field with a closed set of values compares exactly; a question to "
        "a list is one to its items, and one that passes is enough. Phone numbers are equal however they are written. "
        "Patterns are [RE2](https://github.com/google/re2/wiki/Syntax).",
        "## Joining conditions",
        _table(
            ("Written", "It holds if"),
            [
                (_code("all: [{...}, {...}]"), "each block holds"),
                (_code("any: [{...}, {...}]"), "one block holds"),
                (_code("not: {...}"), "the block does not hold"),
            ],
        ),
        "All lines of a block must hold. They stand one in another as needed.",
        "## Three values",
        "A field is told with a value, told *empty*, or *not told yet*. What is asked of a field not told yet is "
        "neither true nor false but unknown, and that stays so under `not`. A rule fires only if its `if` is true; it "
        "is silenced only if its `unless` is true.",
        _table(
            ("Condition", "`urgent`", "`thank you`", "empty", "not told yet"),
            [(_code(written), *map(_truth, _of_a_note(written))) for written in _NOTE_CONDITIONS],
        ),
        "Joined, with `spam` and `first_call` each true, false or not told:",
        _table(("`spam: true`", "`first_call: true`", "`all`", "`any`", "`not` the first"), list(_of_both())),
    )


def _types(types: Iterable[FieldType | None]) -> str:
    named = {_BELOW if type_ is None else _TYPES[type_] for type_ in types}
    if named >= set(_TYPES.values()):
        return "any"
    return ", ".join(word for word in (*dict.fromkeys(_TYPES.values()), _BELOW) if word in named)


def _of_a_note(written: str) -> list[bool | None]:
    told: list[dict[str, Any]] = [{"note": note} for note in _NOTES]
    return [_answer(written, facts) for facts in [*told, {}]]


def _of_both() -> Iterator[tuple[str, ...]]:
    for spam in _TRUTHS:
        for first in _TRUTHS:
            facts = {"spam": spam[""]} if spam else {}
            facts |= {"first_call": first[""]} if first else {}
            answers = [_answer(written, facts) for written in _BOTH]
            yield tuple(_truth(answer) for answer in (spam.get(""), first.get(""), *answers))


def _answer(written: str, facts: Mapping[str, Any]) -> bool | None:
    """What the condition *written* says to *facts*: None if that is not known."""
    (condition,) = compile_conditions(_flow(written), [Transition.CALL_ANSWERED], _never)
    return condition.explain(facts).holds


def _never(at: object, problem: str, hint: str, **_more: object) -> None:
    raise ValueError(f"{at}: {problem}; {hint}")


def _truth(answer: bool | None) -> str:
    return "unknown" if answer is None else "true" if answer else "false"


# --- settings --------------------------------------------------------------------------------------------------------

_HOURS_ROWS = (
    ("`mon` ... `sun`, or a span like `mon-fri`", "time span, or list of them", "closed", "When it is open that day."),
    (f"`{CLOSED}`", "list of days", "none", "Days on which it is closed all the same, like 2026-12-25."),
)


def settings_page() -> str:
    schema = router_schema()
    defs = schema["$defs"]
    own = [
        part
        for name, model in SINK_TYPES.items()
        for part in (
            f"### `type: {name}`",
            inspect.cleandoc(model.__doc__ or ""),
            _settings(_of_type(defs[model.__name__]), defs),
        )
    ]
    return _page(
        "Settings",
        "Every key of `router.yaml`. How the parts go together is told in [configuration](../configuration.md). "
        "A *duration* is a number and its unit, like `500ms`, `30s`, `5m`, `2h`, `7d`; a *reference* to a secret is "
        "`env:NAME` or `file:/path`. Names are of 1 to 64 small letters, digits, `-` and `_`.",
        "## The file",
        _settings(schema, defs),
        "## companies",
        "By name; the name is part of the URL that CallRail posts to. Any key that is not listed is a *role*: behind "
        "it stands the sink that plays it for this company.",
        _settings(defs["CompanyConfig"], defs),
        "### A key in `signing_keys`",
        "The reference alone, or a block:",
        _settings(defs["SigningKeyConfig"], defs),
        f"### `companies.{DEFAULTS}`",
        "What holds for each company that does not say otherwise; roles too.",
        _settings(defs["DefaultsConfig"], defs),
        "## accounts",
        "By name.",
        _settings(defs["AccountConfig"], defs),
        "## hours",
        'Schedules by name. A day that is not named is closed. Times are written in quotes: `"08:00-18:00"`.',
        _table(_SETTINGS_HEADER, _HOURS_ROWS),
        "## sinks",
        "By name. Each has a `type`, and whatever its type:",
        _settings({"properties": _common(defs)}, defs),
        "The waits between tries, where `retry` is not written: for people "
        f"{_waits(Audience.PEOPLE)}; for systems {_waits(Audience.SYSTEMS)}.",
        *own,
        "## rules",
        _settings(defs["RuleConfig"], defs),
        "### A destination in `send`",
        _settings(defs["SendConfig"], defs),
        "## unmatched",
        "Each is a sink or a role.",
        _settings(defs["UnmatchedConfig"], defs),
    )


_SETTINGS_HEADER = ("Key", "Type", "Default", "Meaning")


def _settings(schema: Schema, defs: Schema) -> str:
    required = schema.get("required", ())
    settings = sorted(schema["properties"].items(), key=lambda setting: setting[0] not in required)
    return _table(
        _SETTINGS_HEADER,
        [
            (_code(key), _type_of(wanted, defs), _default_of(wanted, key in required), wanted["description"])
            for key, wanted in settings
        ],
    )


def _common(defs: Schema) -> Schema:
    """The settings of every sink. The default of `audience` depends on the type."""
    settings = defs[next(iter(SINK_TYPES.values())).__name__]["properties"]
    common = {key: settings[key] for key in SinkConfig.model_fields}
    described = inspect.cleandoc(SinkConfig.model_fields["audience"].description or "")
    return {**common, "audience": {**common["audience"], "default": "by type", "description": described}}


def _of_type(schema: Schema) -> Schema:
    """The settings that a sink of one type has beside the common ones, or with a default of its own."""
    own = [key for key in schema["properties"] if key not in SinkConfig.model_fields or key == "audience"]
    return {**schema, "properties": {key: schema["properties"][key] for key in own}}


def _type_of(schema: Schema, defs: Schema) -> str:
    """The type that *schema* describes, in a word or a few."""
    if "$ref" in schema:
        return _type_of_name(schema["$ref"].rpartition("/")[2], defs)
    if "anyOf" in schema:
        words = dict.fromkeys(_type_of(item, defs) for item in schema["anyOf"] if item.get("type") != "null")
        return " or ".join(words)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return "a transition" if values == list(Transition) else " or ".join(_code(value) for value in values)
    match schema.get("type"):
        case "array":
            return f"list of: {_type_of(schema['items'], defs)}"
        case "object":
            return "block"
        case "boolean":
            return "`true` or `false`"
        case "integer":
            return f"number, {schema['minimum']} to {schema['maximum']}"
        case _:
            return _text_type(schema)


def _type_of_name(name: str, defs: Schema) -> str:
    """The type of a definition: of an enumeration its values, of a block what to call it."""
    if "enum" in defs[name]:
        return _type_of(defs[name], defs)
    if name == "Conditions":
        return "[conditions](operators.md)"
    return "`{except: [...]}`" if name == "ExceptCompanies" else "block"


def _text_type(schema: Schema) -> str:
    if schema.get("format") == "date":
        return "day"
    pattern = schema.get("pattern", "")
    if "env:" in pattern:
        return "reference"
    return "duration" if "(ms|s|m|h|d)" in pattern else "text"


def _default_of(schema: Schema, is_required: bool) -> str:
    if is_required:
        return "required"
    match schema.get("default"):
        case None | []:
            return "none"
        case bool(told):
            return _code(str(told).lower())
        case "by type":
            return "by type"
        case told:
            return _code(told)


def _waits(audience: Audience) -> str:
    return ", ".join(written_duration(wait) for wait in SCHEDULES[audience])


# --- reasons ---------------------------------------------------------------------------------------------------------

_ABOUT = {
    Reason.STOPPED: "swallow-spam",
    Reason.IF: "duration",
    Reason.UNLESS: "spam",
    Reason.NO_ROLE: "alerts",
}


def reasons_page() -> str:
    stored = [reason.about(_ABOUT[reason]) if reason in _ABOUT else reason.value for reason in Reason]
    return _page(
        "Reasons",
        "With each thing that happened the router keeps why somebody was told of it or was not: a reason for each rule "
        "that looked at it, and one for the whole if nobody was told. `events show` prints them. There are no others; "
        "behind `stopped by`, `if`, `unless` and `no role` stands what it is about.",
        _table(("Stored, for example", "What it says"), [(_code(text), sentence_of(text)) for text in stored]),
        "A condition that joins others (`all`, `any`, `not`) is named by that word.",
    )


# --- commands --------------------------------------------------------------------------------------------------------

_EXIT_CODES = (
    ("0", "done"),
    ("1", "something failed"),
    ("2", "wrong use: a mistake in the command line or in `router.yaml`"),
    ("3", "refused, to protect data"),
    ("130", "ended by Ctrl-C"),
)


def cli_page() -> str:
    sections = [section for path, command in _commands(cli, (), None) for section in _command(path, command)]
    return _page(
        "Commands",
        "An option on the command line goes before the environment variable, and that before the default. "
        "`-h` or `--help` explains each command.",
        *sections,
        "## Exit codes",
        _table(("Code", "Meaning"), _EXIT_CODES),
    )


def _commands(
    group: click.Group, path: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[click.Context, click.Command]]:
    """Every command that does something, below *group*, with the context its usage is told in."""
    context = click.Context(group, info_name="callrail-router" if parent is None else path[-1], parent=parent)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name), context)
        elif command is not None:
            yield click.Context(command, info_name=name, parent=context), command


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f"## {context.command_path.partition(' ')[2]}"
    yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```"
    yield inspect.cleandoc(command.help or "")
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        rows = [_option(option, context) for option in options]
        yield _table(("Option", "Environment", "Default", "Meaning"), rows)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str, str]:
    written, _help = option.get_help_record(context) or (", ".join(option.opts), "")
    default = _code(str(option.get_default(context))) if option.show_default else ""
    environment = _code(option.envvar) if isinstance(option.envvar, str) else ""
    return _code(written.replace(" RANGE", "")), environment, default, f"{option.help or ''}{_bounds(option)}"


def _bounds(option: click.Option) -> str:
    type_ = option.type
    if isinstance(type_, click.IntRange) and type_.min is not None and type_.max is not None:
        return f" From {type_.min:,} to {type_.max:,}."
    return ""


# --- Markdown --------------------------------------------------------------------------------------------------------


def _page(title: str, *parts: str) -> str:
    made = f"<!-- Written by `{COMMAND}`: change the program, not this page. -->"
    return "\n\n".join([f"# {title}", made, *parts]) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: object) -> str:
    return f"`{text}`"


def _flow(written: str) -> dict[str, Any]:
    """The block that *written* is in YAML, without the braces around it."""
    block: dict[str, Any] = yaml.safe_load(f"{{{written}}}")
    return block


def main(folder: Path = FOLDER) -> None:
    """Write all pages into *folder*, and take away what is none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for stale in folder.glob("*.md"):
        if stale.name not in written:
            stale.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
