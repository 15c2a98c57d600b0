//! One reply of the model, with another try when it fails before its first piece. What has begun to be
//! told is never repeated.

use std::time::Duration;

use super::turn::{Shows, Turn};
use crate::agent::provider::{Completion, Delta, Provider, ProviderError, Request};
use crate::sys::id;

/// Times that one call is made again.
const MAX_RETRIES: u32 = 3;
/// Times that calls are made again in one run.
const MAX_RETRIES_IN_RUN: u32 = 6;
/// An endpoint that wants to be left alone for longer is not waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(20);

/// A call of the model that gave no whole reply, and what it had said by then.
pub(super) struct Broken {
    pub error: ProviderError,
    pub partial: String,
}

impl Turn<'_> {
    /// One reply of the model, with retries as long as nothing of it was told.
    pub(super) fn ask(
        &mut self,
        provider: &dyn Provider,
        request: &Request<'_>,
        shows: Shows,
    ) -> Result<Completion, Broken> {
        let emitter = &self.run.emitter;
        let mut tries = 0;
        loop {
            emitter.begin_message();
            let mut partial = String::new();
            let mut began = false;
            let result = provider.stream(
                request,
                &mut |delta| {
                    began = true;
                    match delta {
                        Delta::Text(piece) => {
                            partial.push_str(piece);
                            emitter.text(piece);
                        }
                        Delta::Reasoning(piece) if shows.thinking => emitter.thinking(piece),
                        Delta::Reasoning(_) => {}
                    }
                },
                &self.run.cancel,
            );
            let error = match result {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let wait = backoff(self.runs.first_backoff, tries, error.retry_after());
            let again = !began
                && error.is_transient()
                && tries < MAX_RETRIES
                && self.retries < MAX_RETRIES_IN_RUN;
            let Some(wait) = wait.filter(|_| again) else {
                return Err(Broken { error, partial });
            };
            log::warn!(target: "agent", "run {}: {error}; trying again in {wait:?}", self.run.id);
            tries += 1;
            self.retries += 1;
            if let Some(reason) = self.run.cancel.sleep(wait) {
                let error = ProviderError::Cancelled(reason);
                return Err(Broken { error, partial });
            }
        }
    }
}

/// The wait before another try, doubled with each and up to half as long again at random; `None` when the
/// endpoint asks for too much.
fn backoff(first: Duration, tries: u32, asked: Option<Duration>) -> Option<Duration> {
    let own = first * 2u32.pow(tries);
    let own = own + own / 2 * u32::from(id::random::<1>()[0]) / 255;
    match asked {
        Some(asked) if asked > MAX_RETRY_AFTER => None,
        Some(asked) => Some(asked.max(own)),
        None => Some(own),
    }
}
