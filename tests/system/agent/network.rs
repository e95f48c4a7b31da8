//! Connections and processes that fare badly.

use super::watch;
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
