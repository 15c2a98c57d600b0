//! `models`: which models there are, which one an agent uses, and whether its credential is there.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::human;
use super::options::{Command, EXIT_FAILED, EXIT_OK, Group, JSON, Need, Opt, arg, flag, val};
use super::parse::Args;
use super::term::{self, Tone, clean};
use crate::agent::models::{self, ModelInfo};
use crate::config::agents::{self, ModelRef};
use crate::config::{Config, edit, write};

const PLAIN: &[Opt] = &[flag("plain", "bare values, one a line")];

pub static MODELS: Command = Command {
    options: STATUS.options,
    need: Need::Valid,
    run: Some(status),
    ..Command::new(
        "models",
        Group::Agents,
        "see and choose the models of the agents",
    )
};

pub static LIST: Command = Command {
    options: &[
        &[
            flag(
                "all",
                "all models that can be used, not only those that are",
            ),
            flag("local", "only those on this machine"),
            val("provider", "name", "only those of this provider"),
        ],
        JSON,
        PLAIN,
    ],
    need: Need::Valid,
    run: Some(list),
    ..Command::new("models list", Group::Agents, "list the configured models")
};

pub static STATUS: Command = Command {
    options: &[
        &[
            val("agent", "id", "of this agent (else the default one)"),
            flag("check", "end with 1 when a model in use has no credential"),
        ],
        JSON,
        PLAIN,
    ],
    need: Need::Valid,
    run: Some(status),
    ..Command::new(
        "models status",
        Group::Agents,
        "show the default model, its fallbacks, and what is missing for them",
    )
};

pub static SET: Command = Command {
    args: &[arg("model", "provider/model, or an alias")],
    need: Need::Valid,
    run: Some(set),
    ..Command::new("models set", Group::Agents, "choose the default model")
};

/// One model with what it is used for.
struct Listed {
    info: ModelInfo,
    model: ModelRef,
    tags: Vec<String>,
    /// Why it cannot be used; `None` when it can.
    missing: Option<String>,
    local: bool,
}

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let mut rows = gather(ctx, &config, args.flag("all"));
    if let Some(provider) = args.given("provider") {
        rows.retain(|r| r.model.provider == provider.to_lowercase());
    }
    if args.flag("local") {
        rows.retain(|r| r.local);
    }
    if args.flag("json") {
        let all: Vec<Value> = rows.iter().map(Listed::to_value).collect();
        term::json(&json!({"count": all.len(), "models": all}));
    } else if args.flag("plain") {
        for row in &rows {
            term::say(&clean(&row.model.to_string()));
        }
    } else {
        term::say(&table(&rows));
    }
    Ok(EXIT_OK)
}

/// The models in use, and with `all` every model of the configuration.
fn gather(ctx: &Context, config: &Config, all: bool) -> Vec<Listed> {
    let agent = agents::default_id(config);
    let primary = models::primary(config, &agent);
    let fallbacks = agents::fallbacks(config, &agent);
    let catalog = models::catalog(config);
    let mut wanted = vec![primary.clone()];
    wanted.extend(fallbacks.iter().cloned());
    let defaults = config.get_in(&["agents", "defaults", "models"]);
    let aliases = defaults.and_then(Value::as_object);
    wanted.extend(
        aliases
            .into_iter()
            .flatten()
            .map(|(key, _)| ModelRef::parse(key)),
    );
    let configured = catalog.iter().filter(|m| all || m.provider != "builtin");
    wanted.extend(configured.map(|m| ModelRef {
        provider: m.provider.clone(),
        model: m.id.clone(),
    }));
    let mut seen = Vec::new();
    wanted.retain(|m| {
        let new = !seen.contains(m);
        seen.push(m.clone());
        new
    });
    wanted
        .into_iter()
        .map(|model| {
            let mut tags = Vec::new();
            if model == primary {
                tags.push("default".to_string());
            }
            if let Some(at) = fallbacks.iter().position(|f| *f == model) {
                tags.push(format!("fallback#{}", at + 1));
            }
            let settings = aliases.and_then(|a| a.get(&model.to_string()));
            if let Some(alias) = settings.and_then(|s| s["alias"].as_str()) {
                tags.push(format!("alias:{alias}"));
            }
            let known = catalog
                .iter()
                .find(|m| m.provider == model.provider && m.id == model.model);
            let resolved = models::resolve(config, &ctx.paths(), &agent, &model);
            Listed {
                info: known.cloned().unwrap_or_else(|| unlisted(&model)),
                local: match &resolved {
                    Ok(m) => model.provider == "builtin" || is_local(&m.base_url),
                    Err(_) => false,
                },
                missing: resolved.err(),
                model,
                tags,
            }
        })
        .collect()
}

