//! The table of inspections: one row each. Data; what it means stands in the parent module.
//!
//! Names are those of the OpenTelemetry semantic conventions and of the common exporters (node, cAdvisor, kube-state,
//! blackbox, the databases'), in the plain form of [`super::names::plain`].

mod databases;
mod network;
mod resources;
mod software;

use super::Inspection;

/// Labels that tell containers apart.
const CONTAINER: &[&str] = &["namespace", "pod", "container", "k8s_pod_name", "k8s_container_name", "id"];
const DISK: &[&str] = &["device", "system_device"];
const FILESYSTEM: &[&str] = &["device", "system_device", "mountpoint", "system_filesystem_mountpoint"];
const PEER: &[&str] = &["destination", "server_address", "actual_destination"];
const POOL: &[&str] = &["pool", "pool_name", "db_client_connection_pool_name", "name"];
const QUEUE: &[&str] =
    &["topic", "consumergroup", "group", "queue", "messaging_destination_name", "partition"];
const DATABASE: &[&str] = &["datname", "database", "db_namespace", "postgresql_database_name"];

/// All inspections, by area.
pub fn table() -> impl Iterator<Item = &'static Inspection> {
    [resources::ROWS, software::ROWS, network::ROWS, databases::ROWS].into_iter().flatten()
}
