// The page: connect, see how the gateway is, chat. All foreign text goes in as text.

import { Gateway, forget, home } from "./gateway.js";

const $ = (id) => document.getElementById(id);
const element = (name, content, data = {}) => {
  const e = document.createElement(name);
  e.append(...[content].flat().filter((c) => c !== undefined && c !== ""));
  Object.assign(e.dataset, data);
  return e;
};

// A token may come in the fragment, which no server sees. It is used once and leaves the address at once.
function tokenFromAddress() {
  const url = new URL(location.href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get("token") || "";
  const spurious = ["token", "password", "gatewayUrl"].filter((n) => url.searchParams.has(n));
  for (const n of spurious) url.searchParams.delete(n);
  for (const n of ["token", "password", "gatewayUrl"]) fragment.delete(n);
  url.hash = fragment.toString();
  history.replaceState(null, "", url);
  return { token, spurious };
}

// --- Why one is not let in, and what to do about it.

const ORIGIN = "gateway.controlUi.allowedOrigins";
function advice(refused) {
  const { code, message, details } = refused;
  if (code === "INSECURE" || code === "CONTROL_UI_DEVICE_IDENTITY_REQUIRED")
    return ["This browser keeps its key only on pages from HTTPS or from the machine itself. Open the page through a tunnel, or put the gateway behind HTTPS.",
      `ssh -N -L ${location.port || 80}:127.0.0.1:${location.port || 80} ${location.hostname}`];
  if (code === "NO_ED25519")
    return ["This browser cannot make Ed25519 keys. Chrome 137, Firefox 129 and Safari 17 can.", ""];
  if (code === "PAIRING_REQUIRED")
    return ["This browser waits for approval. Approve it on the gateway's machine; the page goes on by itself.",
      `openclaw devices approve ${details.requestId || ""}`];
  if (code.endsWith("_MISSING")) return ["The gateway wants its token or password. A link with the token comes from:", "openclaw dashboard"];
  if (code.endsWith("_MISMATCH")) return ["That is not the gateway's secret. The right one comes from:", "openclaw dashboard"];
  if (code === "AUTH_RATE_LIMITED") {
    const wait = refused.retryAfterMs ? ` for ${Math.ceil(refused.retryAfterMs / 1000)} s` : " for a while";
    return [`Too many failed attempts: the gateway does not listen${wait}.`, ""];
  }
  if (message.startsWith("origin not allowed"))
    return ["The gateway does not take connections from pages of this address. Allow it on its machine:",
      `openclaw config set ${ORIGIN} '["${location.origin}"]'`];
  return [message, ""];
}

function showDoor(why, command) {
  $("desk").hidden = true;
  $("door").hidden = false;
  $("door-why").textContent = why;
  $("door-command").textContent = command;
  $("door-command").hidden = !command;
}

function link(state, words) {
  $("link").dataset.state = state;
  $("link").textContent = words;
}

// --- The gateway's state.

let hello = null;
let health = {};
let presence = [];
let upSince = 0;

const ago = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
};

function showState() {
  const rows = [
    ["Health", health.ok === false ? "failing" : "ok"],
    ["Version", hello.server?.version],
    ["Up", ago(Date.now() - upSince)],
    ["Agents", (health.agents || []).map((a) => a.agentId).join(", ")],
    ["Sessions", health.sessions?.count],
    ["Checked", health.ts ? `${ago(Date.now() - health.ts)} ago` : ""],
  ];
  for (const id of health.channelOrder || Object.keys(health.channels || {})) {
    const c = health.channels?.[id] || {};
    const state = c.running || c.connected || c.linked ? "on" : c.configured ? "off" : "not configured";
    rows.push([health.channelLabels?.[id] || id, c.lastError ? `${state}: ${c.lastError}` : state]);
  }
  $("state").replaceChildren(
    ...rows.filter(([, v]) => v !== undefined && v !== "").flatMap(([k, v]) => [element("dt", k), element("dd", String(v))]));
  $("clients").replaceChildren(...presence.map((p) =>
    element("li", [p.host || p.deviceId?.slice(0, 12) || p.mode || "client",
      element("small", [p.mode, p.version, p.platform, p.reason].filter(Boolean).join(" · "))])));
}

// --- Sessions.

let sessions = [];
let current = "";

async function listSessions() {
  const got = await gateway.call("sessions.list", { limit: 100, includeDerivedTitles: true, includeLastMessage: true });
  sessions = got.sessions || [];
  showSessions();
}

const title = (s) => s.displayName || s.label || s.derivedTitle || s.key;

function showSessions() {
  const known = sessions.some((s) => s.key === current);
  const all = known || !current ? sessions : [{ key: current }, ...sessions];
  $("sessions").replaceChildren(...all.map((s) => {
    const b = element("button", [title(s), element("small", s.updatedAt ? `${ago(Date.now() - s.updatedAt)} ago` : "new")]);
    b.type = "button";
    b.title = s.key;
    if (s.key === current) b.setAttribute("aria-current", "true");
    b.onclick = () => choose(s.key);
    return element("li", b);
  }));
}

async function choose(key) {
  current = key;
  running = null;
  showRun();
  showSessions();
  $("chat-title").textContent = title(sessions.find((s) => s.key === key) || { key });
  $("chat").replaceChildren();
  await loadHistory();
  $("text").focus();
}

