//! Alerts come back as they were stored, and are counted by the hour.

use domain::{Alert, AlertSource, Severity, Window};
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

#[tokio::test]
async fn what_was_held_back_around_an_incident_comes_back_by_fingerprint() {
    for store in stores().await {
        let seen = |service: &str, at, suppressed, incident| SeenAlert {
            alert: alert(service, at, "a"),
            suppressed,
            incident,
        };
        let all = [
            seen("cart", 0, true, 0),
            seen("cart", 60, true, 7),
            seen("cart", 70, false, 7),
            seen("web", 80, true, 7),
            seen("mail", 90, true, 0),
            seen("mail", 95, true, 8),
            seen("cart", 4000, true, 0),
        ];
        store.alerts_append(&all).await.expect("they are stored");
        let window = Window::new(NOON, NOON.plus(seconds(3600)));
        let ask = async |services: &[String], limit| {
            let found = store.alerts_of_incident(7, services, window, limit).await.expect("an answer");
            found
                .into_iter()
                .map(|one| (one.service, one.alerts, one.last - NOON.0, one.of))
                .collect::<Vec<_>>()
        };
        let second = 1_000_000_000;
        let (cart, web) = (("cart".to_owned(), 2, 60 * second, 2), ("web".to_owned(), 1, 80 * second, 2));
        assert_eq!(ask(&["cart".to_owned(), "it's".to_owned()], 10).await, [cart.clone(), web]);
        assert_eq!(ask(&["cart".to_owned()], 1).await, [cart], "cut, and the number of all");
        assert_eq!(ask(&[], 10).await.iter().map(|one| one.1).collect::<Vec<_>>(), [1, 1]);
        finish(store).await;
    }
}
