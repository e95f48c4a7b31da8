//! Who sent it: the part of a request that all its rows share.

use std::sync::Arc;

use domain::Attributes;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1;

use super::Converter;
use crate::repeated::attribute_bytes;

/// What the specification calls a service that does not say its name.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What names one instance of a service, best first.
const INSTANCE_KEYS: [&str; 3] = ["service.instance.id", "k8s.pod.name", "host.name"];

/// Attributes that must survive the bound on their number: those above, and those that show a new version.
const ESSENTIAL_KEYS: [&str; 6] = [
    "service.name",
    "service.version",
    INSTANCE_KEYS[0],
    INSTANCE_KEYS[1],
    INSTANCE_KEYS[2],
    "container.image.tag",
];

/// A resource, ready to be shared.
pub(super) struct Resource {
    /// `service.name`.
    pub(super) service: String,
    /// The instance, or empty.
    pub(super) instance: String,
    /// All attributes.
    pub(super) attributes: Arc<Attributes>,
    /// What each row repeats of it.
    pub(super) bytes: usize,
}

impl Converter<'_> {
    pub(super) fn resource(&mut self, resource: Option<v1::Resource>) -> Resource {
        let mut list = resource.unwrap_or_default().attributes;
        if list.len() > self.limits.max_attributes {
            // Stable: the rest keep the order in which they were sent.
            list.sort_by_key(|attribute| !is_essential(attribute));
        }
        let attributes = self.attributes(list);
        let text = |key: &str| attributes.get(key).filter(|text| !text.is_empty()).cloned();
        let service = text("service.name").unwrap_or_else(|| UNKNOWN_SERVICE.into());
        let instance = INSTANCE_KEYS.into_iter().find_map(text).unwrap_or_default();
        let service = self.name(service);
        Resource {
            bytes: service.len() + attribute_bytes(&attributes),
            service,
            instance: self.name(instance),
            attributes: Arc::new(attributes),
        }
    }
}

fn is_essential(attribute: &KeyValue) -> bool {
    ESSENTIAL_KEYS.contains(&attribute.key.as_str())
}
