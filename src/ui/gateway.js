// The connection to the gateway: who this browser is, the handshake, calls, events, coming back.

const PROTOCOL = 3;
const CLIENT = { id: "openclaw-control-ui", mode: "webchat", version: "1", platform: "web" };
const ROLE = "operator";
const SCOPES = ["operator.admin", "operator.approvals", "operator.pairing"];
const CALL_MS = 30_000;
const BACK_MS = [500, 1000, 2000, 5000, 10_000];

export class Refused extends Error {
  constructor(error, closed) {
    super(error?.message || closed || "the gateway closed the connection");
    this.code = error?.details?.code || error?.code || "";
    this.details = error?.details || {};
    this.retryAfterMs = error?.retryAfterMs;
  }
}

const text = new TextEncoder();
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");

// --- What is kept in this browser: a key that cannot be taken out, and the token made for it. Never the shared secret.

function store(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("openclaw", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("device");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const db = opening.result;
      const change = db.transaction("device", mode);
      const asked = work(change.objectStore("device"));
      change.oncomplete = () => { db.close(); resolve(asked.result); };
      change.onerror = () => { db.close(); reject(change.error); };
    };
  });
}
const keep = (name, value) => store("readwrite", (s) => s.put(value, name));
const kept = (name) => store("readonly", (s) => s.get(name));
const drop = (name) => store("readwrite", (s) => s.delete(name));
export const forget = () => store("readwrite", (s) => s.clear());

async function device() {
  if (!globalThis.isSecureContext || !crypto.subtle) throw new Refused({ message: "insecure context", code: "INSECURE" });
  let pair = await kept("key");
  if (!pair) {
    try {
      pair = await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]);
    } catch {
      throw new Refused({ message: "no Ed25519", code: "NO_ED25519" });
    }
    await keep("key", pair);
  }
  const raw = await crypto.subtle.exportKey("raw", pair.publicKey);
  return { pair, publicKey: base64url(raw), id: hex(await crypto.subtle.digest("SHA-256", raw)) };
}

// --- One gateway, over as many sockets as it takes.

export class Gateway {
  constructor(address, hear) {
    this.address = address;
    // hear.up(hello), hear.down(reason), hear.refused(Refused), hear.event(name, payload), hear.gap()
    this.hear = hear;
    this.waiting = new Map();
    this.secret = "";
    this.asPassword = false;
    this.failures = 0;
    this.round = 0;
  }

  // Connects anew, with `secret` when one is given.
  connect(secret) {
    if (secret !== undefined) [this.secret, this.asPassword] = [secret, false];
    clearTimeout(this.timer);
    this.socket?.close();
    this.open(++this.round).catch((e) => this.hear.refused(e instanceof Refused ? e : new Refused({ message: String(e) })));
  }

  async open(round) {
    const me = await device();
    if (round !== this.round) return;
    const socket = (this.socket = new WebSocket(this.address));
    let ready = false;
    let refused = null;
    let seq = null;
    // Frames are handled one by one, in order: nothing here waits.
    socket.onmessage = ({ data }) => {
      if (round !== this.round) return;
      const frame = JSON.parse(data);
      if (frame.type === "event" && frame.event === "connect.challenge") {
        this.introduce(me, frame.payload.nonce).then((connect) => socket.send(JSON.stringify(connect)), () => socket.close());
      } else if (frame.type === "event") {
        if (frame.seq !== undefined) {
          if (seq !== null && frame.seq !== seq + 1) this.hear.gap();
          seq = frame.seq;
        }
        this.hear.event(frame.event, frame.payload);
      } else if (frame.id === "connect" && frame.ok) {
        ready = true;
        this.failures = 0;
        // Without it the page asks for the secret again next time; that is all.
        if (frame.payload.auth?.deviceToken) keep("token", frame.payload.auth.deviceToken).catch(() => {});
        this.hear.up(frame.payload);
      } else if (frame.id === "connect") {
        refused = new Refused(frame.error);
      } else {
        const waiting = this.waiting.get(frame.id);
        this.waiting.delete(frame.id);
        clearTimeout(waiting?.timer);
        if (frame.ok) waiting?.resolve(frame.payload);
        else waiting?.reject(new Refused(frame.error));
      }
    };
    socket.onclose = async ({ reason }) => {
      if (round !== this.round) return;
      for (const w of this.waiting.values()) { clearTimeout(w.timer); w.reject(new Refused(null, "the connection broke")); }
      this.waiting.clear();
      if (refused) return this.turnedAway(refused);
      this.hear.down(ready ? reason : "the gateway does not answer");
      this.later(BACK_MS[Math.min(this.failures++, BACK_MS.length - 1)]);
    };
  }

  later(ms) {
    this.timer = setTimeout(() => this.connect(), ms);
  }

  async turnedAway(refused) {
    // The gateway says which kind of secret it wants.
    if (refused.code.startsWith("AUTH_PASSWORD") && this.secret && !this.asPassword) {
      this.asPassword = true;
      return this.connect();
    }
    // A token of this browser that is not good any more: without it the refusal says what is missing.
    if (/^AUTH_.*(MISMATCH)$/.test(refused.code) && !this.secret && (await kept("token"))) {
      await drop("token");
      return this.connect();
    }
    this.hear.refused(refused);
    if (refused.code === "PAIRING_REQUIRED") this.later(5000);
  }

  async introduce(me, nonce) {
    const auth = {};
    const token = this.secret ? "" : await kept("token");
    if (this.secret) auth[this.asPassword ? "password" : "token"] = this.secret;
    else if (token) auth.deviceToken = token;
    const signedAt = Date.now();
    const signed = auth.token || auth.deviceToken || "";
    const payload = ["v2", me.id, CLIENT.id, CLIENT.mode, ROLE, SCOPES.join(","), signedAt, signed, nonce].join("|");
    const signature = base64url(await crypto.subtle.sign("Ed25519", me.pair.privateKey, text.encode(payload)));
    return {
      type: "req", id: "connect", method: "connect",
      params: {
        minProtocol: PROTOCOL, maxProtocol: PROTOCOL, client: CLIENT, role: ROLE, scopes: SCOPES, caps: [], auth,
        device: { id: me.id, publicKey: me.publicKey, signature, signedAt, nonce },
        locale: navigator.language,
      },
    };
  }

  call(method, params = {}) {
    return new Promise((resolve, reject) => {
      if (this.socket?.readyState !== WebSocket.OPEN) return reject(new Refused(null, "not connected"));
      const id = crypto.randomUUID();
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Refused(null, `${method} was not answered in time`));
      }, CALL_MS);
      this.waiting.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify({ type: "req", id, method, params }));
    });
  }
}

// The gateway that served this page, and no other: whatever the address bar says.
export const home = () => {
  const { protocol, host } = globalThis.location;
  return `${protocol === "https:" ? "wss" : "ws"}://${host}/`;
};
