//! Scheduled jobs.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::schedule::{Error, Forced};

const READ: Access = Access::Operator(Scope::Read);
const ADMIN: Access = Access::Operator(Scope::Admin);
const ID: Kind = Kind::NonEmpty;
const PAGE: Kind = Kind::Int(1, 200);
const DIRECTION: Kind = Kind::OneOf(&["asc", "desc"]);
const STATUS: &[&str] = &["ok", "error", "skipped"];
const DELIVERY: Kind = Kind::OneOf(&["delivered", "not-delivered", "unknown", "not-requested"]);
const PATCH: Kind = Kind::Object(&Shape::lenient(&[]));
const MODE: Kind = Kind::OneOf(&["due", "force"]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "cron.list",
        READ,
        Shape::strict(&[
            opt("includeDisabled", Kind::Bool),
            opt("limit", PAGE),
            opt("offset", at_least(0)),
            opt("query", Kind::Text),
            opt("enabled", Kind::OneOf(&["all", "enabled", "disabled"])),
            opt(
                "sortBy",
                Kind::OneOf(&["nextRunAtMs", "updatedAtMs", "name"]),
            ),
            opt("sortDir", DIRECTION),
        ]),
        list,
        "the jobs, by their next run; changes nothing",
    ),
    Method::new(
        "cron.status",
        READ,
        Shape::strict(&[]),
        status,
        "whether jobs run, how many there are, and the next run",
    ),
    // Put in order before it is checked: many forms of a job are taken.
    Method::new(
        "cron.add",
        ADMIN,
        Shape::lenient(&[]),
        add,
        "adds a job: name, schedule, payload, sessionTarget, wakeMode, delivery, missed",
    ),
    Method::new(
        "cron.update",
        ADMIN,
        UPDATE.loose(),
        update,
        "changes the fields of a job that patch names",
    ),
    Method::new(
        "cron.remove",
        ADMIN,
        REMOVE.loose(),
        remove,
        "removes a job; its run log stays",
    ),
    Method::new(
        "cron.run",
        ADMIN,
        RUN.loose(),
        run,
        "runs a job now, or only when it is due, and waits for its end",
    )
    .waits(),
    Method::new(
        "cron.runs",
        READ,
        Shape::strict(&[
            opt("scope", Kind::OneOf(&["job", "all"])),
            opt("id", ID),
            opt("jobId", ID),
            opt("limit", PAGE),
            opt("offset", at_least(0)),
            opt("statuses", Kind::ListOf(1, &Kind::OneOf(STATUS))),
            opt("status", Kind::OneOf(&["all", "ok", "error", "skipped"])),
            opt("deliveryStatuses", Kind::ListOf(1, &DELIVERY)),
            opt("deliveryStatus", DELIVERY),
            opt("query", Kind::Text),
            opt("sortDir", DIRECTION),
        ]),
        runs,
        "the ends of runs, newest first, of one job or of all",
    ),
];

/// Parameters that name a job by `id` or by `jobId`, never by both.
struct Named {
    by_id: Shape,
    by_job_id: Shape,
    either: Shape,
}

impl Named {
    /// What both have in common, for the table.
    const fn loose(&self) -> Shape {
        self.either
    }

    /// The id of the job.
    fn id<'a>(&self, call: &'a Call<'_>, method: &str) -> Result<&'a str, RpcError> {
        let (id, job_id) = (
            self.by_id.check(call.params),
            self.by_job_id.check(call.params),
        );
        match (id, job_id) {
            (Ok(()), _) => Ok(call.str("id").unwrap_or_default()),
            (_, Ok(())) => Ok(call.str("jobId").unwrap_or_default()),
            (Err(a), Err(b)) => Err(RpcError::invalid(format!(
                "invalid {method} params: {a}; {b}; must match a schema in anyOf"
            ))),
        }
    }
}

macro_rules! named {
    ($name:ident, $($more:expr),*) => {
        const $name: Named = {
            const BY_ID: &[Field] = &[req("id", ID), $($more),*];
            const BY_JOB_ID: &[Field] = &[req("jobId", ID), $($more),*];
            const EITHER: &[Field] = &[opt("id", ID), opt("jobId", ID)];
            Named { by_id: Shape::strict(BY_ID), by_job_id: Shape::strict(BY_JOB_ID), either: Shape::lenient(EITHER) }
        };
    };
}
named!(UPDATE, req("patch", PATCH));
named!(REMOVE,);
named!(RUN, opt("mode", MODE));

fn status(call: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(call.gateway.schedule.cron.status()))
}

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    answer(call.gateway.schedule.cron.list(call.params))
}

fn add(call: &Call<'_>) -> Result<Reply, RpcError> {
    answer(call.gateway.schedule.cron.add(call.params))
}

fn update(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = UPDATE.id(call, "cron.update")?;
    answer(call.gateway.schedule.cron.update(id, &call.params["patch"]))
}

fn remove(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = REMOVE.id(call, "cron.remove")?;
    answer(call.gateway.schedule.cron.remove(id))
}

fn run(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = RUN.id(call, "cron.run")?;
    let only_due = call.str("mode") == Some("due");
    let not = |reason: &str| json!({"ok": true, "ran": false, "reason": reason});
    answer(
        call.gateway
            .schedule
            .cron
            .run_now(id, only_due)
            .map(|forced| match forced {
                Forced::NotDue => not("not-due"),
                Forced::AlreadyRunning => not("already-running"),
                Forced::Started(ended) => {
                    // Nothing is ever sent: the other end is dropped when the run is over.
                    let _ = ended.recv();
                    json!({"ok": true, "ran": true})
                }
            }),
    )
}

fn runs(call: &Call<'_>) -> Result<Reply, RpcError> {
    for key in ["id", "jobId"] {
        if call.str(key).is_some_and(|id| id.contains(['/', '\\'])) {
            let text =
                format!(r#"invalid cron.runs params: at /{key}: must match pattern "^[^/\\]+$""#);
            return Err(RpcError::invalid(text));
        }
    }
    answer(call.gateway.schedule.cron.runs(call.params))
}

fn answer(result: Result<Value, Error>) -> Result<Reply, RpcError> {
    result.map(Reply::Value).map_err(|e| match e {
        Error::Params(text) => RpcError::invalid(text),
        other => RpcError::unavailable(other.to_string()),
    })
}
