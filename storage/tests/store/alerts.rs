//! Alerts come back as they were stored, and are counted by the hour.

use domain::{Alert, AlertSource, Severity};
use storage::alerts::SeenAlert;

use crate::{NOON, finish, seconds, stores};

fn alert(service: &str, at: u64, host: &str) -> Alert {
    Alert {
        source: AlertSource::Alertmanager,
        rule: "Retry'; DROP".into(),
        service: service.into(),
        severity: Severity::Warning,
        host: host.into(),
        version: "1".into(),
        pattern: "retry in <*> ms".into(),
        text: "retry in 17 ms".into(),
        numbers: vec![("Count".into(), "17".into())],
        at: NOON.plus(seconds(at)),
        resolved: false,
        objective: false,
        foreign_id: "f00".into(),
        labels: [("job".to_owned(), "x".to_owned())].into(),
    }
}

#[tokio::test]
async fn alerts_come_back_and_are_counted_by_the_hour() {
    for store in stores().await {
        let seen = |alert: Alert, suppressed, incident| SeenAlert { alert, suppressed, incident };
        let over = Alert { resolved: true, ..alert("cart", 400, "a") };
        let all = [
            seen(alert("cart", 0, "a"), false, 0),
            seen(alert("cart", 60, "a"), true, 7),
            seen(alert("cart", 3600, "b"), true, 0),
            seen(alert("web", 30, ""), false, 0),
            seen(over, false, 0),
        ];
        store.alerts_append(&all).await.expect("they are stored");
        let latest = store.alerts_latest(NOON).await.expect("the latest");
        assert_eq!(latest, [all[2].clone(), all[3].clone()]);
        let of = store.alerts_of(&all[0].alert.fingerprint(), NOON, 2).await.expect("one fingerprint");
        assert_eq!(of, [all[2].clone(), all[4].clone()]);
        let hours = store.alert_hours(NOON).await.expect("hours");
        let shown: Vec<_> = hours
            .iter()
            .filter(|hour| hour.fingerprint == all[0].alert.fingerprint())
            .map(|hour| {
                (
                    hour.hour - NOON.seconds(),
                    hour.host.as_str(),
                    hour.alerts,
                    hour.suppressed,
                    hour.in_incident,
                )
            })
            .collect();
        assert_eq!(shown, [(0, "a", 2, 1, 1), (3600, "b", 1, 1, 0)]);
        finish(store).await;
    }
}
