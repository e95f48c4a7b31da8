//! The nearest of remembered incidents.

use super::{NOON, stores};

#[tokio::test]
async fn the_nearest_incidents_of_the_same_model_are_found() {
    for store in stores().await {
        let features = |name: &str| vec![format!("in {name}"), "mechanism down".to_owned()];
        for (incident, vector) in [(1, [1.0, 0.0]), (2, [0.0, 1.0]), (3, [0.8, 0.6]), (4, [1.0, 0.0])] {
            store.memory_put("a", incident, NOON, &features(&incident.to_string()), &vector).await.unwrap();
        }
        store.memory_put("b", 5, NOON, &[], &[1.0, 0.0]).await.unwrap();
        store.memory_put("a", 6, NOON, &[], &[1.0, 0.0, 0.0]).await.unwrap();
        // A later memory of the same incident takes the place of the earlier.
        store
            .memory_put("a", 4, NOON.plus(std::time::Duration::from_secs(9)), &features("4"), &[0.0, -1.0])
            .await
            .unwrap();

        let near = store.memory_near("a", 1, &[1.0, 0.0], 2).await.unwrap();
        let found: Vec<(u32, f64)> =
            near.iter().map(|near| (near.incident, (near.distance * 100.0).round())).collect();
        assert_eq!(found, [(3, 20.0), (2, 100.0)]);
        assert_eq!(near[0].features, features("3"));
        assert_eq!(store.memory_get("a", 4).await.unwrap(), Some(vec![0.0, -1.0]));
        assert_eq!(store.memory_get("b", 4).await.unwrap(), None);
        store.close().await.unwrap();
    }
}
