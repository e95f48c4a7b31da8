//! The same answers as tools over MCP.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_read_only_and_behind_the_token() {
    let token = |config: &mut server::config::Config| config.access.api_token = Some(Secret::new(TOKEN));
    serve_with(token, async |server: &mut TestServer| {
        let call = async |server: &TestServer, body: Value| -> Value {
            let request = server.http().post(server.page("/mcp")).bearer_auth(TOKEN).json(&body);
            request.send().await.expect("an answer").json().await.expect("JSON")
        };
        let (status, _) = server.post(&server.page("/mcp"), "application/json", "{}").await;
        assert_eq!(status, 401);
        let hello = call(server, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}})).await;
        assert_eq!(hello["result"]["protocolVersion"], "2025-03-26");
        let tools = call(server, json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
        let tools = tools["result"]["tools"].as_array().expect("tools").clone();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["list_incidents", "get_incident", "why", "evidence", "similar"]);
        assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
        let tool = |name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
        let none = call(server, tool("list_incidents", json!({}))).await;
        assert_eq!(none["result"]["structuredContent"]["all"], 0);
        let unknown = call(server, tool("why", json!({"service": "nobody"}))).await;
        assert_eq!(unknown["result"]["isError"], true);
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let id = incident.id.to_string();
        let one = call(server, tool("get_incident", json!({"id": id}))).await;
        let one = &one["result"]["structuredContent"];
        assert_eq!((&one["id"], &one["root_service"]), (&json!(id), &json!("payment")));
        assert!(one["answer"]["cause"].as_array().is_some_and(|cause| !cause.is_empty()), "{one}");
        let shown = call(server, tool("evidence", json!({"id": id}))).await;
        let shown = shown["result"]["structuredContent"]["evidence"].as_array().expect("evidence").clone();
        assert!(shown.iter().all(|one| one["claim"].as_str().is_some_and(|claim| !claim.is_empty())), "{shown:?}");
        assert!(shown.iter().any(|one| one["service"] == "payment"), "{shown:?}");
        let similar = call(server, tool("similar", json!({"id": id}))).await;
        // It is the only one there ever was.
        assert_eq!(similar["result"]["structuredContent"], json!({"incident": id, "similar": []}));
        let why = call(server, tool("why", json!({"service": incident.service}))).await;
        let why = &why["result"]["structuredContent"];
        assert!(why["answer"]["cause"].to_string().contains("payment"), "{why}");
        assert!(why["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "{why}");
        let missing = call(server, json!({"jsonrpc": "2.0", "id": 4, "method": "tools/delete"})).await;
        assert_eq!(missing["error"]["code"], -32601);
        let why = server.http().get(server.page("/api/v1/why/nobody")).bearer_auth(TOKEN).send().await.expect("an answer");
        assert_eq!(why.status().as_u16(), 404);
    })
    .await;
}
