//! Network namespaces: segments that get lost between them, and addresses that are translated on the way.

use std::process::Command;

use super::{Watched, watch};
use crate::programs::{Program, installed, python, start};

/// Two hosts and a router between them, as network namespaces: `10.77.1.2` (client), `10.77.2.2` (server).
struct Network {
    names: [String; 3],
}

const CLIENT: usize = 0;
const ROUTER: usize = 1;
const SERVER: usize = 2;

/// Whether the commands all worked; what went wrong is shown.
fn run(commands: &[String]) -> bool {
    commands.iter().all(|command| {
        let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
        if !output.status.success() {
            eprintln!("{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    })
}

impl Network {
    /// Nothing where the tools, the kernel or the privileges are missing.
    fn new(test: &str) -> Option<Self> {
        installed(&["ip"])?;
        installed(&["nft"])?;
        let names = ["client", "router", "server"]
            .map(|name| format!("inquest-{test}-{name}-{}", std::process::id()));
        let network = Self { names };
        let [client, router, server] = &network.names;
        let mut commands: Vec<String> =
            network.names.iter().map(|name| format!("ip netns add {name}")).collect();
        for (host, subnet) in [(client, 1), (server, 2)] {
            commands.extend([
                format!("ip -n {host} link add eth0 type veth peer name down{subnet} netns {router}"),
                format!("ip -n {host} addr add 10.77.{subnet}.2/24 dev eth0"),
                format!("ip -n {router} addr add 10.77.{subnet}.1/24 dev down{subnet}"),
                format!("ip -n {host} link set lo up"),
                format!("ip -n {host} link set eth0 up"),
                format!("ip -n {router} link set down{subnet} up"),
                format!("ip -n {host} route add default via 10.77.{subnet}.1"),
            ]);
        }
        commands.push(format!("ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1"));
        if run(&commands) {
            return Some(network);
        }
        eprintln!("skipped: network namespaces cannot be made here");
        None
    }

    /// Has the router do what `chains` says, a table of nftables.
    fn route(&self, chains: &str) -> bool {
        let router = &self.names[ROUTER];
        let can = run(&[format!("ip netns exec {router} nft 'table ip test {{ {chains} }}'")]);
        if !can {
            eprintln!("skipped: the kernel here does not do this to packets");
        }
        can
    }

    /// Starts Python on `script` in a namespace, as `service`.
    fn start(&self, host: usize, watched: &Watched<'_>, service: &str, script: &str) -> Program {
        let python = python().expect("Python");
        let arguments = ["netns", "exec", &self.names[host], &python, "-c", script];
        start(watched.folder(), service, "ip", &arguments)
    }

    /// The same to its end; whether it ended well.
    async fn finish(&self, host: usize, watched: &Watched<'_>, service: &str, script: &str) -> bool {
        self.start(host, watched, service, script).child.wait().await.expect("it ends").success()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "delete", name]).output();
        }
    }
}

/// Answers HTTP at 8080 of each address.
const SERVER_SCRIPT: &str = "import http.server\n\
     class Handler(http.server.BaseHTTPRequestHandler):\n    \
         protocol_version = 'HTTP/1.1'\n    \
         def do_POST(self):\n        \
             self.rfile.read(int(self.headers['content-length']))\n        \
             self.send_response(200)\n        \
             self.send_header('content-length', '2')\n        \
             self.end_headers()\n        \
             self.wfile.write(b'ok')\n\
     http.server.ThreadingHTTPServer(('', 8080), Handler).serve_forever()\n";

/// Posts forty times 4 kB over one connection.
fn client(address: &str, port: u16) -> String {
    format!(
        "import http.client, time\n\
         for attempt in range(50):\n    \
             try:\n        \
                 peer = http.client.HTTPConnection('{address}', {port}, timeout=20)\n        \
                 peer.connect()\n        \
                 break\n    \
             except OSError:\n        \
                 time.sleep(0.1)\n\
         for _ in range(40):\n    \
             peer.request('POST', '/orders', body=b'x' * 4000)\n    \
             assert peer.getresponse().read() == b'ok'\n\
         peer.close()\n\
         time.sleep(1)\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_segments_are_sent_again() {
    watch(async |watched| {
        let (Some(network), Some(_)) = (Network::new("loss"), python()) else { return };
        // Every ninth packet to the server is lost, but for those that open connections.
        let chains = "chain lose { type filter hook forward priority 0; \
             ip daddr 10.77.2.2 tcp flags & syn == 0 numgen inc mod 9 == 0 drop; }\n";
        if !network.route(chains) {
            return;
        }
        let _server = network.start(SERVER, watched, "lossy-server", SERVER_SCRIPT);
        assert!(network.finish(CLIENT, watched, "lossy-client", &client("10.77.2.2", 8080)).await);
        let labels = ["service=\"lossy-client\"", "destination=\"lossy-server\""];
        let retransmits = watched.measured("container_net_tcp_retransmits_total", &labels).await;
        // Forty requests of several segments each, every ninth of which is lost at least once.
        assert!((5.0..500.0).contains(&retransmits), "{retransmits}");
        watched.stored("container_net_tcp_retransmits_total", "lossy-client").await;
        watched.edge("lossy-client", "lossy-server").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_true_peer_behind_a_translated_address() {
    // As a virtual address of Kubernetes leads to a pod.
    let chains = "chain to { type nat hook prerouting priority -100; \
         ip daddr 10.96.0.10 tcp dport 80 dnat to 10.77.2.2:8080; }\n";
    watch(async |watched| {
        let (Some(network), Some(_)) = (Network::new("nat"), python()) else { return };
        if !network.route(chains) {
            return;
        }
        let _server = network.start(SERVER, watched, "nat-server", SERVER_SCRIPT);
        assert!(network.finish(CLIENT, watched, "nat-client", &client("10.96.0.10", 80)).await);
        watched.edge("nat-client", "nat-server").await;
        let labels = ["service=\"nat-client\"", "destination=\"nat-server\""];
        for measurement in
            ["container_net_tcp_successful_connects_total", "container_net_tcp_closed_connects_total"]
        {
            assert_eq!(watched.measured(measurement, &labels).await, 1.0, "{measurement}");
        }
        assert_eq!(watched.measured("inquest_request_duration_seconds_count", &labels).await, 40.0);
        watched.stored("container_net_tcp_successful_connects_total", "nat-client").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_true_peer_of_a_client_whose_address_is_translated() {
    // As a container leaves its host, or a pod its node.
    let chains = "chain from { type nat hook postrouting priority 100; ip saddr 10.77.1.2 masquerade; }\n";
    watch(async |watched| {
        let (Some(network), Some(_)) = (Network::new("masquerade"), python()) else { return };
        if !network.route(chains) {
            return;
        }
        let _server = network.start(SERVER, watched, "hidden-server", SERVER_SCRIPT);
        assert!(network.finish(CLIENT, watched, "hidden-client", &client("10.77.2.2", 8080)).await);
        watched.edge("hidden-client", "hidden-server").await;
        let labels = ["service=\"hidden-client\"", "destination=\"hidden-server\""];
        assert_eq!(watched.measured("inquest_request_duration_seconds_count", &labels).await, 40.0);
        let trace = watched.trace("hidden-server", "POST /orders").await;
        assert!(format!("{trace:?}").contains("hidden-client"), "both ends are of one trace: {trace:?}");
    })
    .await;
}
