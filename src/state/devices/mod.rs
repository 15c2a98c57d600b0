//! Devices: who asks to be paired, who was, and the tokens that they hold.
//!
//! Two files in the reference's format, `devices/pending.json` and `devices/paired.json`. The rules that
//! must hold whoever calls are kept here: a pending request never changes under the eyes of its approver
//! (HS-03), nobody approves or rotates more than it holds, a device cannot revive what was revoked (HS-09),
//! and what a node may be asked to do is what was approved, not what it declares today (HS-06).

mod record;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::Paths;
use super::table::Table;
use crate::protocol::{Role, Scopes};
use crate::sys::{clock, id, secret};
use record::{Pending, paired_view, without_secrets, words};

/// Life of a pending request in milliseconds.
const PENDING_TTL_MS: u64 = 5 * 60_000;
/// Pending requests that are kept; the oldest gives way.
const MAX_PENDING: usize = 64;
/// Random bytes of a device token.
const TOKEN_BYTES: usize = 32;

/// What a device that connects asks for.
pub struct Ask<'a> {
    /// Hex SHA-256 of the raw key; proven by a signature.
    pub device_id: &'a str,
    /// Raw Ed25519 key in base64url.
    pub public_key: &'a str,
    pub role: Role,
    pub scopes: &'a Scopes,
    /// `connect.client`: id, mode, platform, displayName, …
    pub info: &'a Map<String, Value>,
    /// Commands that a node declares.
    pub commands: &'a [String],
    /// Where it comes from, unless from this machine.
    pub remote_ip: Option<String>,
}

/// How [`Store::ask`] was answered.
#[derive(Debug)]
pub enum Asked {
    Paired {
        /// The commands of the declared ones that were approved.
        commands: Vec<String>,
        /// A new request, for more commands, that is to be announced.
        announce: Option<Value>,
    },
    /// A first pairing from this machine.
    ApprovedSilently { request_id: String },
    /// A person has to approve.
    Pending {
        /// The request as the wire shows it.
        request: Value,
        /// Whether it is new and to be announced.
        created: bool,
        /// `not-paired`, `role-upgrade` or `scope-upgrade`.
        reason: &'static str,
    },
}

/// Whether a device token opens the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCheck {
    Good,
    Bad,
}

/// Who approves, rotates or revokes.
pub struct Actor<'a> {
    pub device_id: Option<&'a str>,
    pub scopes: &'a Scopes,
}

/// A token that was made anew.
pub struct Rotated {
    pub token: String,
    pub scopes: Vec<String>,
    pub rotated_at_ms: u64,
}

/// Why a change was refused or failed.
#[derive(Debug)]
pub enum Error {
    UnknownRequest,
    /// No such device, no such role, or scopes that were never approved for it.
    UnknownDeviceOrRole,
    /// The actor asks for more than it holds.
    BeyondActor,
    /// A device decides about itself.
    OwnDevice,
    Io(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownRequest => f.write_str("unknown requestId"),
            Error::UnknownDeviceOrRole => f.write_str("unknown deviceId/role"),
            Error::BeyondActor => f.write_str("the request asks for more scopes than you hold"),
            Error::OwnDevice => f.write_str("a device cannot decide about itself; use another one"),
            Error::Io(e) => write!(f, "device store: {e}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::Io(e)
    }
}

/// The two files. One lock, held while they are read or replaced.
pub struct Store(Mutex<State>);

struct State {
    pending: Table,
    paired: Table,
}

impl Store {
    /// The store below the state directory of `paths`. Nothing is read before it is needed.
    pub fn new(paths: Paths) -> Store {
        Store(Mutex::new(State {
            pending: Table::new(paths.devices_pending()),
            paired: Table::new(paths.devices_paired()),
        }))
    }