/// A model that is used without being described.
fn unlisted(model: &ModelRef) -> ModelInfo {
    ModelInfo {
        id: model.model.clone(),
        name: model.model.clone(),
        provider: model.provider.clone(),
        context_window: None,
        reasoning: None,
        input: None,
    }
}

fn is_local(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|l| host.starts_with(l))
}

impl Listed {
    fn input(&self) -> String {
        let kinds = self.info.input.as_deref().unwrap_or_default();
        match kinds.is_empty() {
            true => "text".to_string(),
            false => kinds.join("+"),
        }
    }

    fn to_value(&self) -> Value {
        json!({
            "key": self.model.to_string(), "name": self.info.name, "input": self.input(),
            "contextWindow": self.info.context_window, "local": self.local,
            "available": self.missing.is_none(), "tags": self.tags, "missing": false,
        })
    }
}

fn table(rows: &[Listed]) -> String {
    let head = ("Model", "Input", "Ctx", "Local", "Auth", "Tags");
    let row = |(a, b, c, d, e, f): (&str, &str, &str, &str, &str, &str)| {
        format!("{a:<42} {b:<10} {c:<8} {d:<5} {e:<5} {f}")
            .trim_end()
            .to_string()
    };
    let mut lines = vec![row(head)];
    for r in rows {
        let context = r.info.context_window;
        let context = context.map_or_else(|| "-".to_string(), human::kilo);
        let yes = |on| if on { "yes" } else { "no" };
        lines.push(row((
            &r.model.to_string(),
            &r.input(),
            &context,
            yes(r.local),
            yes(r.missing.is_none()),
            &r.tags.join(","),
        )));
    }
    clean(&lines.join("\n")).into_owned()
}

fn status(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let agent = match args.given("agent") {
        None => agents::default_id(&config),
        Some(id) if agents::exists(&config, id) => agents::normalise(id),
        Some(id) => {
            return Err(Failure::new(format!(
                "Unknown agent id \"{id}\". Use \"openclaw agents list\" to see configured agents."
            )));
        }
    };
    let primary = models::primary(&config, &agent);
    let fallbacks = agents::fallbacks(&config, &agent);
    let used: Vec<&ModelRef> = std::iter::once(&primary).chain(&fallbacks).collect();
    let checks: Vec<(&ModelRef, Result<(), String>)> = used
        .iter()
        .map(|m| {
            (
                *m,
                models::resolve(&config, &ctx.paths(), &agent, m).map(|_| ()),
            )
        })
        .collect();
    let broken = checks.iter().any(|(_, c)| c.is_err());
    let code = match args.flag("check") && broken {
        true => EXIT_FAILED,
        false => EXIT_OK,
    };
    if args.flag("plain") {
        term::say(&clean(&primary.to_string()));
        return Ok(code);
    }
    let agent_dir = agents::agent_dir(&config, &ctx.locations, &agent);
    let store = ctx.paths().auth_profiles(&agent);
    if args.flag("json") {
        let providers: Vec<Value> = checks
            .iter()
            .map(|(m, c)| json!({"model": m.to_string(), "provider": m.provider, "ok": c.is_ok(), "error": c.as_ref().err()}))
            .collect();
        let missing: Vec<&str> = checks
            .iter()
            .filter(|(_, c)| c.is_err())
            .map(|(m, _)| m.provider.as_str())
            .collect();
        let names: Vec<String> = fallbacks.iter().map(ModelRef::to_string).collect();
        term::json(&json!({
            "configPath": config.path(), "agentDir": agent_dir, "defaultModel": primary.to_string(),
            "resolvedDefault": primary.to_string(), "fallbacks": names,
            "imageModel": config.str("agents.defaults.imageModel.primary"), "imageFallbacks": [],
            "aliases": aliases(&config), "allowed": [],
            "auth": {"storePath": store, "missingProvidersInUse": missing, "providers": providers},
        }));
        return Ok(code);
    }
    let list = |names: &[String]| match names.is_empty() {
        true => "-".to_string(),
        false => names.join(", "),
    };
    let names: Vec<String> = fallbacks.iter().map(ModelRef::to_string).collect();
    let known: Vec<String> = aliases(&config)
        .as_object()
        .into_iter()
        .flatten()
        .map(|(alias, model)| format!("{alias} -> {}", model.as_str().unwrap_or("?")))
        .collect();
    let row = |name: &str, value: &str| term::say(&clean(&format!("{name:<14}: {value}")));
    row("Config", &ctx.locations.shown(config.path()));
    row("Agent dir", &ctx.locations.shown(&agent_dir));
    row("Default", &primary.to_string());
    row(&format!("Fallbacks ({})", names.len()), &list(&names));
    row(&format!("Aliases ({})", known.len()), &list(&known));
    row("Auth store", &ctx.locations.shown(&store));
    for (model, check) in &checks {
        match check {
            Ok(()) => term::say(&format!(
                "- {}: {}",
                clean(&model.to_string()),
                ctx.term.paint(Tone::Good, "ready")
            )),
            Err(why) => term::say(&format!(
                "- {}: {}",
                clean(&model.to_string()),
                ctx.term.paint(Tone::Bad, why)
            )),
        }
    }
    Ok(code)
}

