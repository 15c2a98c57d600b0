//! The shapes that `cron.add` and `cron.update` take, once their input is in order.

use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};

const MAX_INT: i64 = 1 << 53;
const MS: Kind = Kind::Int(0, MAX_INT);
const TEXT_OR_NULL: Kind = Kind::OrNull(&Kind::NonEmpty);
const TARGET: Kind = Kind::OneOf(&["main", "isolated"]);
const WAKE: Kind = Kind::OneOf(&["next-heartbeat", "now"]);
const STATUS: Kind = Kind::OneOf(&["ok", "error", "skipped"]);
const DELIVERY_STATUS: Kind =
    Kind::OneOf(&["delivered", "not-delivered", "unknown", "not-requested"]);

const SCHEDULE: Kind = Kind::Tagged(
    "kind",
    &[
        (
            "at",
            Shape::strict(&[req("kind", Kind::Text), req("at", Kind::NonEmpty)]),
        ),
        (
            "every",
            Shape::strict(&[
                req("kind", Kind::Text),
                req("everyMs", Kind::Int(1, MAX_INT)),
                opt("anchorMs", MS),
            ]),
        ),
        (
            "cron",
            Shape::strict(&[
                req("kind", Kind::Text),
                req("expr", Kind::NonEmpty),
                opt("tz", Kind::Text),
                opt("staggerMs", MS),
            ]),
        ),
    ],
);

const fn turn(message: Field) -> [Field; 10] {
    [
        req("kind", Kind::Text),
        message,
        opt("model", Kind::Text),
        opt("thinking", Kind::Text),
        opt("timeoutSeconds", at_least(0)),
        opt("allowUnsafeExternalContent", Kind::Bool),
        opt("deliver", Kind::Bool),
        opt("channel", Kind::Text),
        opt("to", Kind::Text),
        opt("bestEffortDeliver", Kind::Bool),
    ]
}
const TURN: [Field; 10] = turn(req("message", Kind::NonEmpty));
const TURN_PATCH: [Field; 10] = turn(opt("message", Kind::NonEmpty));
const PAYLOAD: Kind = Kind::Tagged(
    "kind",
    &[
        (
            "systemEvent",
            Shape::strict(&[req("kind", Kind::Text), req("text", Kind::NonEmpty)]),
        ),
        ("agentTurn", Shape::strict(&TURN)),
    ],
);
const PAYLOAD_PATCH: Kind = Kind::Tagged(
    "kind",
    &[
        (
            "systemEvent",
            Shape::strict(&[req("kind", Kind::Text), opt("text", Kind::NonEmpty)]),
        ),
        ("agentTurn", Shape::strict(&TURN_PATCH)),
    ],
);

const fn delivery(mode: Field) -> [Field; 4] {
    [
        mode,
        opt("channel", Kind::NonEmpty),
        opt("bestEffort", Kind::Bool),
        opt("to", Kind::Text),
    ]
}
const MODE: Kind = Kind::OneOf(&["none", "announce", "webhook"]);
const DELIVERY_FIELDS: [Field; 4] = delivery(req("mode", MODE));
const DELIVERY_PATCH_FIELDS: [Field; 4] = delivery(opt("mode", MODE));
const DELIVERY: Kind = Kind::Object(&Shape::strict(&DELIVERY_FIELDS));
const DELIVERY_PATCH: Kind = Kind::Object(&Shape::strict(&DELIVERY_PATCH_FIELDS));

/// Ours: what happens to runs that were missed. The reference keeps the field and ignores it.
const MISSED: Kind = Kind::Either(&[
    Kind::OneOf(&["once", "skip"]),
    Kind::Object(&Shape::strict(&[req("withinMs", Kind::Int(1, MAX_INT))])),
]);

const STATE: Shape = Shape::strict(&[
    opt("nextRunAtMs", MS),
    opt("runningAtMs", MS),
    opt("lastRunAtMs", MS),
    opt("lastRunStatus", STATUS),
    opt("lastStatus", STATUS),
    opt("lastError", Kind::Text),
    opt("lastDurationMs", MS),
    opt("consecutiveErrors", MS),
    opt("lastDelivered", Kind::Bool),
    opt("lastDeliveryStatus", DELIVERY_STATUS),
    opt("lastDeliveryError", Kind::Text),
]);

/// The parameters of `cron.add`, once in order.
pub(super) const ADD: Shape = Shape::strict(&[
    req("name", Kind::NonEmpty),
    opt("agentId", TEXT_OR_NULL),
    opt("sessionKey", TEXT_OR_NULL),
    opt("description", Kind::Text),
    opt("enabled", Kind::Bool),
    opt("deleteAfterRun", Kind::Bool),
    req("schedule", SCHEDULE),
    req("sessionTarget", TARGET),
    req("wakeMode", WAKE),
    req("payload", PAYLOAD),
    opt("delivery", DELIVERY),
    opt("missed", Kind::OrNull(&MISSED)),
]);

/// The `patch` of `cron.update`, once in order.
pub(super) const PATCH: Shape = Shape::strict(&[
    opt("name", Kind::NonEmpty),
    opt("agentId", TEXT_OR_NULL),
    opt("sessionKey", TEXT_OR_NULL),
    opt("description", Kind::Text),
    opt("enabled", Kind::Bool),
    opt("deleteAfterRun", Kind::Bool),
    opt("schedule", SCHEDULE),
    opt("sessionTarget", TARGET),
    opt("wakeMode", WAKE),
    opt("payload", PAYLOAD_PATCH),
    opt("delivery", DELIVERY_PATCH),
    opt("missed", Kind::OrNull(&MISSED)),
    opt("state", Kind::Object(&STATE)),
]);
