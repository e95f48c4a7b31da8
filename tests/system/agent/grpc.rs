//! gRPC by its C library, as Python, C++, Ruby and PHP use it: one call hands over each header in a buffer of its own.

use super::brokers::script;
use super::databases::both_ends;
use super::watch;
use crate::programs::{accepting, fetched, free_address, python, start};

#[tokio::test(flavor = "multi_thread")]
async fn grpc_of_python() {
    let (Some(python), Some(libraries)) = (python(), fetched("python", "grpc")) else { return };
    watch(async |watched| {
        let port = free_address().port();
        let server = format!(
            "import sys\n\
             sys.path.insert(0, {libraries:?})\n\
             import grpc, concurrent.futures\n\
             def place(request, context):\n    \
                 return b'placed'\n\
             def fail(request, context):\n    \
                 context.abort(grpc.StatusCode.INTERNAL, 'no stock')\n\
             methods = {{name: grpc.unary_unary_rpc_method_handler(call) for name, call in [('Place', place), ('Fail', fail)]}}\n\
             server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))\n\
             server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('shop.Orders', methods)])\n\
             server.add_insecure_port('127.0.0.1:{port}')\n\
             server.start()\n\
             server.wait_for_termination()\n"
        );
        let _server = start(watched.folder(), "grpc-under-test", &python, &["-c", &server]);
        accepting(port).await;
        let client = format!(
            "import grpc\n\
             # As applications send them: more headers than the few that each call has.\n\
             headers = [(f'x-header-{{n}}', 'secret-value') for n in range(5)]\n\
             with grpc.insecure_channel('127.0.0.1:{port}') as channel:\n    \
                 for _ in range(20):\n        \
                     assert channel.unary_unary('/shop.Orders/Place')(b'secret-value', metadata=headers) == b'placed'\n        \
                     try:\n            \
                         channel.unary_unary('/shop.Orders/Fail')(b'', metadata=headers)\n        \
                     except grpc.RpcError as error:\n            \
                         assert error.code() == grpc.StatusCode.INTERNAL\n"
        );
        assert!(script(watched.folder(), &python, &libraries, "grpc-client", &client).await);
        both_ends(watched, "grpc", "grpc-client", "grpc-under-test").await;
        let trace = watched.trace("grpc-under-test", "shop.Orders/Place").await;
        assert!(trace.iter().any(|span| span.service == "grpc-client"), "{trace:#?}");
        assert!(trace.iter().all(|span| span.status != "Error"), "{trace:#?}");
        let trace = watched.trace("grpc-under-test", "shop.Orders/Fail").await;
        assert!(trace.iter().all(|span| span.status == "Error"), "{trace:#?}");
        let query = "SELECT count() FROM otel_traces WHERE position(toString(tuple(*)), 'secret-value') > 0";
        let leaked = watched.server.store().client().query(query).fetch_one::<u64>().await;
        assert_eq!(leaked.expect("the store answers"), 0);
    })
    .await;
}
