//! The six services, one file each: routes and what they do.

pub(crate) mod cart;
pub(crate) mod catalog;
pub(crate) mod checkout;
pub(crate) mod gateway;
pub(crate) mod inventory;
pub(crate) mod payment;

use serde::{Deserialize, Serialize};

/// Products in the shop, numbered from 1.
pub(crate) const PRODUCTS: u64 = 240;
/// Products on a page of the catalog.
pub(crate) const PAGE: u64 = 40;
/// Customers, numbered from 0.
pub(crate) const CUSTOMERS: u64 = 400;

/// What a customer is about to buy. Groceries: a cart has a few dozen lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cart {
    pub customer: u64,
    /// Where the order goes, which decides the tax.
    pub region: String,
    pub lines: Vec<Line>,
}

/// One line of a cart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub product: u64,
    pub quantity: u64,
}

/// What a product costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Price {
    pub product: u64,
    pub cents: u64,
}
