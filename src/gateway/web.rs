//! The gateway as the HTTP routes see it.

use std::sync::Arc;

use super::auth::{Presented, Refusal};
use super::client::AuthMethod;
use super::handshake;
use super::listener::Place;
use super::peer::Peer;
use crate::config::Config;
use crate::http::Host;
use crate::http::auth::Verdict;
use crate::http::serve::Request;

/// One HTTP connection's view of its gateway.
pub struct Web<'p> {
    place: &'p Place,
}

impl<'p> Web<'p> {
    pub fn new(place: &'p Place) -> Web<'p> {
        Web { place }
    }

    fn peer(&self, request: &Request<'_>) -> Peer {
        let headers = request.head.headers().to_vec();
        Peer::new(request.peer.remote, headers, &self.config())
    }
}

impl Host for Web<'_> {
    fn config(&self) -> Arc<Config> {
        self.place.gateway.config.current()
    }

    /// The same credential and the same limiter as on the WebSocket. A device token does not open HTTP (HT-01).
    fn judge(&self, request: &Request<'_>, bearer: Option<&str>) -> Verdict {
        let gateway = &self.place.gateway;
        let presented = Presented {
            token: bearer,
            password: bearer,
        };
        let peer = self.peer(request);
        let judged = gateway
            .secrets()
            .judge(&gateway.limiter(), &peer, &presented, Err);
        let verdict = match judged {
            Ok(AuthMethod::None | AuthMethod::TrustedProxy) => Verdict::Ambient,
            Ok(_) => Verdict::Proven,
            Err(Refusal::RateLimited(ms)) => Verdict::Limited(ms),
            Err(_) => Verdict::Refused,
        };
        if judged.is_ok() {
            gateway.connections.authenticated(self.place.number);
        }
        verdict
    }

    fn is_local(&self, request: &Request<'_>) -> bool {
        self.peer(request).local
    }

    fn allows_origin(&self, request: &Request<'_>) -> bool {
        handshake::origin_allowed(&self.place.gateway, &self.peer(request))
    }
}
