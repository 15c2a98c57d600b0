//! `gateway`: the listener, who may connect, what is served.

use crate::config::schema::build::{
    TEXT, either, flag, group, number, object, text, texts, whole, word,
};
use crate::config::schema::{Form, Kind, Object, Rest};

pub static GATEWAY_CONTROL_UI: Object = object(&[
    flag("enabled")
        .default("true")
        .about("Whether it is served."),
    text("basePath").about("Path below which it is served."),
    text("root").about("Folder of another page to serve in its place."),
    texts("allowedOrigins").about("Browser origins that may connect."),
    flag("dangerouslyAllowHostHeaderOriginFallback")
        .default("false")
        .about("Also accept an origin equal to the Host header."),
    flag("allowInsecureAuth")
        .default("false")
        .about("Accept the page without device identity on loopback over plain HTTP."),
    flag("dangerouslyDisableDeviceAuth")
        .default("false")
        .about("Never ask the page for a device identity."),
]);

pub static AUTH_RATE_LIMIT: Object = object(&[
    number("maxAttempts")
        .default("10")
        .about("Failures before the lockout."),
    number("windowMs")
        .default("60000")
        .about("Milliseconds in which they are counted."),
    number("lockoutMs")
        .default("300000")
        .about("Milliseconds that a lockout lasts."),
    flag("exemptLoopback")
        .default("true")
        .about("Do not count loopback."),
]);

pub static AUTH_TRUSTED_PROXY: Object = object(&[
    text("userHeader")
        .form(Form::Filled(
            "userHeader is required for trusted-proxy mode",
        ))
        .required()
        .about("Header that names the user."),
    texts("requiredHeaders")
        .default("[]")
        .about("Headers that must be there as well."),
    texts("allowUsers")
        .default("[] = everyone")
        .about("Users that may connect; empty is everyone."),
]);

pub static GATEWAY_AUTH: Object = object(&[
    word("mode", &["none", "token", "password", "trusted-proxy"])
        .default("password if a password exists, else token")
        .about("What a client must show."),
    text("token").secret().about("The shared token."),
    text("password").secret().about("The shared password."),
    flag("allowTailscale").about("Accept the identity headers of Tailscale Serve."),
    group("rateLimit", &AUTH_RATE_LIMIT).about("Lockout after failed attempts."),
    group("trustedProxy", &AUTH_TRUSTED_PROXY).about("Identity from a reverse proxy."),
]);

pub static GATEWAY_TOOLS: Object =
    object(&[texts("deny").default("[]"), texts("allow").default("[]")]);

pub static GATEWAY_TAILSCALE: Object = object(&[
    word("mode", &["off", "serve", "funnel"])
        .default("off")
        .about("`serve` to the tailnet, `funnel` to the internet."),
    flag("resetOnExit")
        .default("false")
        .about("Take the publication back at exit."),
]);

pub static GATEWAY_REMOTE: Object = object(&[
    text("url").about("URL of the gateway, ws:// or wss://."),
    word("transport", &["ssh", "direct"]).default("ssh"),
    text("token").secret().about("Its token."),
    text("password").secret().about("Its password."),
    text("tlsFingerprint").about("SHA-256 of the certificate to expect."),
    text("sshTarget").about("user@host for a tunnel."),
    text("sshIdentity").about("Key file for the tunnel."),
]);

pub static GATEWAY_RELOAD: Object = object(&[
    word("mode", &["off", "restart", "hot", "hybrid"]).default("hybrid").about("`hybrid` applies what it can and restarts for the rest; `hot` never restarts; `restart` always; `off` ignores edits."),
    whole("debounceMs").min(0.0).default("300").about("Milliseconds without a further edit before one is applied."),
]);

pub static GATEWAY_TLS: Object = object(&[
    flag("enabled").default("false"),
    flag("autoGenerate").about("Make a certificate when there is none."),
    text("certPath").about("Certificate chain, PEM."),
    text("keyPath").about("Private key, PEM."),
    text("caPath").about("Authorities for client certificates, PEM."),
])
.rest(Rest::Ignored);

pub static ENDPOINTS_CHAT_COMPLETIONS: Object = object(&[flag("enabled")
    .default("false")
    .about("Serve POST /v1/chat/completions.")]);

pub static FILES_PDF: Object = object(&[
    whole("maxPages").above(0.0).default("4"),
    whole("maxPixels").above(0.0).default("4000000"),
    whole("minTextChars").min(0.0).default("200"),
]);

