//! `system.run` for a node: which parameters are sent on, and what an approval of them means.
//!
//! Control fields never pass: `approved` reaches the node only with an approval of exactly this command,
//! used up here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::approvals::{Approvals, Caller, Decision, Request, UseError};
use super::registry::RunTag;

/// Parameters that a node host knows and that carry no authority.
const PASSED: &[&str] = &[
    "command",
    "rawCommand",
    "cwd",
    "env",
    "timeoutMs",
    "needsScreenRecording",
    "agentId",
    "sessionKey",
    "runId",
];

/// Shells whose `-c TEXT` and `-lc TEXT` are shown as TEXT.
const SHELLS: &[&str] = &["sh", "bash", "zsh", "dash", "ash", "ksh"];

/// Why the parameters are refused.
#[derive(Debug, PartialEq, Eq)]
pub enum RunError {
    /// Not an object, or something in it has the wrong type.
    Malformed(&'static str),
    /// `rawCommand` is not what `command` does.
    RawMismatch {
        raw: String,
        inferred: String,
    },
    /// `approved` without the id of an approval.
    NoApprovalId,
    Approval {
        id: String,
        why: UseError,
    },
}

impl RunError {
    /// The `details` of the error on the wire.
    pub fn details(&self) -> Option<Value> {
        match self {
            RunError::Malformed(_) => None,
            RunError::RawMismatch { raw, inferred } => Some(json!({
                "code": "RAW_COMMAND_MISMATCH",
                "rawCommand": raw,
                "inferred": inferred,
            })),
            RunError::NoApprovalId => Some(json!({"code": "MISSING_RUN_ID"})),
            RunError::Approval { id, why } => Some(json!({"code": why.code(), "runId": id})),
        }
    }
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Malformed(why) => write!(f, "invalid system.run params: {why}"),
            RunError::RawMismatch { .. } => f.write_str("rawCommand does not match command"),
            RunError::NoApprovalId => f.write_str("approval override requires params.runId"),
            RunError::Approval { why, .. } => why.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// The parameters to send on for `params`, which `caller` wants to run on `node_id`.
///
/// Uses up the approval that `params` names when they claim to be approved.
pub fn params_for_node(
    params: &Value,
    node_id: &str,
    caller: &Caller,
    approvals: &Approvals,
) -> Result<Map<String, Value>, RunError> {
    let given = params
        .as_object()
        .ok_or(RunError::Malformed("must be object"))?;
    let what = described(given, node_id)?;
    let mut out: Map<String, Value> = given
        .iter()
        .filter(|(k, v)| PASSED.contains(&k.as_str()) && !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let claims = given.get("approved") == Some(&Value::Bool(true))
        || given
            .get("approvalDecision")
            .and_then(Value::as_str)
            .is_some_and(|d| d.starts_with("allow-"));
    if claims {
        let id = match given.get("runId").and_then(Value::as_str).map(str::trim) {
            Some(id) if !id.is_empty() => id,
            _ => return Err(RunError::NoApprovalId),
        };
        let decision = use_approval(approvals, id, what, caller)?;
        out.insert("approved".into(), json!(true));
        out.insert("approvalDecision".into(), json!(decision.as_str()));
        out.insert("runId".into(), json!(id));
    }
    Ok(out)
}

/// The run that the node may report on for these parameters.
pub fn tag(params: &Map<String, Value>) -> RunTag {
    let text = |key: &str| params.get(key).and_then(Value::as_str).map(str::to_string);
    RunTag {
        run_id: text("runId"),
        session_key: text("sessionKey"),
    }
}

fn use_approval(
    approvals: &Approvals,
    id: &str,
    what: Request,
    caller: &Caller,
) -> Result<Decision, RunError> {
    approvals
        .consume(id, &what, caller)
        .map_err(|why| RunError::Approval {
            id: id.to_string(),
            why,
        })
}

/// What the parameters would do, in the words in which an approval is asked for.
fn described(given: &Map<String, Value>, node_id: &str) -> Result<Request, RunError> {
    let text = |key: &'static str, why: &'static str| match given.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone())),
        Some(_) => Err(RunError::Malformed(why)),
    };
    let argv = words(given.get("command"))?;
    let inferred = shown(&argv);
    if let Some(raw) = text("rawCommand", "at /rawCommand: must be string")?
        && raw != inferred
    {
        return Err(RunError::RawMismatch { raw, inferred });
    }
    Ok(Request {
        command: inferred,
        argv: Some(argv),
        env: environment(given.get("env"))?,
        cwd: text("cwd", "at /cwd: must be string")?,
        node_id: Some(node_id.to_string()),
        host: Some("node".into()),
        agent_id: text("agentId", "at /agentId: must be string")?,
        session_key: text("sessionKey", "at /sessionKey: must be string")?,
        ..Request::default()
    })
}

fn words(command: Option<&Value>) -> Result<Vec<String>, RunError> {
    let bad = RunError::Malformed("at /command: must be a list of strings");
    let Some(Value::Array(items)) = command else {
        return Err(bad);
    };
    let words: Option<Vec<String>> = items
        .iter()
        .map(|v| v.as_str().map(str::to_string))
        .collect();
    words.filter(|w| !w.is_empty()).ok_or(bad)
}

