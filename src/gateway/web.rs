//! What the gateway answers over HTTP on its port.

use std::sync::Arc;

use super::Gateway;
use crate::http::response::Response;
use crate::http::serve::{Request, Routes};

/// The routes of one gateway.
pub struct Web<'g> {
    gateway: &'g Arc<Gateway>,
}

impl<'g> Web<'g> {
    pub fn new(gateway: &'g Arc<Gateway>) -> Web<'g> {
        Web { gateway }
    }
}

impl Routes for Web<'_> {
    fn answer(&self, _: &mut Request<'_>) -> Response {
        Response::not_found()
    }

    fn hsts(&self) -> Option<String> {
        let config = self.gateway.config.current();
        let value = config
            .str("gateway.http.securityHeaders.strictTransportSecurity")
            .map(str::trim);
        value.filter(|v| !v.is_empty()).map(str::to_string)
    }
}