pub static RESPONSES_FILES: Object = object(&[
    flag("allowUrl").default("true"),
    texts("urlAllowlist"),
    texts("allowedMimes"),
    whole("maxBytes").above(0.0).default("5242880"),
    whole("maxChars").above(0.0).default("200000"),
    whole("maxRedirects").min(0.0).default("3"),
    whole("timeoutMs").above(0.0).default("10000"),
    group("pdf", &FILES_PDF),
]);

pub static RESPONSES_IMAGES: Object = object(&[
    flag("allowUrl").default("true"),
    texts("urlAllowlist"),
    texts("allowedMimes"),
    whole("maxBytes").above(0.0).default("10485760"),
    whole("maxRedirects").min(0.0).default("3"),
    whole("timeoutMs").above(0.0).default("10000"),
]);

pub static ENDPOINTS_RESPONSES: Object = object(&[
    flag("enabled")
        .default("false")
        .about("Serve POST /v1/responses."),
    whole("maxBodyBytes")
        .above(0.0)
        .default("20971520")
        .about("Largest request body, in bytes."),
    whole("maxUrlParts")
        .min(0.0)
        .default("8")
        .about("Most parts of a request that name a URL."),
    group("files", &RESPONSES_FILES),
    group("images", &RESPONSES_IMAGES),
]);

pub static HTTP_ENDPOINTS: Object = object(&[
    group("chatCompletions", &ENDPOINTS_CHAT_COMPLETIONS),
    group("responses", &ENDPOINTS_RESPONSES),
]);

pub static HTTP_SECURITY_HEADERS: Object =
    object(&[either("strictTransportSecurity", &[TEXT, Kind::False])
        .about("Value of that header; false sends none.")]);

pub static GATEWAY_HTTP: Object = object(&[
    group("endpoints", &HTTP_ENDPOINTS),
    group("securityHeaders", &HTTP_SECURITY_HEADERS),
]);

pub static NODES_BROWSER: Object =
    object(&[word("mode", &["auto", "manual", "off"]), text("node")]);

pub static GATEWAY_NODES: Object = object(&[
    group("browser", &NODES_BROWSER).unused(),
    texts("allowCommands").about("Commands that nodes may be asked for, on top of the usual ones."),
    texts("denyCommands").about("Commands that nodes are never asked for."),
]);

pub static GATEWAY_LIMITS: Object = object(&[
    whole("maxConnections")
        .above(0.0)
        .default("4096")
        .ours()
        .about("Most open connections."),
    whole("maxConnectionsPerAddress")
        .above(0.0)
        .default("256")
        .ours()
        .about("Most open connections of one address, loopback apart."),
    whole("maxUnauthenticated")
        .above(0.0)
        .default("256")
        .ours()
        .about("Most connections that have not authenticated yet."),
    whole("maxUnauthenticatedPerAddress")
        .above(0.0)
        .default("64")
        .ours()
        .about("Most of those of one address."),
    whole("memoryMb")
        .above(0.0)
        .ours()
        .about("Memory in megabytes past which new work is refused."),
]);

pub static GATEWAY: Object = object(&[
    whole("port").above(0.0).default("18789").about("TCP port."),
    word("mode", &["local", "remote"])
        .about("`local` to run the gateway here; `remote` when commands talk to another one."),
    word("bind", &["auto", "lan", "loopback", "custom", "tailnet"])
        .default("loopback")
        .about("Addresses to listen on."),
    text("customBindHost").about("IPv4 address for bind custom."),
    group("controlUi", &GATEWAY_CONTROL_UI).about("The control page."),
    group("auth", &GATEWAY_AUTH).about("Who may connect."),
    texts("trustedProxies")
        .default("[]")
        .about("Addresses of reverse proxies, whose forwarding headers count."),
    flag("allowRealIpFallback")
        .default("false")
        .about("Use X-Real-IP when X-Forwarded-For is absent."),
    group("tools", &GATEWAY_TOOLS).about("Which tools POST /tools/invoke may call."),
    whole("channelHealthCheckMinutes")
        .min(0.0)
        .default("5; 0 = off")
        .about("Minutes between checks of channels; 0 is off."),
    group("tailscale", &GATEWAY_TAILSCALE).about("Publishing through Tailscale."),
    group("remote", &GATEWAY_REMOTE).about("Where commands connect to in mode remote."),
    group("reload", &GATEWAY_RELOAD).about("What becomes of edits while the gateway runs."),
    group("tls", &GATEWAY_TLS).about("Serving https and wss."),
    group("http", &GATEWAY_HTTP),
    group("nodes", &GATEWAY_NODES).about("Paired nodes."),
    group("limits", &GATEWAY_LIMITS)
        .ours()
        .about("Bounds on connections and memory."),
]);
