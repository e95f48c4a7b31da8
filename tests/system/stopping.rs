//! Starting and stopping: nothing lost, nothing half done.

use server::clock::SystemClock;
use server::serve;
use system_tests::load::{self, Behaviour, Outcome, Signal, SpanTemplate};

use crate::harness::{config, serve as with_server};

#[tokio::test]
async fn a_restart_keeps_the_data() {
    with_server(async |server| {
        let template = SpanTemplate::new(500, Behaviour::Healthy, 0);
        for number in 0..4 {
            let outcome = server.send(Signal::Traces, template.request(4, number, load::now_ns(), 0)).await;
            assert_eq!(outcome, Outcome::Acknowledged { rejected: 0 });
        }
        server.restart().await;
        assert_eq!(server.store().health().await.expect("the store answers").traces.rows, 2_000);
        let outcome = server.send(Signal::Traces, template.request(4, 4, load::now_ns(), 0)).await;
        assert_eq!(outcome, Outcome::Acknowledged { rejected: 0 });
        assert_eq!(server.store().health().await.expect("the store answers").traces.rows, 2_500);
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    with_server(async |server| {
        let taken = server.page("").trim_start_matches("http://").to_owned();
        let mut second = config(&server.data().join("second"));
        second.listen.pages = taken.parse().expect("an address");
        let error = match serve::start(second, SystemClock::shared()).await {
            Ok(_) => panic!("it started on a port in use"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(&taken), "{error}");
    })
    .await;
}
