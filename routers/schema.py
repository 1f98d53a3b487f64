"""The tables of the routers: what is known, what happened, whom to tell and how that went."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    true,
)

from receiver.columns import Id, Instant, Json
from receiver.schema import metadata, one_of, waiting_index

# The newest migration. `serve` asks the database for it instead of loading the migrations; a test compares the two.
SCHEMA_VERSION = "0010"


class TransitionState(StrEnum):
    """How far a transition is on its way to a verdict; `superseded` ones are recorded and tell nobody."""

    NEW = "new"
    WAITING = "waiting"
    ROUTED = "routed"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """Where a delivery stands: waiting for its time or for an earlier one, possibly on the wire, or finished.

    Only dispatchers of versions before 0004 lease a delivery before they send it.
    """

    PENDING = "pending"
    BLOCKED = "blocked"
    LEASED = "leased"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    UNCERTAIN = "uncertain"


class ReplayState(StrEnum):
    """How far a replay is: being planned (for good, if that was broken off), planned and waiting for its word, being
    carried out, halted, or over."""

    PLANNING = "planning"
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class ReplayItemState(StrEnum):
    """What became of one message of a replay: not yet looked at, put into the outbox, or left out for a reason."""

    WAITING = "waiting"
    QUEUED = "queued"
    SKIPPED = "skipped"


class MediaState(StrEnum):
    """What became of a file of CallRail's: still to be fetched, kept, not allowed here, or not to be had."""

    PENDING = "pending"
    STORED = "stored"
    REFUSED = "refused"
    GONE = "gone"


objects = Table(
    "objects",
    metadata,
    Column("id", Id, primary_key=True),
    Column("company", Id, nullable=False),
    Column("type", Id, nullable=False, comment="call, text, form, assist, unknown"),
    Column("object_id", Id, nullable=False, comment="CallRail's id"),
    Column("stage", Id, nullable=False),
    Column("outcome", Id),
    Column("outcome_event", Id, comment="events.id of the event that decided the outcome"),
    Column("outcome_kind", Id, comment="that event's kind: a better source may revise it"),
    Column("version", Integer, nullable=False, comment="how many events were applied"),
    Column("sources", Json, nullable=False, comment="per event: its kind and the fields it is the source of"),
    Column("newest", Json, nullable=False, comment="per kind: the newest event and its sha256"),
    Column("told", Json, nullable=False, comment="names of the transitions that happen once and did"),
    Column("matched", Boolean, nullable=False, server_default=false(), comment="a rule has spoken of it"),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("erased_at", Instant, comment="when it was emptied because its person asked for it"),
    UniqueConstraint("company", "type", "object_id"),
)

# Calls of which the end is not known.
OPEN_STAGES = ("ringing", "routed")
waiting_index(
    "ix_objects_open",
    objects.c.created_at,
    where=and_(objects.c.type == "call", objects.c.stage.in_(OPEN_STAGES)),
)