fn set(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let word = args.word(0).unwrap_or_default().trim();
    if word.is_empty() {
        return Err(Failure::new("Error: model required"));
    }
    let model = agents::resolve(&config, word);
    let done = write::update(&ctx.locations, "cli models set", |config| {
        let mut patch = json!({"agents": {"defaults": {"model": {"primary": model.to_string()}}}});
        let listed = config.get_in(&["agents", "defaults", "models"]);
        let listed = listed.and_then(Value::as_object).filter(|m| !m.is_empty());
        // Where there is a list of models that may be used, the default belongs to it.
        if listed.is_some_and(|m| !m.contains_key(&model.to_string())) {
            patch["agents"]["defaults"]["models"] = json!({model.to_string(): {}});
        }
        edit::merge_patch(config, &patch)
    });
    let done = done.map_err(|e| Failure::new(format!("Error: {e}")))?;
    for notice in &done.notices {
        term::warn(&clean(notice));
    }
    term::say(&format!("Updated {}", ctx.locations.shown(config.path())));
    term::say(&clean(&format!("Default model: {model}")));
    let agent = agents::default_id(&done.config);
    if let Err(why) = models::resolve(&done.config, &ctx.paths(), &agent, &model) {
        term::warn(&clean(&format!("Not usable yet: {why}")));
    }
    Ok(EXIT_OK)
}

/// Aliases of `agents.defaults.models`: alias to model.
fn aliases(config: &Config) -> Value {
    let models = config.get_in(&["agents", "defaults", "models"]);
    let models = models.and_then(Value::as_object);
    let named = models
        .into_iter()
        .flatten()
        .filter_map(|(model, settings)| {
            let alias = settings["alias"].as_str()?;
            Some((alias.to_string(), Value::from(model.as_str())))
        });
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    const CONFIG: &str = "{
        agents: {defaults: {model: {primary: 'stub/one', fallbacks: ['groq/x']}, models: {'stub/one': {alias: 'S'}}}},
        models: {providers: {stub: {baseUrl: 'http://127.0.0.1:9/v1', apiKey: 'sk-secret', models: [
            {id: 'one', name: 'One', contextWindow: 128000, input: ['text', 'image']}]}}}}";

    #[test]
    fn the_default_model_is_set_and_nothing_else_touched() {
        let dir = Folder::new();
        dir.write("openclaw.json", &format!("// mine\n{CONFIG}"));
        let ctx = Context::of(dir.locations(&[]));
        let words = ["models", "set", "groq/new"].map(Into::into);
        let Ok((_, crate::cli::parse::Parsed::Run(_, args))) = crate::cli::parse::parse(words)
        else {
            panic!();
        };
        set(&ctx, &args).unwrap();
        let config = ctx.again().config();
        assert_eq!(
            config.str("agents.defaults.model.primary"),
            Some("groq/new")
        );
        assert_eq!(agents::fallbacks(&config, "main").len(), 1);
        let models = config.get_in(&["agents", "defaults", "models"]).unwrap();
        assert!(models["groq/new"].is_object() && models["stub/one"]["alias"] == "S");
        assert!(config.raw().unwrap().contains("// mine"));
    }

    #[test]
    fn models_in_use_come_first_with_what_they_are_for() {
        let dir = Folder::new();
        dir.write("openclaw.json", CONFIG);
        let ctx = Context::of(dir.locations(&[]));
        let rows = gather(&ctx, &ctx.config(), false);
        let keys: Vec<_> = rows.iter().map(|r| r.model.to_string()).collect();
        assert_eq!(keys, ["stub/one", "groq/x"]);
        assert_eq!(rows[0].tags, ["default", "alias:S"]);
        assert!(rows[0].local && rows[0].missing.is_none());
        assert_eq!(rows[1].tags, ["fallback#1"]);
        assert!(rows[1].missing.as_ref().unwrap().contains("GROQ_API_KEY"));
        let text = table(&rows);
        assert!(
            text.contains("stub/one") && text.contains("text+image 128k"),
            "{text}"
        );
        assert!(!text.contains("sk-secret"));
        let all = gather(&ctx, &ctx.config(), true);
        assert!(all.iter().any(|r| r.model.to_string() == "builtin/echo"));
    }
}
