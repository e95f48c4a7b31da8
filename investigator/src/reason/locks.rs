//! Whether what a place says is that it waits for a lock, word by word: clocks, blocks and locked accounts are none.

use domain::evidence::PatternMove;

use super::analysis::Analysis;
use super::failures::tokens;

const LOCK: [&str; 4] = ["lock", "locked", "locking", "locks"];
/// Words that speak of a lock by themselves.
const DEADLOCK: [&str; 3] = ["deadlock", "deadlocked", "deadlocks"];
/// Words that speak of one beside a word of a database or a lock.
const CONTENDED: [&str; 3] = ["busy", "contended", "contention"];
const DATABASE: [&str; 22] = [
    "database",
    "db",
    "innodb",
    "mariadb",
    "mongo",
    "mongodb",
    "mysql",
    "oracle",
    "postgres",
    "postgresql",
    "psql",
    "relation",
    "row",
    "rows",
    "sql",
    "sqlite",
    "sqlite3",
    "table",
    "transaction",
    "transactions",
    "tuple",
    "tx",
];
const MUTEX: [&str; 6] = ["latch", "monitor", "mutex", "rwlock", "semaphore", "spinlock"];
const WAIT: [&str; 14] = [
    "acquire",
    "acquired",
    "acquiring",
    "await",
    "held",
    "holding",
    "obtain",
    "obtaining",
    "timed",
    "timeout",
    "wait",
    "waited",
    "waiting",
    "waits",
];
/// Severity from which a log line is a complaint: a warning.
const WARN: u8 = 13;

/// Where a lock is that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// In a database.
    Database,
    /// In the process.
    Process,
}

/// The lock that a place complains of. `in_database` tells that its time or failures are in a statement.
pub fn lock(analysis: &Analysis<'_>, place: &str, in_database: bool) -> Option<Lock> {
    let failing = analysis.seen.errors_now.groups.iter().filter(|group| group.service == place);
    let failing = failing.map(|group| format!("{} {}", group.exception, group.message));
    let logged = analysis.patterns.iter().filter(|pattern| {
        pattern.service == place && pattern.severity >= WARN && pattern.movement != PatternMove::Gone
    });
    let found = failing.chain(logged.map(|pattern| pattern.sample.clone()));
    let lock = found.filter_map(|text| speaks_of(&text)).min();
    if in_database { lock.map(|_| Lock::Database) } else { lock }
}

/// The lock that a text speaks of.
fn speaks_of(text: &str) -> Option<Lock> {
    let said = tokens(text);
    let says = |known: &[&str]| known.iter().any(|word| said.contains(*word));
    let (database, process) = (says(&DATABASE), says(&MUTEX));
    let waits = says(&DEADLOCK)
        || says(&LOCK) && (database || process || says(&WAIT))
        || says(&CONTENDED) && (database || process || says(&LOCK));
    waits.then_some(if database { Lock::Database } else { Lock::Process })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{World, load};

    #[test]
    fn a_lock_is_a_word_in_its_place() {
        for text in [
            "clock skew of 3 s beyond the table of rows",
            "blocked by the firewall, waiting",
            "account is locked",
            "request blocked: transaction refused",
            "upstream busy",
            "cpu contention",
        ] {
            assert_eq!(speaks_of(text), None, "{text}");
        }
        for text in [
            "Lock wait timeout exceeded; try restarting transaction",
            "canceling statement: could not obtain lock on row in relation \"stock\"",
            "SQLITE_BUSY: database is locked",
            "org.postgresql.DeadlockDetected in transaction",
        ] {
            assert_eq!(speaks_of(text), Some(Lock::Database), "{text}");
        }
        assert_eq!(speaks_of("waited 3 s to acquire the lock of the price cache"), Some(Lock::Process));
        assert_eq!(speaks_of("mutex contention"), Some(Lock::Process));
    }

    #[test]
    fn only_complaints_count() {
        let check = |severity: u8, expected: Option<Lock>| {
            let world = World::new().requests("shop", load(100, 0, 40.0), load(100, 0, 400.0)).logged(
                "shop",
                severity,
                "acquired the lock of the row after a wait",
                0,
                60,
            );
            assert_eq!(lock(&Analysis::new(&world.0), "shop", false), expected);
        };
        check(9, None);
        check(13, Some(Lock::Database));
    }
}