// --- Chat.

// The run whose reply is being received: {id, item}.
let running = null;

function textOf(message) {
  const content = message?.content;
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return message?.text || "";
  return content.map((p) => p.text ?? (p.type ? `[${p.name || p.type}]` : "")).filter(Boolean).join("\n");
}

function say(role, words) {
  const names = { user: "You", assistant: assistant, note: "", error: "Error" };
  const item = element("li", [names[role] === "" ? "" : element("b", names[role] ?? role), element("p", words)], { role });
  const chat = $("chat");
  const follow = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
  chat.append(item);
  if (follow) chat.scrollTop = chat.scrollHeight;
  return item;
}

async function loadHistory() {
  const key = current;
  const got = await gateway.call("chat.history", { sessionKey: key, limit: 200 });
  if (key !== current) return;
  $("chat").replaceChildren();
  // A reply that is coming in gets a new place with its next piece, which holds all of it.
  if (running) running.item = null;
  for (const m of got.messages || []) {
    const words = textOf(m);
    if (words) say(m.role === "user" || m.role === "assistant" ? m.role : "note", words);
  }
  $("chat").scrollTop = $("chat").scrollHeight;
}

function showRun() {
  $("stop").hidden = !running;
  $("send").disabled = false;
}

function onChat(p) {
  // An aborted run is named by the key as it was sent; the id tells it in any case.
  if (p.sessionKey !== current && p.runId !== running?.id) return;
  if (!running || running.id !== p.runId) running = { id: p.runId, item: null };
  const words = textOf(p.message);
  if (words) {
    if (!running.item) running.item = say("assistant", "");
    running.item.querySelector("p").textContent = words;
    const chat = $("chat");
    if (chat.scrollHeight - chat.scrollTop - chat.clientHeight < 160) chat.scrollTop = chat.scrollHeight;
  }
  if (p.state === "error") say("error", p.errorMessage || "the run failed");
  if (p.state === "aborted") say("note", "Stopped.");
  if (p.state !== "delta") {
    running = null;
    listSessions().catch(complain);
  }
  showRun();
}

async function send() {
  const words = $("text").value.trim();
  if (!words) return;
  $("text").value = "";
  const id = crypto.randomUUID();
  const item = say("user", words);
  running = { id, item: null };
  showRun();
  try {
    const got = await gateway.call("chat.send", { sessionKey: current, message: words, idempotencyKey: id });
    if (got.aborted) running = null;
  } catch (e) {
    item.dataset.role = "error";
    say("error", `Not sent: ${e.message}`);
    $("text").value ||= words;
    running = null;
  }
  showRun();
}

const complain = (e) => say("error", e.message);

// --- Putting it together.

let assistant = "Assistant";
const { token, spurious } = tokenFromAddress();

const gateway = new Gateway(home(), {
  up(h) {
    hello = h;
    ({ health = {}, presence = [] } = h.snapshot || {});
    upSince = Date.now() - (h.snapshot?.uptimeMs || 0);
    gateway.secret = "";
    $("secret").value = "";
    link("on", "Connected");
    $("door").hidden = true;
    $("desk").hidden = false;
    $("leave").hidden = false;
    showState();
    listSessions().catch(complain);
    choose(current || h.snapshot?.sessionDefaults?.mainSessionKey || "main").catch(complain);
  },
  down(reason) {
    link("wait", `Connecting again${reason ? `: ${reason}` : ""}…`);
    running = null;
    showRun();
  },
  refused(refused) {
    link("off", "Not connected");
    showDoor(...advice(refused));
    $("secret").focus();
  },
  event(name, payload) {
    if (name === "chat") onChat(payload);
    else if (name === "health") { health = payload; showState(); }
    else if (name === "presence") { presence = payload.presence || []; showState(); }
    else if (name === "tick") showState();
    else if (name === "shutdown") link("wait", `The gateway goes down: ${payload.reason}`);
  },
  gap() {
    // Something was lost on the way: what can be asked for again is asked for again.
    loadHistory().catch(complain);
    listSessions().catch(complain);
  },
});

$("door-form").onsubmit = (e) => {
  e.preventDefault();
  gateway.connect($("secret").value.trim());
};
$("say").onsubmit = (e) => {
  e.preventDefault();
  send();
};
$("text").onkeydown = (e) => {
  if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  send();
};
$("stop").onclick = () => {
  const params = { sessionKey: current };
  if (running) params.runId = running.id;
  gateway.call("chat.abort", params).catch(complain);
};
$("fresh").onclick = () => {
  const agent = hello?.snapshot?.sessionDefaults?.defaultAgentId || "main";
  choose(`agent:${agent}:chat-${crypto.randomUUID().slice(0, 8)}`).catch(complain);
};
$("leave").onclick = async () => {
  await forget();
  location.reload();
};

fetch("./__openclaw/control-ui-config.json")
  .then((r) => r.json())
  .then((c) => { assistant = $("name").textContent = c.assistantName || assistant; })
  .catch(() => {});

link("wait", "Connecting…");
if (spurious.length) {
  $("notice").textContent = `The address held ${spurious.join(", ")}: not used. A token is taken from the fragment only (#token=…).`;
  $("notice").hidden = false;
}
gateway.connect(token);