    /// Looks whether a proven device may have what it asks for, and asks for approval if not.
    ///
    /// `local` allows a first pairing without approval; an upgrade always waits for a person (HS-02).
    pub fn ask(&self, ask: &Ask<'_>, local: bool) -> Result<Asked, Error> {
        let mut s = self.lock()?;
        let now = clock::now_ms();
        let reason = match s.paired.rows.get(ask.device_id) {
            None => "not-paired",
            Some(device) => match record::missing(device, ask) {
                Some(reason) => reason,
                None => return self.known(&mut s, ask, now),
            },
        };
        let fresh = !s.paired.rows.contains_key(ask.device_id);
        if local && fresh {
            let request_id = id::uuid();
            let request = Pending::new(&request_id, ask, true, false, now);
            s.paired.rows.insert(
                ask.device_id.into(),
                record::approve(None, request.value(), now),
            );
            self.save_paired(&mut s)?;
            return Ok(Asked::ApprovedSilently { request_id });
        }
        let (request, created) = self.pend(&mut s, ask, !fresh, now)?;
        Ok(Asked::Pending {
            request,
            created,
            reason,
        })
    }

    /// Notes that a paired device is here again, and what of its commands is approved.
    fn known(&self, s: &mut State, ask: &Ask<'_>, now: u64) -> Result<Asked, Error> {
        let Some(device) = s.paired.rows.get_mut(ask.device_id) else {
            return Err(Error::UnknownDeviceOrRole);
        };
        let changed = record::touch(device, ask);
        let approved = device.get("commands").map(|c| words(Some(c)));
        if changed {
            self.save_paired(s)?;
        }
        let Some(approved) = approved.filter(|_| ask.role == Role::Node) else {
            return Ok(Asked::Paired {
                commands: ask.commands.to_vec(),
                announce: None,
            });
        };
        let commands: Vec<_> = ask
            .commands
            .iter()
            .filter(|c| approved.contains(c))
            .cloned()
            .collect();
        let more = ask.commands.iter().any(|c| !approved.contains(c));
        let announce = match more {
            true => Some(self.pend(s, ask, true, now)?)
                .filter(|(_, created)| *created)
                .map(|(r, _)| r),
            false => None,
        };
        Ok(Asked::Paired { commands, announce })
    }

    /// The pending request for `ask`: the one that waits already when it asks for the same.
    fn pend(
        &self,
        s: &mut State,
        ask: &Ask<'_>,
        repair: bool,
        now: u64,
    ) -> Result<(Value, bool), Error> {
        s.pending
            .rows
            .retain(|_, r| now.saturating_sub(r["ts"].as_u64().unwrap_or(0)) <= PENDING_TTL_MS);
        let same = s
            .pending
            .rows
            .values()
            .find(|r| record::same_request(r, ask));
        if let Some(r) = same {
            return Ok((r.clone(), false));
        }
        // Another request of the same device and role is superseded, never altered.
        s.pending
            .rows
            .retain(|_, r| r["deviceId"] != ask.device_id || r["role"] != ask.role.as_str());
        while s.pending.rows.len() >= MAX_PENDING {
            let oldest = s
                .pending
                .rows
                .iter()
                .min_by_key(|(_, r)| r["ts"].as_u64())
                .map(|(k, _)| k.clone());
            oldest.and_then(|k| s.pending.rows.remove(&k));
        }
        let request_id = id::uuid();
        let request = Pending::new(&request_id, ask, false, repair, now);
        let view = request.value().clone();
        s.pending.rows.insert(request_id, request.into_value());
        s.pending.save()?;
        Ok((view, true))
    }

