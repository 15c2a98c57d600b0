//! The environment of a command.
//!
//! It starts from the gateway's own, without what loads code into every program and without the gateway's
//! credentials. What a model adds has to be on a list of names: lists of forbidden names have always been
//! too short (TX-17).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::agent::tools::files::setting;
use crate::agent::tools::{Context, ToolError};

/// Names that a model may set; `*` at the end stands for any rest. `tools.exec.envAllow` adds to them.
const ALLOWED: &[&str] = &[
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "DEBIAN_FRONTEND",
    "FORCE_COLOR",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LINES",
    "NO_COLOR",
    "TERM",
    "TZ",
];

/// Beginnings of names that load code into whatever is started, or change how a shell reads its input.
const REMOVED_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_"];
const REMOVED: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SHELLOPTS",
    // The gateway's own.
    "NOTIFY_SOCKET",
    "OPENCLAW_GATEWAY_PASSWORD",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_HOOKS_TOKEN",
];

/// Variables that one call may set, and the length of a value in bytes.
const MAX_OVERRIDES: usize = 64;
const MAX_VALUE: usize = 32 * 1024;

/// The search path when there is none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment that commands start from.
pub fn base(context: &Context<'_>) -> BTreeMap<String, String> {
    let env = context.config.env();
    let kept = env.iter().filter(|(name, _)| !removed(name));
    let mut out: BTreeMap<String, String> = kept
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let folders = setting(context, &["exec", "pathPrepend"]).and_then(Value::as_array);
    let folders = folders.into_iter().flatten().filter_map(Value::as_str);
    let mut path: Vec<String> = folders
        .map(|f| context.config.locations().expand(f).display().to_string())
        .collect();
    let own = out.get("PATH").map(String::as_str).unwrap_or(DEFAULT_PATH);
    path.push(own.to_string());
    out.insert("PATH".into(), path.join(":"));
    out
}

/// The variables that the call sets, if it may set them all.
pub fn overrides(
    context: &Context<'_>,
    arguments: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, ToolError> {
    let given = match arguments.get("env") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(ToolError::input("env has to be an object of texts")),
    };
    if given.len() > MAX_OVERRIDES {
        let text = format!("env has more than {MAX_OVERRIDES} variables");
        return Err(ToolError::input(text));
    }
    let own = setting(context, &["exec", "envAllow"]).and_then(Value::as_array);
    let own = own.into_iter().flatten().filter_map(Value::as_str);
    let allowed: Vec<&str> = ALLOWED.iter().copied().chain(own).collect();
    let mut out = BTreeMap::new();
    for (name, value) in given {
        let value = value
            .as_str()
            .filter(|v| v.len() <= MAX_VALUE && !v.contains('\0'))
            .ok_or_else(|| ToolError::input(format!("env.{name:?} has to be a text")))?;
        if !is_name(name) || !allowed.iter().any(|a| fits(a, name)) {
            return Err(ToolError::input(format!(
                "env may not set {name:?}; names that it may set are on the list tools.exec.envAllow"
            )));
        }
        out.insert(name.clone(), value.to_string());
    }
    Ok(out)
}

fn removed(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    !is_name(name)
        || REMOVED_PREFIXES.iter().any(|p| upper.starts_with(p))
        || REMOVED.contains(&upper.as_str())
}

/// Whether shells take `name` for one of a variable.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain)
}