fn environment(env: Option<&Value>) -> Result<BTreeMap<String, String>, RunError> {
    match env {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(m)) => m
            .iter()
            .map(|(k, v)| match v.as_str() {
                Some(s) => Ok((k.clone(), s.to_string())),
                None => Err(RunError::Malformed("at /env: values must be strings")),
            })
            .collect(),
        Some(_) => Err(RunError::Malformed("at /env: must be object")),
    }
}

/// The text under which `argv` is shown and approved: the script of a plain shell, else all words, quoted.
pub fn shown(argv: &[String]) -> String {
    match argv {
        [shell, flag, script] if is_shell(shell) && matches!(flag.as_str(), "-c" | "-lc") => {
            script.clone()
        }
        _ => quoted(argv),
    }
}

/// A shell by bare name or from a system folder; `./sh` is just any program.
fn is_shell(word: &str) -> bool {
    let name = ["/bin/", "/usr/bin/"]
        .iter()
        .find_map(|dir| word.strip_prefix(dir))
        .unwrap_or(word);
    SHELLS.contains(&name)
}

/// Words joined by blanks; a word with anything unusual in it stands in double quotes.
fn quoted(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    argv.iter()
        .map(|w| match !w.is_empty() && w.chars().all(plain) {
            true => w.clone(),
            false => format!("\"{}\"", w.replace('\\', "\\\\").replace('"', "\\\"")),
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn me() -> Caller {
        Caller {
            device_id: Some("d".into()),
            conn_id: "c".into(),
        }
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| w.to_string()).collect()
    }

    fn approved(command: &str) -> Approvals {
        let a = Approvals::new(Arc::new(|_| ()));
        let request = Request {
            command: command.into(),
            node_id: Some("n".into()),
            host: Some("node".into()),
            ..Request::default()
        };
        a.open(Some("id".into()), request, me(), None).unwrap();
        a.resolve("id", Decision::AllowOnce).unwrap();
        a
    }

    fn go(a: &Approvals, params: Value) -> Result<Map<String, Value>, RunError> {
        params_for_node(&params, "n", &me(), a)
    }

    /// SC-15
    #[test]
    fn control_fields_reach_a_node_only_with_an_approval() {
        let a = approved("ls -l");
        let out = go(
            &a,
            json!({"command": ["ls"], "approved": false, "approvalDecision": "deny", "x": 1, "cwd": null}),
        );
        assert_eq!(Value::Object(out.unwrap()), json!({"command": ["ls"]}));
        assert_eq!(
            go(&a, json!({"command": ["ls"], "approved": true})),
            Err(RunError::NoApprovalId)
        );
        assert_eq!(
            go(
                &a,
                json!({"command": ["ls"], "approvalDecision": "allow-always", "runId": " "})
            ),
            Err(RunError::NoApprovalId)
        );
        let e = go(
            &a,
            json!({"command": ["ls"], "approved": true, "runId": "no"}),
        );
        assert_eq!(
            e.unwrap_err().details().unwrap()["code"],
            "UNKNOWN_APPROVAL_ID"
        );
        let yes = json!({"command": ["ls", "-l"], "approved": true, "approvalDecision": "allow-always", "runId": "id"});
        let out = go(&a, yes.clone()).unwrap();
        assert_eq!(
            out["approvalDecision"], "allow-once",
            "what was decided, not what was claimed"
        );
        let e = go(&a, yes).unwrap_err();
        assert_eq!(e.details().unwrap()["code"], "APPROVAL_REQUIRED");
    }

    /// TX-12
    #[test]
    fn an_environment_that_was_not_shown_is_refused() {
        let a = approved("ls");
        let e = go(
            &a,
            json!({"command": ["ls"], "env": {"A": "1"}, "approved": true, "runId": "id"}),
        );
        assert_eq!(
            e.unwrap_err().details().unwrap()["code"],
            "APPROVAL_REQUEST_MISMATCH"
        );
        assert!(
            go(
                &a,
                json!({"command": ["ls"], "env": {}, "approved": true, "runId": "id"})
            )
            .is_ok()
        );
    }

    /// TX-07
    #[test]
    fn what_is_shown_is_what_runs() {
        assert_eq!(shown(&argv(&["/bin/sh", "-lc", "ls | wc"])), "ls | wc");
        assert_eq!(
            shown(&argv(&["./sh", "-c", "jq --version"])),
            "./sh -c \"jq --version\""
        );
        assert_eq!(shown(&argv(&["./env", "sh", "-c", "x"])), "./env sh -c x");
        assert_eq!(shown(&argv(&["sh", "-c", "$0", "id"])), "sh -c \"$0\" id");
        assert_eq!(shown(&argv(&["/tmp/jq ", "x"])), "\"/tmp/jq \" x");
        assert_ne!(shown(&argv(&["a b"])), shown(&argv(&["a", "b"])));
        assert_eq!(shown(&argv(&["a", "", "q\"\\"])), "a \"\" \"q\\\"\\\\\"");
        let a = approved("rm");
        let e = go(
            &a,
            json!({"command": ["sh", "-c", "ls"], "rawCommand": "rm"}),
        );
        assert_eq!(
            e,
            Err(RunError::RawMismatch {
                raw: "rm".into(),
                inferred: "ls".into()
            })
        );
        for bad in [
            json!("x"),
            json!({"command": []}),
            json!({"command": ["a", 1]}),
            json!({"command": "ls"}),
            json!({"command": ["ls"], "env": {"A": 1}}),
            json!({"command": ["ls"], "cwd": 1}),
        ] {
            assert!(matches!(go(&a, bad), Err(RunError::Malformed(_))));
        }
    }
}
