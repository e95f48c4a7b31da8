//! Real servers of many protocols, asked by their own clients.

use std::path::Path;

use agent::kernel::{has_trace_point, show_trace_points};

use super::watch;
use crate::programs::{accepting, finish, free_address, installed, python, start};

/// Measured at the client and at the server, whatever the protocol.
pub(super) async fn both_ends(watched: &super::Watched<'_>, protocol: &str, client: &str, server: &str) {
    let protocol = format!("protocol=\"{protocol}\"");
    let client_labels =
        [format!("service=\"{client}\""), format!("destination=\"{server}\""), protocol.clone()];
    let labels: Vec<&str> = client_labels.iter().map(String::as_str).collect();
    watched.measured("inquest_request_duration_seconds_count", &labels).await;
    let server_label = format!("service=\"{server}\"");
    watched.measured("inquest_inbound_request_duration_seconds_count", &[&server_label, &protocol]).await;
    watched.edge(client, server).await;
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let (Some(server), Some(client)) = (installed(&["redis-server"]), installed(&["redis-cli"])) else {
        return;
    };
    watch(async |watched| {
        let port = free_address().port().to_string();
        // It overwrites its environment with a title: it is known by its own name.
        let _server = start(watched.folder(), "", text(&server), &["--port", &port, "--save", ""]);
        accepting(port.parse().expect("a port")).await;
        for _ in 0..3 {
            finish(watched.folder(), "", text(&client), &["-p", &port, "SET", "secret-key", "secret-value"])
                .await;
            finish(watched.folder(), "", text(&client), &["-p", &port, "INCR", "secret-key"]).await;
        }
        both_ends(watched, "redis", "redis-cli", "redis-server").await;
        let trace = watched.trace("redis-server", "INCR").await;
        assert!(trace.iter().any(|span| span.status == "Error"), "a value is no number: {trace:?}");
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memcached() {
    let (Some(server), Some(python)) = (installed(&["memcached"]), python()) else { return };
    watch(async |watched| {
        let port = free_address().port().to_string();
        let _server =
            start(watched.folder(), "memcached-under-test", text(&server), &["-u", "root", "-p", &port]);
        accepting(port.parse().expect("a port")).await;
        let script = format!(
            "import socket, time\n\
             peer = socket.create_connection(('127.0.0.1', {port}))\n\
             for _ in range(5):\n    \
                 peer.sendall(b'set secret 0 0 5\\r\\nvalue\\r\\n'); peer.recv(100)\n    \
                 peer.sendall(b'get secret\\r\\n'); peer.recv(100)\n\
             time.sleep(1)\n"
        );
        assert!(finish(watched.folder(), "cache-client", &python, &["-c", &script]).await);
        both_ends(watched, "memcached", "cache-client", "memcached-under-test").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let (Some(initdb), Some(server), Some(client)) =
        (installed(&["initdb"]), installed(&["postgres"]), installed(&["psql"]))
    else {
        return;
    };
    watch(async |watched| {
        let folder = watched.folder();
        let data = folder.join("pg");
        std::fs::create_dir(&data).expect("a folder");
        // PostgreSQL does not run as root.
        for path in [folder, &data] {
            assert!(finish(folder, "", "chown", &["nobody", text(path)]).await);
        }
        let init = format!("{} -D {} -A trust -U test", text(&initdb), text(&data));
        if !finish(folder, "", "setpriv", &["--reuid=nobody", "--clear-groups", "sh", "-c", &init]).await {
            eprintln!("skipped: PostgreSQL cannot be set up here");
            return;
        }
        let port = free_address().port().to_string();
        let arguments = [
            "--reuid=nobody",
            "--clear-groups",
            text(&server),
            "-D",
            text(&data),
            "-p",
            &port,
            "-k",
            text(&data),
            "-h",
            "127.0.0.1",
        ];
        let _server = start(folder, "", "setpriv", &arguments);
        accepting(port.parse().expect("a port")).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let ask = async |sql: &str| {
            let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", "test", "-d", "postgres", "-c", sql];
            finish(folder, "", text(&client), &arguments).await
        };
        assert!(ask("CREATE TABLE orders (id int, card text)").await);
        for _ in 0..3 {
            assert!(ask("INSERT INTO orders VALUES (7, 'secret-card')").await);
            assert!(ask("SELECT * FROM orders WHERE card = 'secret-card'").await);
            ask("SELECT * FROM missing").await;
        }
        both_ends(watched, "postgresql", "psql", "postgres").await;
        // Its process ends with the connection: one that the agent meets too late to name is not counted as a failure here.
        let ask = async || {
            ask("SELECT * FROM missing").await;
        };
        let trace = watched.trace_of_asking("postgres", "SELECT missing", ask).await;
        assert!(trace.iter().any(|span| span.status == "Error"), "{trace:?}");
        let trace = watched.trace("psql", "INSERT orders").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dns() {
    let Some(python) = python() else { return };
    watch(async |watched| {
        // A datagram to nobody in particular: a question that is answered by this script itself, with "the server failed".
        let script = "import socket, time\n\
             server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             server.bind(('127.0.0.53', 53))\n\
             client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             client.connect(('127.0.0.53', 53))\n\
             question = b'\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x04name\\x04test\\x00\\x00\\x01\\x00\\x01'\n\
             for _ in range(5):\n    \
                 client.send(question)\n    \
                 asked, peer = server.recvfrom(512)\n    \
                 server.sendto(asked[:2] + b'\\x81\\x82' + asked[4:], peer)\n    \
                 client.recv(512)\n\
             time.sleep(1)\n";
        if !finish(watched.folder(), "dns-client", &python, &["-c", script]).await {
            eprintln!("skipped: port 53 is taken");
            return;
        }
        watched
            .measured(
                "inquest_request_duration_seconds_count",
                &["service=\"dns-client\"", "protocol=\"dns\"", "outcome=\"failed\""],
            )
            .await;
        watched.stored("inquest_request_duration_seconds_count", "dns-client").await;
        show_trace_points().expect("root");
        if !has_trace_point("sock/sock_send_length") {
            eprintln!("skipped: of several messages in one call, this kernel tells of the first only");
            return;
        }
        // As the C library asks: two questions in one call, of which the second is answered well.
        let script = "import ctypes, socket, time\n\
             class Vector(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('length', ctypes.c_size_t)]\n\
             class Header(ctypes.Structure): _fields_ = [('name', ctypes.c_void_p), ('name_length', ctypes.c_uint), \
             ('vectors', ctypes.POINTER(Vector)), ('count', ctypes.c_size_t), ('control', ctypes.c_void_p), \
             ('control_length', ctypes.c_size_t), ('flags', ctypes.c_int)]\n\
             class Message(ctypes.Structure): _fields_ = [('header', Header), ('length', ctypes.c_uint)]\n\
             server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             server.bind(('127.0.0.53', 53))\n\
             client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             client.connect(('127.0.0.53', 53))\n\
             ask = lambda id, kind: id + b'\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x04name\\x04test\\x00\\x00' + kind + b'\\x00\\x01'\n\
             questions = [ask(b'\\x11\\x11', b'\\x01'), ask(b'\\x22\\x22', b'\\x1c')]\n\
             vectors = [Vector(it, len(it)) for it in questions]\n\
             messages = (Message * 2)(*[Message(Header(vectors=ctypes.pointer(it), count=1)) for it in vectors])\n\
             for _ in range(5):\n    \
                 assert ctypes.CDLL(None).sendmmsg(client.fileno(), messages, 2, 0) == 2\n    \
                 for _ in range(2):\n        \
                     asked, peer = server.recvfrom(512)\n        \
                     server.sendto(asked[:2] + (b'\\x81\\x82' if asked[0] == 0x11 else b'\\x81\\x80') + asked[4:], peer)\n        \
                     client.recv(512)\n\
             time.sleep(1)\n";
        assert!(finish(watched.folder(), "dns-resolver", &python, &["-c", script]).await);
        for outcome in ["outcome=\"failed\"", "outcome=\"ok\""] {
            let labels = ["service=\"dns-resolver\"", "protocol=\"dns\"", outcome];
            watched.measured("inquest_request_duration_seconds_count", &labels).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    let (Some(server), Some(install), Some(client)) =
        (installed(&["mariadbd"]), installed(&["mariadb-install-db"]), installed(&["mariadb"]))
    else {
        return;
    };
    watch(async |watched| {
        let folder = watched.folder();
        let data = format!("--datadir={}", folder.join("maria").display());
        if !finish(folder, "", text(&install), &["--no-defaults", "--user=root", &data, "--skip-test-db"])
            .await
        {
            eprintln!("skipped: MariaDB cannot be set up here");
            return;
        }
        let port = free_address().port();
        let (port_option, socket) =
            (format!("--port={port}"), format!("--socket={}", folder.join("s").display()));
        let _server = start(
            folder,
            "mariadb-under-test",
            text(&server),
            &[
                "--no-defaults",
                "--user=root",
                &data,
                &port_option,
                &socket,
                "--skip-grant-tables",
                "--bind-address=127.0.0.1",
                "--skip-networking=0",
            ],
        );
        accepting(port).await;
        for _ in 0..3 {
            let ask = [
                "--no-defaults",
                "-h127.0.0.1",
                &port_option,
                "--skip-ssl",
                "-e",
                "SELECT 'secret' FROM mysql.user LIMIT 1",
            ];
            finish(folder, "", text(&client), &ask).await;
        }
        both_ends(watched, "mysql", "mariadb", "mariadb-under-test").await;
        let trace = watched.trace("mariadb-under-test", "SELECT mysql.user").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
    })
    .await;
}
