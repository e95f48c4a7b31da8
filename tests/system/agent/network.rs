//! Connections and processes that fare badly.

use agent::kernel::{has_trace_point, show_trace_points};

use super::{watch, watch_alone};
use crate::programs::{accepting, finish, free_address, python, start};

#[tokio::test(flavor = "multi_thread")]
async fn failed_connects_resets_and_ends() {
    watch(async |watched| {
        let Some(python) = python() else { return };
        let folder = watched.folder();
        let nobody = free_address().port();
        let port = free_address().port();
        // Resets each connection: it is closed with bytes unread and no time to linger.
        let resetter = format!(
            "import socket, struct\n\
             listener = socket.create_server(('127.0.0.1', {port}))\n\
             while True:\n    \
                 peer, _ = listener.accept()\n    \
                 peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n    \
                 peer.close()\n"
        );
        let client = format!(
            "import socket, sys, time\n\
             for port in [{nobody}, {port}] * 5:\n    \
                 try:\n        \
                     peer = socket.create_connection(('127.0.0.1', port))\n        \
                     peer.recv(10)\n    \
                 except OSError:\n        \
                     pass\n    \
                 time.sleep(0.05)\n\
             time.sleep(1)\n\
             sys.exit(3)\n"
        );
        std::fs::write(folder.join("resetter.py"), resetter).expect("written");
        std::fs::write(folder.join("client.py"), client).expect("written");
        let _resetter = start(folder, "resetter-under-test", &python, &["resetter.py"]);
        accepting(port).await;
        assert!(!finish(folder, "client-under-test", &python, &["client.py"]).await, "it ends with 3");
        let client = "service=\"client-under-test\"";
        let failed = watched.measured("container_net_tcp_failed_connects_total", &[client]).await;
        assert_eq!(failed, 5.0);
        let resets = watched
            .measured("container_net_tcp_resets_total", &[client, "destination=\"resetter-under-test\""])
            .await;
        assert_eq!(resets, 5.0);
        assert_eq!(watched.measured("process_exits_total", &[client, "outcome=\"failed\""]).await, 1.0);
        watched.stored("container_net_tcp_failed_connects_total", "client-under-test").await;
    })
    .await;
}

/// Both ends of 9,000 connections are more than the table of sockets has places for (16,384), so that some share one. Each is used, and
/// every fourth again when all are open.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_which_some_share_a_place_are_told_apart() {
    watch_alone(async |watched| {
        let Some(python) = python() else { return };
        let files = "import resource\n\
                     resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))\n";
        let may_open = std::process::Command::new(&python).args(["-c", files]).output().expect("python runs");
        if !may_open.status.success() {
            eprintln!("skipped: no program may open 16,384 files here (`ulimit -Hn`)");
            return;
        }
        let folder = watched.folder();
        let port = free_address().port();
        let script = format!(
            "{files}import asyncio\n\
             class Answers(asyncio.Protocol):\n    \
                 def connection_made(self, transport):\n        \
                     self.transport = transport\n    \
                 def data_received(self, data):\n        \
                     self.transport.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n\
             async def main():\n    \
                 server = await asyncio.get_running_loop().create_server(Answers, '127.0.0.1', {port})\n    \
                 await server.serve_forever()\n\
             asyncio.run(main())\n"
        );
        std::fs::write(folder.join("server.py"), script).expect("written");
        let script = format!(
            "{files}import socket, time\n\
             def ask(peer):\n    \
                 time.sleep(0.001)\n    \
                 peer.sendall(b'GET /item HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n    \
                 assert peer.recv(4096).endswith(b'ok')\n    \
                 return peer\n\
             peers = [ask(socket.create_connection(('127.0.0.1', {port}))) for _ in range(9000)]\n\
             for peer in peers[::4]:\n    \
                 ask(peer)\n"
        );
        std::fs::write(folder.join("client.py"), script).expect("written");
        let _server = start(folder, "server-of-many", &python, &["server.py"]);
        accepting(port).await;
        assert!(finish(folder, "client-of-many", &python, &["client.py"]).await);
        watched
            .until("every call from both ends", async |it| {
                let edges = it.server.store().service_graph(it.window()).await.expect("the store answers");
                let calls = edges.iter().find(|edge| edge.callee == "server-of-many")?.calls;
                (calls == 11_250).then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_lasts_tells_what_it_moves() {
    moves("plain", "b'x' * 1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_connection_that_lasts_tells_what_it_moves() {
    let _ = show_trace_points();
    if !has_trace_point("sock/sock_send_length") {
        eprintln!("skipped: this kernel does not tell of what is not looked at");
        return;
    }
    moves("encrypted", "b'\\x16\\x03\\x01\\x03\\xe3\\x01\\x00' + b'x' * 993").await;
}

/// Four times a second, what is `written`, 1,000 bytes, to who says nothing.
async fn moves(name: &str, written: &str) {
    let (giver, taker) = (format!("giver-of-{name}"), format!("taker-of-{name}"));
    watch(async |watched| {
        let Some(python) = python() else { return };
        let folder = watched.folder();
        let port = free_address().port();
        let script = format!(
            "import socket\n\
             peer, _ = socket.create_server(('127.0.0.1', {port})).accept()\n\
             while peer.recv(65536):\n    \
                 pass\n"
        );
        std::fs::write(folder.join("taker.py"), script).expect("written");
        let script = format!(
            "import socket, time\n\
             peer = socket.create_connection(('127.0.0.1', {port}))\n\
             while True:\n    \
                 peer.sendall({written})\n    \
                 time.sleep(0.25)\n"
        );
        std::fs::write(folder.join("giver.py"), script).expect("written");
        let _taker = start(folder, &taker, &python, &["taker.py"]);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let _giver = start(folder, &giver, &python, &["giver.py"]);
        let [giver, taker] = [&giver, &taker].map(|it| format!("service=\"{it}\""));
        let sent = watched.measured("container_net_tcp_bytes_sent_total", &[&giver]).await;
        let taken = watched.measured("container_net_tcp_inbound_bytes_received_total", &[&taker]).await;
        assert!(sent >= 20_000.0 && taken >= 20_000.0, "{sent} {taken}");
        // A part each time, not the whole again: four thousand bytes a second, whenever it is looked.
        let began = watched.since;
        let more = watched.until("more bytes", async |it| {
            let page = it.page().await?;
            let line = page.lines().find(|line| {
                line.starts_with("container_net_tcp_bytes_sent_total{") && line.contains(&giver)
            })?;
            let now: f64 = line.rsplit(' ').next()?.parse().ok()?;
            (now > sent).then_some(now)
        });
        let more = more.await;
        let seconds = crate::harness::now().seconds_since(began);
        assert!(more <= seconds * 4_000.0, "{more} in {seconds} s");
        assert!(watched.page().await.is_some_and(|page| page.lines().any(|line| {
            line.starts_with("container_net_tcp_closed_connects_total{")
                && line.contains(&giver)
                && line.ends_with(" 0")
        })));
        watched.measured("container_net_round_trip_seconds_count", &[&giver]).await;
    })
    .await;
}