fn fits(allowed: &str, name: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => allowed == name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Bench, config_at};
    use super::*;
    use crate::config::{Env, Locations};
    use serde_json::json;

    fn set(bench: &Bench, env: Value) -> Result<BTreeMap<String, String>, String> {
        let arguments = json!({ "env": env });
        overrides(&bench.context(), arguments.as_object().unwrap()).map_err(|e| e.text)
    }

    /// TX-17
    #[test]
    fn only_names_on_the_list_are_set() {
        let bench = Bench::new("{}");
        let names = "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES PATH HOME SHELL ZDOTDIR BASH_ENV \
            ENV SHELLOPTS BASHOPTS PS4 IFS PROMPT_COMMAND CDPATH NODE_OPTIONS NODE_PATH NODE_TLS_REJECT_UNAUTHORIZED \
            PYTHONPATH PYTHONSTARTUP PYTHONHOME PYTHONWARNINGS PYTHONBREAKPOINT PERL5LIB PERL5OPT PERL5DB RUBYOPT RUBYLIB \
            LUA_INIT LUA_PATH JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH VIMINIT EXINIT GIT_SSH \
            GIT_SSH_COMMAND GIT_CONFIG GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_PAGER \
            GIT_EDITOR GIT_ASKPASS GIT_TEMPLATE_DIR GIT_DIR GIT_WORK_TREE GIT_PROXY_COMMAND GIT_ALLOW_PROTOCOL HGRCPATH \
            SSH_ASKPASS SSH_AUTH_SOCK EDITOR VISUAL PAGER MANPAGER LESSOPEN LESSCLOSE BROWSER CC CXX LD AR RUSTC \
            RUSTC_WRAPPER RUSTFLAGS RUSTUP_HOME RUSTUP_TOOLCHAIN CARGO_HOME CARGO_BUILD_RUSTC CMAKE_TOOLCHAIN_FILE \
            CMAKE_PREFIX_PATH MAKEFLAGS MAKEFILES PIP_INDEX_URL PIP_CONFIG_FILE PIP_EXTRA_INDEX_URL UV_INDEX_URL \
            UV_PYTHON NPM_CONFIG_REGISTRY npm_config_registry YARN_RC_FILENAME HTTP_PROXY HTTPS_PROXY ALL_PROXY \
            http_proxy NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE CURL_HOME DOCKER_HOST \
            DOCKER_CONFIG KUBECONFIG AWS_PROFILE AWS_CONFIG_FILE AWS_CA_BUNDLE CLOUDSDK_CONFIG CLOUDSDK_PYTHON HOSTALIASES \
            RESOLV_HOST_CONF LOCALDOMAIN OPENCLAW_STATE_DIR OPENCLAW_GATEWAY_TOKEN OPENCLAW_CONFIG_PATH GCONV_PATH \
            GLIBC_TUNABLES TERMINFO TERMCAP TMPDIR XDG_CONFIG_HOME PHPRC PHP_INI_SCAN_DIR DOTNET_STARTUP_HOOKS ERL_FLAGS \
            R_PROFILE_USER JULIA_LOAD_PATH GOFLAGS GOPROXY OPENSSL_CONF OPENSSL_MODULES TCLLIBPATH PSModulePath \
            ld_preload Ld_Preload Path term Term";
        assert!(names.split_ascii_whitespace().count() > 120);
        let mut all: Vec<&str> = names.split_ascii_whitespace().collect();
        all.extend([
            "",
            "A=B",
            "LD_PRELOAD=x",
            "A B",
            "TERM ",
            " TERM",
            "TERM\0",
            "TERM\n",
            "1A",
            "BASH_FUNC_x%%",
            "Ä",
        ]);
        for name in all {
            let error = set(&bench, json!({"TERM": "x", name: "v"})).unwrap_err();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let good = json!({"TERM": "dumb", "LC_ALL": "C", "NO_COLOR": "1", "TZ": "UTC"});
        assert_eq!(set(&bench, good).unwrap().len(), 4);
        for bad in [
            json!({"TERM": 1}),
            json!({"TERM": "a\0b"}),
            json!("x"),
            json!([]),
        ] {
            assert!(set(&bench, bad).is_err());
        }
        assert!(set(&bench, Value::Null).unwrap().is_empty());
    }

    #[test]
    fn an_operator_adds_names() {
        let bench = Bench::new("{tools: {exec: {envAllow: ['DEPLOY_ENV', 'APP_*']}}}");
        assert!(set(&bench, json!({"DEPLOY_ENV": "x", "APP_MODE": "y"})).is_ok());
        assert!(set(&bench, json!({"DEPLOY_ENVS": "x"})).is_err());
    }

    #[test]
    fn commands_do_not_get_loader_variables_nor_the_gateways_credentials() {
        let mut bench = Bench::new("{}");
        let state = bench.path.join("state");
        config_at(
            &state,
            &state.join("openclaw.json"),
            "{tools: {exec: {pathPrepend: ['/opt/mine', '~/bin']}}}",
        );
        let home = state.to_str().unwrap();
        let env: Env = [
            ("HOME", home),
            ("OPENCLAW_STATE_DIR", home),
            ("PATH", "/bin"),
            ("LD_PRELOAD", "x"),
            ("LD_LIBRARY_PATH", "x"),
            ("BASH_ENV", "x"),
            ("BASH_FUNC_ls%%", "() { id; }"),
            ("SHELLOPTS", "xtrace"),
            ("IFS", "x"),
            ("OPENCLAW_GATEWAY_TOKEN", "canary"),
            ("OPENCLAW_GATEWAY_PASSWORD", "canary"),
            ("KEPT", "yes"),
        ]
        .into_iter()
        .collect();
        let loaded = crate::config::load(&Locations::from_env(&env));
        bench.config = std::sync::Arc::into_inner(loaded.config).unwrap();
        let env = base(&bench.context());
        let names: Vec<&str> = env.keys().map(String::as_str).collect();
        assert_eq!(names, ["HOME", "KEPT", "OPENCLAW_STATE_DIR", "PATH"]);
        assert_eq!(env["PATH"], format!("/opt/mine:{home}/bin:/bin"));
        let empty = Bench::new("{}");
        let path = base(&empty.context())["PATH"].clone();
        assert!(path.contains("/usr/bin"));
    }
}
