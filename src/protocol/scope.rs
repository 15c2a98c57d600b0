//! Roles and operator scopes, and what implies what.

use std::fmt;

/// What a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Operator,
    Node,
}

impl Role {
    /// The role of that wire name; `None` for any other word.
    pub fn parse(text: &str) -> Option<Role> {
        match text {
            "operator" => Some(Role::Operator),
            "node" => Some(Role::Node),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Node => "node",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scopes that methods and events ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Admin,
    Read,
    Write,
    Approvals,
    Pairing,
    /// Secrets in `talk.config`; never asked for as a method's scope.
    TalkSecrets,
}

impl Scope {
    pub const ALL: [Scope; 6] = [
        Scope::Admin,
        Scope::Read,
        Scope::Write,
        Scope::Approvals,
        Scope::Pairing,
        Scope::TalkSecrets,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Admin => "operator.admin",
            Scope::Read => "operator.read",
            Scope::Write => "operator.write",
            Scope::Approvals => "operator.approvals",
            Scope::Pairing => "operator.pairing",
            Scope::TalkSecrets => "operator.talk.secrets",
        }
    }

    pub fn parse(text: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A set of scopes as granted, in the order in which it was asked for.
///
/// Unknown words are kept (they are echoed and signed) but open nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    pub fn none() -> Self {
        Scopes(Vec::new())
    }

    pub fn all() -> Self {
        Scopes(Scope::ALL.iter().map(|s| s.as_str().to_string()).collect())
    }

    /// Trims, drops blanks and repetitions.
    pub fn from_words<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Self {
        let mut out: Vec<String> = Vec::new();
        for w in words {
            let w = w.as_ref().trim();
            if !w.is_empty() && !out.iter().any(|o| o == w) {
                out.push(w.to_string());
            }
        }
        Scopes(out)
    }

    /// Whether this set opens `scope`: admin opens everything, write opens read.
    pub fn has(&self, scope: Scope) -> bool {
        let holds = |s: Scope| self.0.iter().any(|w| w == s.as_str());
        holds(Scope::Admin) || holds(scope) || (scope == Scope::Read && holds(Scope::Write))
    }

    /// Whether every scope of `other` is opened by this set, unknown words by equality.
    pub fn covers(&self, other: &Scopes) -> bool {
        other.0.iter().all(|w| match Scope::parse(w) {
            Some(s) => self.has(s),
            None => self.0.contains(w),
        })
    }

    /// This set and `other` together, without repetition.
    #[must_use]
    pub fn union(&self, other: &Scopes) -> Scopes {
        Scopes::from_words(self.0.iter().chain(&other.0))
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Joined by commas, as the device signature has it.
    pub fn joined(&self) -> String {
        self.0.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implications() {
        let admin = Scopes::from_words(["operator.admin"]);
        let write = Scopes::from_words(["operator.write"]);
        let read = Scopes::from_words(["operator.read"]);
        assert!(Scope::ALL.iter().all(|s| admin.has(*s)));
        assert!(write.has(Scope::Read) && !write.has(Scope::Approvals) && !write.has(Scope::Admin));
        assert!(read.has(Scope::Read) && !read.has(Scope::Write));
        assert!(write.covers(&read) && !read.covers(&write) && admin.covers(&write));
        assert!(read.covers(&Scopes::none()));
        assert!(!admin.covers(&Scopes::from_words(["made.up"])));
    }
}
