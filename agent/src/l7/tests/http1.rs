use super::{check, out, read};

const GET: &str = "GET /users/42?key=secret HTTP/1.1\r\nHost: Shop:80\r\nCookie: a=b\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_request_and_its_answer() {
    check(&[out(0, GET), read(7, OK)], "-> http GET /users/{id} | Ok 200 7ms @shop");
    check(&[read(0, GET), out(7, OK)], "<- http GET /users/{id} | Ok 200 7ms @shop");
}

#[test]
fn errors_count_for_the_client_from_400_and_for_the_server_from_500() {
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let broken = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    check(&[out(0, GET), read(1, missing)], "-> http GET /users/{id} | Failed 404 1ms @shop");
    check(&[read(0, GET), out(1, missing)], "<- http GET /users/{id} | Ok 404 1ms @shop");
    check(&[read(0, GET), out(1, broken)], "<- http GET /users/{id} | Failed 503 1ms @shop");
}

#[test]
fn a_body_that_is_not_captured_is_waited_for() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n{}", "x".repeat(1000));
    check(
        &[out(0, GET), read(5, long).cut(100), read(9, "x".repeat(2000)).cut(0), out(10, GET), read(11, OK)],
        "-> http GET /users/{id} | Ok 200 9ms @shop
         -> http GET /users/{id} | Ok 200 1ms @shop",
    );
}

#[test]
fn the_rest_of_a_long_answer_may_not_be_seen_at_all() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n{}", "x".repeat(1000));
    check(
        &[out(0, GET), read(5, long), out(100, GET), read(111, OK)],
        "-> http GET /users/{id} | Ok 200 5ms @shop
         -> http GET /users/{id} | Ok 200 11ms @shop",
    );
}

#[test]
fn chunks() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    check(
        &[
            out(0, GET),
            read(2, head),
            read(4, "3;x=y\r\nabc\r\n0"),
            read(8, "\r\n\r\n"),
            out(9, GET),
            read(10, OK),
        ],
        "-> http GET /users/{id} | Ok 200 8ms @shop
         -> http GET /users/{id} | Ok 200 1ms @shop",
    );
    let post = "POST /pay HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(
        &[out(0, post), out(1, "4\r\nGET \r\n"), out(2, "0\r\n\r\n"), read(6, OK)],
        "-> http POST /pay | Ok 200 6ms",
    );
}

#[test]
fn pipelining_answers_in_order() {
    let two = format!("{GET}{}", GET.replace("GET /users/42", "DELETE /cart"));
    check(
        &[out(0, two), read(3, format!("{OK}HTTP/1.1 204 No Content\r\n\r\n"))],
        "-> http GET /users/{id} | Ok 200 3ms @shop
         -> http DELETE /cart | Ok 204 3ms @shop",
    );
}

#[test]
fn an_answer_to_head_has_no_body() {
    let head = GET.replace("GET", "HEAD");
    let told = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
    check(
        &[out(0, head), read(1, told), out(2, GET), read(4, OK)],
        "-> http HEAD /users/{id} | Ok 200 1ms @shop
         -> http GET /users/{id} | Ok 200 2ms @shop",
    );
}

#[test]
fn a_head_cut_in_its_path_keeps_no_half_word() {
    check(
        &[out(0, "GET /reset/topsecrettoken HTTP/1.1\r\n\r\n").cut(16), read(1, OK)],
        "-> http GET /reset/… | Ok 200 1ms",
    );
}

#[test]
fn a_head_cut_in_its_fields_is_read_as_far_as_it_goes() {
    let long = format!("GET /a HTTP/1.1\r\nHost: b\r\nCookie: {}\r\n\r\n", "x".repeat(3000));
    check(
        &[out(0, &long).cut(1024), read(4, OK), out(5, long).cut(1024), read(6, OK)],
        "-> http GET /a | Ok 200 4ms @b
         -> http GET /a | Ok 200 1ms @b",
    );
}

#[test]
fn joined_midway() {
    check(
        &[read(0, "xxxxbody"), read(1, OK), out(5, GET), read(7, OK)],
        "-> http GET /users/{id} | Ok 200 2ms @shop
         Losses { desynchronised: 0, unmatched: 1, evicted: 0, unseen: 0 }",
    );
}

#[test]
fn no_answer() {
    check(
        &[out(0, GET)],
        "-- closed
         -> http GET /users/{id} | Unanswered  1000ms @shop",
    );
}

#[test]
fn go_on_and_early_hints_are_not_answers() {
    check(
        &[out(0, GET), read(1, "HTTP/1.1 100 Continue\r\n\r\n"), read(9, OK)],
        "-> http GET /users/{id} | Ok 200 9ms @shop",
    );
}

#[test]
fn another_protocol_from_then_on() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    check(
        &[out(0, GET), read(1, switch), out(2, GET)],
        "-> http GET /users/{id} | Ok 101 1ms @shop
         Unknown",
    );
}

#[test]
fn trace_context_is_read() {
    let traced =
        GET.replace("Cookie: a=b", "TraceParent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    check(
        &[out(0, traced), read(1, OK)],
        "-> http GET /users/{id} | Ok 200 1ms @shop in 4bf92f3577b34da6a3ce929d0e0e4736/f067aa0ba902b7",
    );
}

#[test]
fn byte_by_byte() {
    let mut steps: Vec<_> = GET.bytes().map(|byte| out(0, [byte])).collect();
    steps.extend(OK.bytes().map(|byte| read(3, [byte])));
    // Sixteen bytes are more than the method and the start of the path.
    check(&steps, "-> http GET /users/{id} | Ok 200 3ms @shop");
}
