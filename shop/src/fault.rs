//! The faults the shop can develop, and what is true about each: the answer key of a recording.

use std::fmt;
use std::str::FromStr;

/// A fault, switched on while the shop is running. Each is a real code path, not a made-up measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `catalog` 1.4.1 asks the database for each price on its own.
    NPlusOne,
    /// A stock import in `inventory` holds the database's write lock for long stretches.
    DatabaseLock,
    /// The flag `new-tax-engine` makes `checkout` fail for regions that have no rate.
    FlagError,
    /// The acquirer outside the shop answers slowly.
    SlowDependency,
    /// Far more people browse than `catalog`'s connection pool can serve.
    TrafficSurge,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] =
        [Self::NPlusOne, Self::DatabaseLock, Self::FlagError, Self::SlowDependency, Self::TrafficSurge];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NPlusOne => "n-plus-one",
            Self::DatabaseLock => "database-lock",
            Self::FlagError => "flag-error",
            Self::SlowDependency => "slow-dependency",
            Self::TrafficSurge => "traffic-surge",
        }
    }

    /// What happens, in one line.
    pub const fn description(self) -> &'static str {
        match self {
            Self::NPlusOne => {
                "catalog 1.4.1 reads prices with one query per product and exhausts its connection pool"
            }
            Self::DatabaseLock => {
                "a stock import holds inventory's write lock, so reservations wait and fail"
            }
            Self::FlagError => {
                "the flag new-tax-engine is on, and checkout fails where the new table has no rate"
            }
            Self::SlowDependency => {
                "the acquirer outside the shop takes 1.5 to 3 seconds to authorise a payment"
            }
            Self::TrafficSurge => {
                "six times as many visitors browse as usual and exhaust catalog's connection pool"
            }
        }
    }

    /// The service to blame. For a fault outside the shop, the name the dependency has in the telemetry.
    pub const fn expected_service(self) -> &'static str {
        match self {
            Self::NPlusOne | Self::TrafficSurge => "catalog",
            Self::DatabaseLock => "inventory",
            Self::FlagError => "checkout",
            Self::SlowDependency => "acquirer",
        }
    }

    /// The mechanism to find, in a few words.
    pub const fn expected_mechanism(self) -> &'static str {
        match self {
            Self::NPlusOne => "deploy of catalog 1.4.1 issues one query per product (N+1)",
            Self::DatabaseLock => "write lock held by the stock import",
            Self::FlagError => "feature flag new-tax-engine turned on in checkout",
            Self::SlowDependency => "slow external dependency",
            Self::TrafficSurge => "traffic surge saturates the connection pool",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The text names no fault.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown fault `{0}`; known are n-plus-one, database-lock, flag-error, slow-dependency and traffic-surge"
)]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Self::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn every_name_reads_back_and_the_error_lists_them() {
        let complaint = "nothing".parse::<Fault>().unwrap_err().to_string();
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse::<Fault>().unwrap(), fault);
            assert!(complaint.contains(fault.name()), "{complaint}");
        }
    }
}