versions = Table(
    "versions",
    metadata,
    Column("object_id", Id, ForeignKey("objects.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("event_id", Id, nullable=False, comment="events.id of the event that made it"),
    Column("stage", Id, nullable=False),
    Column("outcome", Id),
    Column("fields", Json, nullable=False, comment="merged"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("object_id", Id, ForeignKey("objects.id"), nullable=False),
    Column("company", Id, nullable=False),
    Column("name", Id, nullable=False, comment="like call.missed"),
    Column("n", Integer, nullable=False, comment="0 for what happens once an object"),
    Column("event_id", Id, nullable=False, comment="events.id of the event that brought it about"),
    Column("occurred_at", Instant, nullable=False, comment="the thing's own time"),
    Column("created_at", Instant, nullable=False),
    Column("state", Id, nullable=False),
    Column("version", Integer, nullable=False, server_default="0", comment="the object's version it belongs to"),
    Column("details", Json, comment="what the version does not tell: what changed, from what"),
    Column("rules_hash", Id, comment="which rules gave the verdicts"),
    Column("verdicts", Json, comment="per rule that looks at this transition: fired, or why not"),
    Column("reason", Text, comment="why nobody is told of it; null when somebody is"),
    Column("due_at", Instant, comment="when a waiting one is looked at next"),
    Column("order_key", Id, comment="of a waiting one: whom it is about"),
    UniqueConstraint("object_id", "name", "n"),
    one_of("state", TransitionState),
)
IS_WAITING = transitions.c.state == TransitionState.WAITING.value
waiting_index("ix_transitions_waiting", transitions.c.due_at, transitions.c.id, where=IS_WAITING)
waiting_index("ix_transitions_waiting_object", transitions.c.object_id, transitions.c.id, where=IS_WAITING)
waiting_index("ix_transitions_waiting_order", transitions.c.order_key, transitions.c.id, where=IS_WAITING)

lookups = Table(
    "lookups",
    metadata,
    Column("key", Id, primary_key=True, comment="a hash of what was asked, in which account"),
    Column("name", Id, nullable=False, comment="of the look-up"),
    Column("answer", Json, comment="its fields; null while it is asked, or if there is none"),
    Column("problem", Text, comment="why there is no answer"),
    Column("may_pass", Boolean, nullable=False, server_default=false(), comment="whether the problem may pass"),
    Column("fetched_at", Instant, comment="when it was answered"),
    Column("expires_at", Instant, nullable=False, comment="until when it holds, or whoever asks has time"),
)
Index("ix_lookups_expires_at", lookups.c.expires_at)

own_writes = Table(
    "own_writes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("company", Id, nullable=False),
    Column("type", Id, nullable=False),
    Column("object_id", Id, nullable=False, comment="CallRail's id"),
    Column("written", Json, nullable=False, comment="what we wrote, by the names that webhooks give it"),
    Column("written_at", Instant, nullable=False),
)
Index("ix_own_writes_object_id", own_writes.c.object_id)
Index("ix_own_writes_written_at", own_writes.c.written_at)

media = Table(
    "media",
    metadata,
    Column("id", Id, primary_key=True),
    Column("object_id", Id, ForeignKey("objects.id"), nullable=False),
    Column("company", Id, nullable=False),
    Column("kind", Id, nullable=False, comment="recording or attachment"),
    Column("source", Id, nullable=False, comment="its path at the API, below the account; no link, and no key"),
    Column("state", Id, nullable=False),
    Column("next_attempt_at", Instant, comment="when a pending one is tried, or whoever is at it has time"),
    Column("fence", Integer, nullable=False, server_default="0", comment="rises with each claim"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="real tries"),
    Column("reason", Text, comment="why it stands where it stands"),
    Column("path", Id, comment="where the file is"),
    Column("size", Integer, comment="in bytes"),
    Column("content_type", Id, comment="what the file holds, like audio/mpeg"),
    Column("sha256", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("keep_until", Instant, comment="of a stored one, by the setting of then"),
    UniqueConstraint("object_id", "source"),
    one_of("state", MediaState),
)
IS_PENDING_MEDIA = media.c.state == MediaState.PENDING.value
waiting_index("ix_media_keep_until", media.c.keep_until, where=media.c.keep_until.is_not(None))
Index("ix_media_company", media.c.company, media.c.id)
waiting_index("ix_media_pending", media.c.next_attempt_at, media.c.id, where=IS_PENDING_MEDIA)
waiting_index(
    "ix_media_failed",
    media.c.id,
    media.c.state,
    where=media.c.state.in_([MediaState.REFUSED.value, MediaState.GONE.value]),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Id, nullable=False, unique=True, comment="the idempotency key"),
    Column("transition_id", Id, ForeignKey("transitions.id"), nullable=False),
    Column("object_id", Id, nullable=False),
    Column("company", Id, nullable=False),
    Column("rule", Id, nullable=False),
    Column("send", Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("sink", Id, nullable=False),
    Column("template", Id, comment="null for the transition's own"),
    Column("order_key", Id, comment="whom it is about: those of one key and sink are sent one after another"),
    Column("amends", Id, comment="deliveries.id of the first message of the same thing"),
    Column("amend", Id, comment="how later news amends the first message: edit, thread, new"),
    Column("state", Id, nullable=False),
    Column("expires_at", Instant, comment="after it nobody wants to hear of it"),
    Column("due_at", Instant, nullable=False),
    Column("lease_until", Instant),
    Column("leased_by", Id, comment="the instance that holds it"),
    Column("fence", Integer, nullable=False, comment="rises with each claim and shuts out an earlier holder"),
    Column("attempts", Integer, nullable=False, comment="real tries"),
    Column("blocks", Boolean, nullable=False, server_default=true(), comment="holds back later ones of its order_key"),
    Column("blocks_until", Instant, comment="a retried one holds the others back no longer than this"),
    Column("may_repeat", Boolean, nullable=False, server_default=false(), comment="an earlier try may have arrived"),
    Column("done", Text, comment="what earlier tries achieved"),
    Column("remote_id", Text, comment="what the destination calls it"),
    Column("reason", Text, comment="why it stands where it stands"),
    Column("cause", Id, comment="the reason's sort, by which dead letters are grouped"),
    Column("replay", Id, comment="replays.id of the replay that made it or took it up again"),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    one_of("state", DeliveryState),
)
Index("ix_deliveries_transition_id", deliveries.c.transition_id)
waiting_index(
    "ix_deliveries_pending",
    deliveries.c.sink,
    deliveries.c.due_at,
    deliveries.c.id,
    where=deliveries.c.state == DeliveryState.PENDING.value,
)
waiting_index(
    "ix_deliveries_pending_company",
    deliveries.c.sink,
    deliveries.c.company,
    deliveries.c.due_at,
    deliveries.c.id,
    where=deliveries.c.state == DeliveryState.PENDING.value,
)
waiting_index(
    "ix_deliveries_leased",
    deliveries.c.lease_until,
    where=deliveries.c.state.in_([DeliveryState.LEASED.value, DeliveryState.SENDING.value]),
)
ACTIVE = (DeliveryState.PENDING, DeliveryState.LEASED, DeliveryState.SENDING)
OPEN = (*ACTIVE, DeliveryState.BLOCKED)
# Of one sink and order key one is active, or a few; any number may be blocked. So each has an index of its own.
waiting_index(
    "ix_deliveries_active",
    deliveries.c.sink,
    deliveries.c.order_key,
    where=and_(deliveries.c.state.in_([state.value for state in ACTIVE]), deliveries.c.order_key.is_not(None)),
)
waiting_index(
    "ix_deliveries_blocked",
    deliveries.c.sink,
    deliveries.c.order_key,
    deliveries.c.id,
    where=deliveries.c.state == DeliveryState.BLOCKED.value,
)
waiting_index(
    "ix_deliveries_blocking",
    deliveries.c.blocks_until,
    where=deliveries.c.blocks_until.is_not(None),
)
waiting_index("ix_deliveries_replay", deliveries.c.replay, deliveries.c.state, where=deliveries.c.replay.is_not(None))
waiting_index(
    "ix_deliveries_dead",
    deliveries.c.sink,
    deliveries.c.finished_at,
    where=deliveries.c.state.in_([DeliveryState.DEAD.value, DeliveryState.UNCERTAIN.value]),
)
# Of these there are some only while an account that a sink acts for takes nothing.
NO_ACCESS = "no access"
waiting_index(
    "ix_deliveries_no_access", deliveries.c.sink, deliveries.c.finished_at, where=deliveries.c.cause == NO_ACCESS
)
waiting_index("ix_deliveries_amends", deliveries.c.amends, where=deliveries.c.amends.is_not(None))

waiting_index(
    "ix_deliveries_expiring",
    deliveries.c.expires_at,
    where=and_(
        deliveries.c.state.in_([DeliveryState.PENDING.value, DeliveryState.BLOCKED.value]),
        deliveries.c.expires_at.is_not(None),
    ),
)

# What may be sent after all. What was delivered, or is told by another message, is never sent again. All of it is rare,
# and whoever asks for it need not look through all.
RETRYABLE = (DeliveryState.DEAD, DeliveryState.UNCERTAIN, DeliveryState.EXPIRED, DeliveryState.CANCELLED)
waiting_index(
    "ix_deliveries_retryable",
    deliveries.c.id,
    deliveries.c.sink,
    deliveries.c.state,
    where=deliveries.c.state.in_([state.value for state in RETRYABLE]),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("delivery_id", Id, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("outcome", Id, nullable=False),
    Column("reason", Text),
)
Index("ix_attempts_delivery_id", attempts.c.delivery_id)

time_zones = Table(
    "time_zones",
    metadata,
    Column("company", Id, primary_key=True),
    Column("time_zone", Text, nullable=False, comment="the newest that a call of the company told"),
)

lanes = Table(
    "lanes",
    metadata,
    Column("sink", Id, primary_key=True),
    Column("held", Boolean, nullable=False, server_default=false(), comment="an operator has paused it"),
    Column("paused_until", Instant),
    Column("reason", Text, comment="why it is paused"),
    Column("failures", Integer, nullable=False, comment="in a row"),
    Column("tokens", Float, comment="how many may be sent at once; null where it has no rate"),
    Column("tokens_at", Instant, comment="when that was so"),
)

timers = Table(
    "timers",
    metadata,
    Column("purpose", Id, primary_key=True),
    Column("subject", Id, primary_key=True, comment="what it is about; empty for a job of the whole installation"),
    Column("due_at", Instant, nullable=False),
    Column("lease_until", Instant, comment="whoever does it has until then"),
)
Index("ix_timers_due_at", timers.c.due_at)

budgets = Table(
    "budgets",
    metadata,
    Column("account_id", Id, primary_key=True, comment="at CallRail, as it was given"),
    Column("kind", Id, primary_key=True, comment="requests, texts or outbound calls"),
    Column("hourly", Integer, nullable=False, comment="allowed in an hour"),
    Column("daily", Integer, nullable=False, comment="allowed in a day"),
    Column("paused_until", Instant, comment="CallRail refused and did not say until when; nothing is taken before"),
)

budget_uses = Table(
    "budget_uses",
    metadata,
    Column("account_id", Id, primary_key=True),
    Column("kind", Id, primary_key=True),
    Column("minute", Instant, primary_key=True, comment="in which they were taken"),
    Column("taken", Integer, nullable=False, comment="requests, those taken ahead among them"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("name", Id, primary_key=True, comment="of the trouble, like router.sink_down"),
    Column("type", Id, primary_key=True, comment="what the subject is: sink, routing, host, source"),
    Column("subject", Id, primary_key=True, comment="the sink, the host, the company, or routing"),
    Column("n", Integer, nullable=False, server_default="0", comment="how often it was raised"),
    Column("raised_at", Instant, comment="when it was raised last"),
    Column("since", Instant, comment="since when there is the trouble that was raised; null when there is none"),
    Column("found_at", Instant, comment="when this trouble was first seen, raised or not"),
    Column("fine_at", Instant, comment="since when nothing more is seen of it; null while it goes on"),
    Column("seen", Integer, nullable=False, server_default="0", comment="how many were counted, where a count is told"),
)

leads = Table(
    "leads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("company", Id, nullable=False),
    Column("first_object", Id, nullable=False, comment="objects.id of the first thing of this person"),
    Column("merged_into", Id, comment="leads.id of whom it proved to be, which may have been merged in turn"),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False, comment="when somebody was told of this person last"),
)
waiting_index("ix_leads_used_at", leads.c.used_at, where=leads.c.merged_into.is_(None))
waiting_index("ix_leads_merged_into", leads.c.merged_into, where=leads.c.merged_into.is_not(None))

lead_keys = Table(
    "lead_keys",
    metadata,
    Column("company", Id, primary_key=True),
    Column("kind", Id, primary_key=True, comment="person, phone, email or thread"),
    Column("value", Id, primary_key=True),
    Column("lead_id", Id, nullable=False, comment="leads.id of whom it was first told; a merge leaves it as it is"),
)
Index("ix_lead_keys_lead_id", lead_keys.c.lead_id)

lead_merges = Table(
    "lead_merges",
    metadata,
    Column("id", Id, primary_key=True),
    Column("lead_id", Id, nullable=False, comment="leads.id of the merged one"),
    Column("into_id", Id, nullable=False, comment="leads.id of whom it proved to be"),
    Column("object_id", Id, nullable=False, comment="objects.id of what told keys of both"),
    Column("merged_at", Instant, nullable=False),
    Column("undone_at", Instant, comment="when an operator took it back; the two are never merged again"),
)
Index("ix_lead_merges_lead_id", lead_merges.c.lead_id)
Index("ix_lead_merges_into_id", lead_merges.c.into_id)

turns = Table(
    "turns",
    metadata,
    Column("sink", Id, primary_key=True),
    Column("subject", Id, primary_key=True, comment="leads.id, or objects.id where nobody is known"),
    Column("token", Id, nullable=False, comment="of the one turn, and shuts out an earlier holder"),
    Column("lease_until", Instant, nullable=False),
)

remote_ids = Table(
    "remote_ids",
    metadata,
    Column("sink", Id, primary_key=True),
    Column("subject", Id, primary_key=True, comment="leads.id or objects.id"),
    Column("kind", Id, primary_key=True, comment="a word of the destination's, like contact"),
    Column("remote_id", Text, comment="what the destination calls it; null while nobody knows whether it is there"),
    Column("written", Text, comment="what was noted of the text written last, as a digest"),
    Column("intended_at", Instant, comment="since when there is a creation of which nobody knows the end"),
)
Index("ix_remote_ids_subject", remote_ids.c.subject)

replays = Table(
    "replays",
    metadata,
    Column("id", Id, primary_key=True),
    Column("state", Id, nullable=False),
    Column("selection", Json, nullable=False, comment="what was asked for"),
    Column("options", Json, nullable=False, comment="routing, again, to_people, rate"),
    Column("summary", Json, nullable=False, comment="what the plan found"),
    Column("next_item", Integer, nullable=False, server_default="0", comment="replay_items.n of the next"),
    Column("due_at", Instant, comment="when its rate lets the next go"),
    Column("reason", Text, comment="why it stands where it stands"),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    one_of("state", ReplayState),
)
waiting_index("ix_replays_running", replays.c.id, where=replays.c.state == ReplayState.RUNNING.value)

replay_items = Table(
    "replay_items",
    metadata,
    Column("replay_id", Id, ForeignKey("replays.id"), primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("transition_id", Id, nullable=False),
    Column("delivery_id", Id, comment="the one to take up again; null for one to be made"),
    Column("new", Json, comment="the delivery to be made: key, rule, send, template, generation, ..."),
    Column("sink", Id, nullable=False),
    Column("state", Id, nullable=False),
    Column("reason", Text, comment="why it is left out"),
    one_of("state", ReplayItemState),
)

erased = Table(
    "erased",
    metadata,
    Column("hash", LargeBinary, primary_key=True, comment="keyed, of the phone number"),
    Column("erased_at", Instant, nullable=False),
)

retention = Table(
    "retention",
    metadata,
    Column("kind", Id, primary_key=True, comment="what is removed: bodies, transcripts, numbers"),
    Column("done_to", Id, nullable=False, comment="events.id up to which it is removed"),
    Column("begun_at", Instant, nullable=False, comment="when it began at the oldest"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False, comment="who, as the system knows them"),
    Column("action", Id, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Json),
)