    /// Approves a request; gives the device as the wire shows it.
    pub fn approve(&self, request_id: &str, actor: &Actor<'_>) -> Result<Value, Error> {
        let mut s = self.lock()?;
        let request = self.waiting(&s, request_id)?;
        let device_id = request["deviceId"].as_str().unwrap_or("").to_string();
        if actor.device_id == Some(device_id.as_str()) {
            return Err(Error::OwnDevice);
        }
        if !actor
            .scopes
            .covers(&Scopes::from_words(words(request.get("scopes"))))
        {
            return Err(Error::BeyondActor);
        }
        let approved = record::approve(s.paired.rows.get(&device_id), &request, clock::now_ms());
        let view = paired_view(&approved);
        s.paired.rows.insert(device_id, approved);
        self.save_paired(&mut s)?;
        s.pending.rows.remove(request_id);
        s.pending.save()?;
        Ok(view)
    }

    /// Forgets a request; gives the device's id.
    pub fn reject(&self, request_id: &str) -> Result<String, Error> {
        let mut s = self.lock()?;
        let request = self.waiting(&s, request_id)?;
        s.pending.rows.remove(request_id);
        s.pending.save()?;
        Ok(request["deviceId"].as_str().unwrap_or("").to_string())
    }

    /// Forgets a paired device with all its tokens. False when there is none.
    pub fn remove(&self, device_id: &str) -> Result<bool, Error> {
        let mut s = self.lock()?;
        if s.paired.rows.remove(device_id).is_none() {
            return Ok(false);
        }
        self.save_paired(&mut s)?;
        Ok(true)
    }

    /// Whether `token` is the device's token for `role` and covers `scopes`.
    pub fn verify_token(
        &self,
        device_id: &str,
        role: Role,
        scopes: &Scopes,
        token: &str,
    ) -> TokenCheck {
        let Ok(mut s) = self.lock() else {
            return TokenCheck::Bad;
        };
        let Some(entry) = record::token_of_mut(s.paired.rows.get_mut(device_id), role) else {
            return TokenCheck::Bad;
        };
        let held = Scopes::from_words(words(entry.get("scopes")));
        let live = entry.get("revokedAtMs").is_none_or(Value::is_null);
        let same = secret::same(token, entry["token"].as_str().unwrap_or(""));
        if !(same && live && !token.is_empty() && held.covers(scopes)) {
            return TokenCheck::Bad;
        }
        entry["lastUsedAtMs"] = json!(clock::now_ms());
        // When it was last used is worth no failure.
        let _ = self.save_paired(&mut s);
        TokenCheck::Good
    }

    /// `hello-ok.auth` for a paired device: its live token when that covers `scopes`, else a new one.
    ///
    /// `None` when the device holds no such role, or its token was revoked.
    pub fn issue(
        &self,
        device_id: &str,
        role: Role,
        scopes: &Scopes,
    ) -> Result<Option<Value>, Error> {
        let mut s = self.lock()?;
        let now = clock::now_ms();
        let Some(device) = s.paired.rows.get_mut(device_id) else {
            return Ok(None);
        };
        if !record::allows(device, role, scopes) {
            return Ok(None);
        }
        let held = device["tokens"].get(role.as_str());
        let covers = |t: &&Value| Scopes::from_words(words(t.get("scopes"))).covers(scopes);
        if let Some(t) = held.filter(covers) {
            return Ok(Some(record::hello_auth(t)));
        }
        let token = record::new_token(role, scopes.words(), held, now);
        let auth = record::hello_auth(&token);
        record::set_token(device, role, token);
        self.save_paired(&mut s)?;
        Ok(Some(auth))
    }

