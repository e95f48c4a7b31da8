//! Brokers and document stores: real servers, asked by real clients.

use std::path::Path;

use super::databases::{both_ends, text};
use super::watch;
use crate::programs::{
    Program, accepting, fetched, finish, free_address, installed, python, start, start_with,
};

/// Runs a script of Python with a client library, as a service.
pub(super) async fn script(
    folder: &Path,
    python: &str,
    libraries: &Path,
    service: &str,
    script: &str,
) -> bool {
    let script = format!("import sys\nsys.path.insert(0, {:?})\n{script}", text(libraries));
    finish(folder, service, python, &["-c", &script]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nats() {
    let (Some(server), Some(python), Some(libraries)) =
        (installed(&["nats-server"]), python(), fetched("python", "nats"))
    else {
        return;
    };
    watch(async |watched| {
        let port = free_address().port();
        let _server = start(
            watched.folder(),
            "nats-under-test",
            text(&server),
            &["-a", "127.0.0.1", "-p", &port.to_string()],
        );
        accepting(port).await;
        let client = format!(
            "import asyncio, nats\n\
             async def main():\n    \
                 peer = await nats.connect('nats://127.0.0.1:{port}')\n    \
                 async def answer(message):\n        \
                     await message.respond(b'secret-value')\n    \
                 await peer.subscribe('orders.price', cb=answer)\n    \
                 await peer.flush()\n    \
                 for _ in range(10):\n        \
                     await peer.request('orders.price', b'secret-value', timeout=5)\n        \
                     await peer.publish('orders.placed', b'secret-value')\n    \
                 await peer.drain()\n\
             asyncio.run(main())\n"
        );
        assert!(script(watched.folder(), &python, &libraries, "nats-client", &client).await);
        both_ends(watched, "nats", "nats-client", "nats-under-test").await;
        let trace = watched.trace_like("nats-under-test", "orders.placed").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq() {
    let (Some(server), Some(python), Some(libraries)) =
        (installed(&["rabbitmq-server"]), python(), fetched("python", "pika"))
    else {
        return;
    };
    if installed(&["epmd"]).is_none() {
        return;
    }
    // Debian's script changes to another user; the one behind it runs as whoever starts it.
    let inner = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    let server = if inner.exists() { inner.to_owned() } else { server };
    watch(async |watched| {
        let folder = watched.folder();
        let (port, distribution, names) = (free_address().port(), free_address().port(), free_address().port());
        let node = format!("test{port}@localhost");
        let variables = [
            ("HOME", text(folder).to_owned()),
            ("RABBITMQ_NODENAME", node),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("ERL_EPMD_PORT", names.to_string()),
            ("RABBITMQ_MNESIA_BASE", text(&folder.join("mnesia")).to_owned()),
            ("RABBITMQ_LOG_BASE", text(&folder.join("log")).to_owned()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", text(&folder.join("plugins")).to_owned()),
            ("RABBITMQ_CONFIG_FILE", text(&folder.join("none")).to_owned()),
            ("OTEL_SERVICE_NAME", "rabbitmq-under-test".to_owned()),
        ];
        // Erlang would start a daemon for names, which outlives it: it finds one that ends with the test.
        let _names = start_with(folder, &variables, "epmd", &[]);
        accepting(names).await;
        let _server = Together(start_with(folder, &variables, "setsid", &[text(&server)]));
        accepting(port).await;
        let client = format!(
            "import pika, time\n\
             for attempt in range(60):\n    \
                 try:\n        \
                     connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', {port}))\n        \
                     break\n    \
                 except Exception:\n        \
                     time.sleep(0.5)\n\
             channel = connection.channel()\n\
             channel.confirm_delivery()\n\
             channel.queue_declare('orders')\n\
             for _ in range(10):\n    \
                 channel.basic_publish('', 'orders', b'secret-value')\n\
             for _ in range(10):\n    \
                 channel.basic_get('orders', auto_ack=True)\n\
             try:\n    \
                 channel.queue_declare('missing', passive=True)\n\
             except pika.exceptions.ChannelClosed:\n    \
                 pass\n\
             connection.close()\n"
        );
        assert!(script(folder, &python, &libraries, "rabbitmq-client", &client).await);
        both_ends(watched, "rabbitmq", "rabbitmq-client", "rabbitmq-under-test").await;
        let trace = watched.trace_like("rabbitmq-under-test", "orders").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
        let failed = ["service=\"rabbitmq-client\"", "protocol=\"rabbitmq\"", "outcome=\"failed\""];
        watched.measured("inquest_request_duration_seconds_count", &failed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka() {
    let (Some(java), Some(jars), Some(python), Some(libraries)) =
        (installed(&["java"]), fetched("java", "kafka_"), python(), fetched("python", "kafka"))
    else {
        return;
    };
    watch(async |watched| {
        let folder = watched.folder();
        let (port, controller) = (free_address().port(), free_address().port());
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
            folder.join("kafka-logs").display()
        );
        std::fs::write(folder.join("server.properties"), settings).expect("written");
        let jars = format!("{}/*", jars.display());
        let format = ["-cp", &jars, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", "server.properties"];
        assert!(finish(folder, "", text(&java), &format).await, "Kafka's storage is set up");
        let _server =
            start(folder, "kafka-under-test", text(&java), &["-Xmx384m", "-cp", &jars, "kafka.Kafka", "server.properties"]);
        accepting(port).await;
        let client = format!(
            "import kafka\n\
             at = '127.0.0.1:{port}'\n\
             producer = kafka.KafkaProducer(bootstrap_servers=at, max_block_ms=60000)\n\
             for _ in range(10):\n    \
                 producer.send('orders', b'secret-value').get(60)\n\
             producer.close()\n\
             consumer = kafka.KafkaConsumer('orders', bootstrap_servers=at, auto_offset_reset='earliest', consumer_timeout_ms=5000)\n\
             assert len(list(consumer)) == 10\n\
             consumer.close()\n"
        );
        assert!(script(folder, &python, &libraries, "kafka-client", &client).await);
        both_ends(watched, "kafka", "kafka-client", "kafka-under-test").await;
        let trace = watched.trace_like("kafka-under-test", "Produce").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
        watched.trace_like("kafka-client", "Fetch").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb() {
    let (Some(java), Some(jars), Some(python), Some(libraries)) =
        (installed(&["java"]), fetched("java", "mongo-java-server"), python(), fetched("python", "pymongo"))
    else {
        return;
    };
    watch(async |watched| {
        let folder = watched.folder();
        let port = free_address().port();
        // A server on the same wire, in memory.
        let program = format!(
            "public class Documents {{\n    \
                 public static void main(String[] arguments) throws Exception {{\n        \
                     new de.bwaldvogel.mongo.MongoServer(new de.bwaldvogel.mongo.backend.memory.MemoryBackend()).bind(\"127.0.0.1\", {port});\n        \
                     Thread.currentThread().join();\n    \
                 }}\n\
             }}\n"
        );
        std::fs::write(folder.join("Documents.java"), program).expect("written");
        let jars = format!("{}/*", jars.display());
        let _server = start(folder, "mongodb-under-test", text(&java), &["-cp", &jars, "Documents.java"]);
        accepting(port).await;
        let client = format!(
            "import pymongo\n\
             peer = pymongo.MongoClient('127.0.0.1', {port}, directConnection=True)\n\
             orders = peer.shop.orders\n\
             for number in range(10):\n    \
                 orders.insert_one({{'number': number, 'card': 'secret-value'}})\n    \
                 assert orders.find_one({{'card': 'secret-value'}})\n\
             try:\n    \
                 peer.shop.command('no_such_command')\n\
             except pymongo.errors.OperationFailure:\n    \
                 pass\n\
             peer.close()\n"
        );
        assert!(script(folder, &python, &libraries, "mongodb-client", &client).await);
        both_ends(watched, "mongodb", "mongodb-client", "mongodb-under-test").await;
        let trace = watched.trace_like("mongodb-under-test", "find").await;
        assert!(!format!("{trace:?}").contains("secret"), "values do not leave: {trace:?}");
        let failed = ["service=\"mongodb-client\"", "protocol=\"mongodb\"", "outcome=\"failed\""];
        watched.measured("inquest_request_duration_seconds_count", &failed).await;
    })
    .await;
}

/// A program that leads a session, with all that it started.
struct Together(Program);

impl Drop for Together {
    fn drop(&mut self) {
        if let Some(pid) = self.0.child.id() {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
        }
    }
}
