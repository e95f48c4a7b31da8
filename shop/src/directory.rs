//! Where each service is to be found right now. A new version takes over by replacing the entry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

/// Names and addresses, read at every call.
#[derive(Default)]
pub(crate) struct Directory(RwLock<BTreeMap<&'static str, SocketAddr>>);

impl Directory {
    pub fn set(&self, name: &'static str, address: SocketAddr) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, address);
    }

    pub fn get(&self, name: &str) -> Option<SocketAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}