    /// Makes a new token for a role that the device holds. The old one is void at once.
    ///
    /// `scopes` defaults to those of the old token, and has to stay within what was approved and what the
    /// actor holds.
    pub fn rotate(
        &self,
        device_id: &str,
        role: Role,
        scopes: Option<&Scopes>,
        actor: &Actor<'_>,
    ) -> Result<Rotated, Error> {
        let mut s = self.lock()?;
        let device = s
            .paired
            .rows
            .get_mut(device_id)
            .ok_or(Error::UnknownDeviceOrRole)?;
        let held = device["tokens"]
            .get(role.as_str())
            .cloned()
            .ok_or(Error::UnknownDeviceOrRole)?;
        let revoked = held.get("revokedAtMs").is_some_and(|v| !v.is_null());
        if revoked && actor.device_id == Some(device_id) {
            return Err(Error::UnknownDeviceOrRole);
        }
        let scopes = scopes
            .cloned()
            .unwrap_or_else(|| Scopes::from_words(words(held.get("scopes"))));
        if !record::approved_scopes(device).covers(&scopes) {
            return Err(Error::UnknownDeviceOrRole);
        }
        if !actor.scopes.covers(&scopes) {
            return Err(Error::BeyondActor);
        }
        let now = clock::now_ms();
        let mut token = record::new_token(role, scopes.words(), Some(&held), now);
        token["rotatedAtMs"] = json!(now);
        let value = token["token"].as_str().unwrap_or("").to_string();
        record::set_token(device, role, token);
        self.save_paired(&mut s)?;
        Ok(Rotated {
            token: value,
            scopes: scopes.words().to_vec(),
            rotated_at_ms: now,
        })
    }

    /// Voids the device's token for `role`; gives the time.
    pub fn revoke(&self, device_id: &str, role: Role) -> Result<u64, Error> {
        let mut s = self.lock()?;
        let entry = record::token_of_mut(s.paired.rows.get_mut(device_id), role);
        let entry = entry.ok_or(Error::UnknownDeviceOrRole)?;
        let now = clock::now_ms();
        entry["revokedAtMs"] = json!(now);
        self.save_paired(&mut s)?;
        Ok(now)
    }

    /// `{pending, paired}` as the wire shows it: newest first, without token values.
    pub fn list(&self) -> Result<Value, Error> {
        let s = self.lock()?;
        let now = clock::now_ms();
        let mut pending: Vec<_> = s
            .pending
            .rows
            .values()
            .filter(|r| now.saturating_sub(r["ts"].as_u64().unwrap_or(0)) <= PENDING_TTL_MS)
            .map(record::request_view)
            .collect();
        pending.sort_by_key(|r| std::cmp::Reverse(r["ts"].as_u64()));
        let mut paired: Vec<_> = s.paired.rows.values().map(paired_view).collect();
        paired.sort_by_key(|d| std::cmp::Reverse(d["approvedAtMs"].as_u64()));
        Ok(json!({"pending": pending, "paired": paired}))
    }

    /// A pending request as it was asked, scopes and roles included.
    pub fn pending(&self, request_id: &str) -> Result<Value, Error> {
        let s = self.lock()?;
        self.waiting(&s, request_id)
    }

    /// A paired device without token values; `commands` are those that were approved.
    pub fn get(&self, device_id: &str) -> Result<Option<Value>, Error> {
        Ok(self.lock()?.paired.rows.get(device_id).map(without_secrets))
    }

    /// Every paired device, as [`Store::get`] gives it.
    pub fn paired(&self) -> Result<Vec<Value>, Error> {
        Ok(self
            .lock()?
            .paired
            .rows
            .values()
            .map(without_secrets)
            .collect())
    }

    fn waiting(&self, s: &State, request_id: &str) -> Result<Value, Error> {
        let r = s
            .pending
            .rows
            .get(request_id)
            .ok_or(Error::UnknownRequest)?;
        let age = clock::now_ms().saturating_sub(r["ts"].as_u64().unwrap_or(0));
        if age > PENDING_TTL_MS {
            Err(Error::UnknownRequest)
        } else {
            Ok(r.clone())
        }
    }

    fn save_paired(&self, s: &mut State) -> Result<(), Error> {
        Ok(s.paired.save()?)
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        s.pending.refresh()?;
        s.paired.refresh()?;
        Ok(s)
    }
}

/// A fresh token value: 256 random bits in base64url.
fn token_value() -> String {
    id::b64url(&id::random::<TOKEN_BYTES>())
}

#[cfg(test)]
mod tests;
