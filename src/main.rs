//! The program: arguments in, exit status out.

use std::process::ExitCode;

use openclaw_gateway::cli;
use openclaw_gateway::config::Env;

fn main() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os().skip(1), Env::from_process()))
}
