//! The nearest of remembered incidents.

use storage::Remembered;

use super::{NOON, stores};

#[tokio::test]
async fn the_nearest_incidents_of_the_same_model_are_found() {
    for store in stores().await {
        let features = |incident: u32| vec![format!("in {incident}"), "mechanism down".to_owned()];
        let memory = |model: &str, incident: u32, vector: &[f32]| Remembered {
            model: model.into(),
            incident,
            features: features(incident),
            vector: vector.into(),
        };
        for (incident, vector) in [(1, [1.0, 0.0]), (2, [0.0, 1.0]), (3, [0.8, 0.6]), (4, [1.0, 0.0])] {
            store.memory_put(NOON, &memory("a", incident, &vector)).await.unwrap();
        }
        store.memory_put(NOON, &memory("b", 5, &[1.0, 0.0])).await.unwrap();
        store.memory_put(NOON, &memory("a", 6, &[1.0, 0.0, 0.0])).await.unwrap();
        // A later memory of the same incident takes the place of the earlier.
        let later = NOON.plus(std::time::Duration::from_secs(9));
        store.memory_put(later, &memory("a", 4, &[0.0, -1.0])).await.unwrap();

        let near = store.memory_near("a", 1, &[1.0, 0.0], 2).await.unwrap();
        let found: Vec<(u32, f64)> =
            near.iter().map(|near| (near.incident, (near.distance * 100.0).round())).collect();
        assert_eq!(found, [(3, 20.0), (2, 100.0)]);
        assert_eq!(near[0].features, features(3));
        assert_eq!(store.memory_get("a", 4).await.unwrap(), Some(vec![0.0, -1.0]));
        assert_eq!(store.memory_get("b", 4).await.unwrap(), None);

        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let page = store.memories(all.last(), 2).await.unwrap();
            pages += 1;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        let names: Vec<(&str, u32)> = all.iter().map(|it| (it.model.as_str(), it.incident)).collect();
        assert_eq!(names, [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("a", 6), ("b", 5)]);
        assert_eq!((pages, &all[3]), (4, &memory("a", 4, &[0.0, -1.0])));
        store.close().await.unwrap();
    }
}
