//! temp
#[tokio::test]
async fn timing() {
    for d in ["nezha_tt/trainticket-2023-01-29-0843","petshop/petshop-high_traffic-train-issue_0","changerca/changerca-2023-09-22_1","nezha_tt/trainticket-2023-01-29-0852"] {
        let t = std::time::Instant::now();
        let store = storage::Store::scratch().await.unwrap();
        let a = t.elapsed();
        let t = std::time::Instant::now();
        storage::recording::load(&store, std::path::Path::new("/work/shared/data/recordings").join(d).as_path()).await.unwrap();
        let b = t.elapsed();
        let t = std::time::Instant::now();
        store.close().await.unwrap();
        println!("{d} open {a:?} load {b:?} close {:?}", t.elapsed());
    }
}
