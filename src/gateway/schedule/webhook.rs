//! Posting the end of a run to the address that its job names.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::schedule::Job;
use crate::schedule::job::Mode;
use crate::sys::fetch;

/// Time for the whole exchange.
const LIMIT: Duration = Duration::from_secs(10);

/// Posts `event` on a thread of its own, when the job has an address and the run has something to say.
pub fn post(config: &Config, job: &Job, event: &Value) {
    let old_style = job.fields().get("notify") == Some(&Value::Bool(true));
    let url = match job.delivery_mode() {
        Mode::Webhook => job.delivery_text("to"),
        // What jobs of older versions meant.
        _ if old_style => config.str("cron.webhook"),
        _ => None,
    };
    let (Some(url), Some(_)) = (url, event.get("summary")) else {
        return;
    };
    let (url, body, id) = (url.to_string(), event.to_string(), job.id().to_string());
    let token = config.str("cron.webhookToken").map(str::to_string);
    let body = move || {
        // The address may hold a secret: it is not logged.
        match fetch::post_json(&url, token.as_deref(), &body, LIMIT) {
            Ok(status) if (200..300).contains(&status) => {}
            Ok(status) => log::warn!(target: "cron", "webhook of job {id} answered {status}"),
            Err(e) => log::warn!(target: "cron", "webhook of job {id}: {e}"),
        }
    };
    if let Err(e) = thread::Builder::new()
        .name("cron-webhook".into())
        .spawn(body)
    {
        log::warn!(target: "cron", "no thread for a webhook: {e}");
    }
}
