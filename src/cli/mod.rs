//! The command line: words in, exit status out. One file a command, and the table that lists them.
//!
//! Every command but the daemon is a client of the gateway over RPC, or works on local files and the
//! service manager. What it prints on stdout is its answer; why there is none goes to stderr.

mod agent;
mod agents;
mod approvals;
mod channels;
mod channels_view;
mod config;
pub mod context;
mod cron;
mod dashboard;
mod dev;
mod devices;
mod discover;
pub mod failure;
mod gateway_call;
mod gateway_force;
mod gateway_probe;
mod gateway_run;
mod gateway_status;
mod gateway_usage;
mod health;
mod help;
mod human;
mod logs;
mod models;
mod nodes;
pub mod options;
pub mod parse;
mod ports;
pub mod rpc;
mod sessions;
mod setup;
mod status;
mod system;
pub mod term;

use std::ffi::OsString;

use crate::config::Env;
use context::Context;
use failure::Failure;
use options::{Command, EXIT_FAILED, EXIT_OK, Need};
use parse::{Args, Globals, Parsed};

/// Runs the command that `words` (without the program's name) ask for; its exit status.
pub fn main(words: impl IntoIterator<Item = OsString>, env: Env) -> u8 {
    match parse::parse(words).and_then(|(globals, parsed)| answer(&globals, parsed, env)) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.text.is_empty() {
                term::warn(&term::clean(&failure.text));
            }
            failure.code
        }
    }
}

fn answer(globals: &Globals, parsed: Parsed, env: Env) -> Result<u8, Failure> {
    if let Parsed::Version = parsed {
        term::say(crate::VERSION);
        return Ok(EXIT_OK);
    }
    let ctx = Context::new(globals, env)?;
    match parsed {
        Parsed::Version => {}
        Parsed::Help(None) => term::say(&help::overview(&ctx.term)),
        Parsed::Help(Some(command)) => term::say(&help::command(&ctx.term, command)),
        Parsed::Nothing => {
            term::warn(&help::overview(&ctx.term));
            return Ok(EXIT_FAILED);
        }
        Parsed::Run(command, args) => return run(&ctx, command, &args),
    }
    Ok(EXIT_OK)
}

fn run(ctx: &Context, command: &Command, args: &Args) -> Result<u8, Failure> {
    let Some(work) = command.run else {
        term::warn(&help::command(&ctx.term, command));
        return Ok(EXIT_FAILED);
    };
    if command.need != Need::Nothing && !ctx.issues().is_empty() {
        match command.need {
            Need::Valid => return Err(Failure::new(ctx.invalid_config())),
            _ => term::warn(&term::clean(&ctx.invalid_config())),
        }
    }
    work(ctx, args)
}
