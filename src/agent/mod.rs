//! An agent run: lanes, prompt, model providers, tools.

pub mod skills;
