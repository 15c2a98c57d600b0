//! `builtin/echo`: a model that needs no network, so that a fresh gateway answers at once.
//!
//! It says what it is in every reply, and repeats the last message in a few pieces.

use super::{Completion, Delta, Message, Part, Provider, ProviderError, Request, Stop, Usage};
use crate::agent::cancel::Cancel;
use crate::protocol::frame::clip;
use crate::state::transcript::without_stamp;

/// What a reply begins with.
const LABEL: &str = "[builtin/echo, no model configured]";
/// Most bytes of the message that are repeated.
const MAX_ECHO: usize = 4096;
/// Pieces that the reply comes in.
const PIECES: usize = 4;
/// Bytes to a token, for a rough count.
const BYTES_PER_TOKEN: usize = 4;

/// The built-in provider.
#[derive(Debug, Default)]
pub struct Echo;

impl Provider for Echo {
    fn stream(
        &self,
        request: &Request<'_>,
        on: &mut dyn FnMut(Delta<'_>),
        cancel: &Cancel,
    ) -> Result<Completion, ProviderError> {
        let said = last_words(request.messages);
        let text = format!("{LABEL} You said: {}", clip(without_stamp(&said), MAX_ECHO));
        let mut rest = text.as_str();
        let size = text.len().div_ceil(PIECES);
        while !rest.is_empty() {
            if let Some(reason) = cancel.reason() {
                return Err(ProviderError::Cancelled(reason));
            }
            let cut = (size..rest.len()).find(|at| rest.is_char_boundary(*at));
            let (piece, tail) = rest.split_at(cut.unwrap_or(rest.len()));
            on(Delta::Text(piece));
            rest = tail;
        }
        let input = (request.system.len() + said.len()).div_ceil(BYTES_PER_TOKEN) as u64;
        let output = text.len().div_ceil(BYTES_PER_TOKEN) as u64;
        Ok(Completion {
            usage: Usage {
                input,
                output,
                total: input + output,
                ..Usage::default()
            },
            text,
            stop: Stop::Stop,
            ..Completion::default()
        })
    }
}

/// The text of the last user message.
fn last_words(messages: &[Message]) -> String {
    let parts = messages.iter().rev().find_map(|m| match m {
        Message::User(parts) => Some(parts.as_slice()),
        _ => None,
    });
    let texts = parts.unwrap_or_default().iter().map(|p| match p {
        Part::Text(t) => t.as_str(),
        Part::Image { .. } => "(an image)",
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cancel::Reason;
    use crate::agent::model::Model;
    use crate::agent::provider::Thinking;

    fn run(text: &str, cancel: &Cancel) -> (Vec<String>, Result<Completion, ProviderError>) {
        let model = Model::echo();
        let messages = [Message::User(vec![Part::Text(text.into())])];
        let request = Request {
            model: &model,
            system: "",
            messages: &messages,
            tools: &[],
            thinking: Thinking::Off,
        };
        let mut pieces = Vec::new();
        let result = Echo.stream(
            &request,
            &mut |d| match d {
                Delta::Text(t) => pieces.push(t.to_string()),
                Delta::Reasoning(_) => panic!("no reasoning in an echo"),
            },
            cancel,
        );
        (pieces, result)
    }

    #[test]
    fn it_repeats_in_pieces_and_says_what_it_is() {
        let (pieces, result) = run(
            "[Sun 2026-11-22 15:56 UTC] héllo ünd wörld",
            &Cancel::new(None),
        );
        let done = result.unwrap();
        assert!(pieces.len() > 1);
        assert_eq!(pieces.concat(), done.text);
        assert_eq!(
            done.text,
            "[builtin/echo, no model configured] You said: héllo ünd wörld"
        );
        assert!(done.usage.total > 0);
    }

    #[test]
    fn it_is_bounded_and_can_be_stopped() {
        let (_, result) = run(&"é".repeat(10_000), &Cancel::new(None));
        assert!(result.unwrap().text.len() < MAX_ECHO + 100);
        let cancel = Cancel::new(None);
        cancel.cancel(Reason::Rpc);
        let (pieces, result) = run("x", &cancel);
        assert_eq!(result, Err(ProviderError::Cancelled(Reason::Rpc)));
        assert!(pieces.is_empty());
    }
}
