//! Recorded conversations (`fixtures/record.py` says with what), whole, cut and joined midway.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::l7::Losses;

/// The word that is in every value which the clients sent.
const SECRET: &str = "s3cret";

struct Line {
    client: bool,
    micros: i64,
    total: u64,
    head: Vec<u8>,
}

fn fixtures() -> Vec<(String, Vec<Line>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/l7");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap().lines().map(Line::read).collect())
    };
    paths.iter().map(read).collect()
}

impl Line {
    fn read(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        Self {
            client: words[0] == ">",
            micros: words[1].parse().unwrap(),
            total: words[2].parse().unwrap(),
            head: hex::decode(words[3]).unwrap(),
        }
    }
}

/// How a conversation is seen.
#[derive(Clone, Copy)]
struct View {
    role: Role,
    role_is_known: bool,
    captured: usize,
    /// Chunks that went by before.
    from: usize,
    /// Bytes of a turn after which its calls are not seen.
    turn: u64,
}

const WHOLE: View = View { role: Role::Client, role_is_known: true, captured: 1024, from: 0, turn: u64::MAX };

fn hear(name: &str, lines: &[Line], view: View) -> (Vec<Request>, Losses, State) {
    let transport = if name.starts_with("dns-udp") { Transport::Udp } else { Transport::Tcp };
    let mut conversation = Conversation::new(transport, view.role_is_known.then_some(view.role));
    let (mut out, mut turn, mut last) = (Vec::new(), 0, None);
    for line in &lines[view.from.min(lines.len())..] {
        let direction =
            if line.client == (view.role == Role::Client) { Direction::Out } else { Direction::In };
        if last != Some(direction) {
            turn = 0;
        }
        last = Some(direction);
        let seen = turn < view.turn;
        turn += line.total;
        if seen {
            let head = &line.head[..line.head.len().min(view.captured)];
            let time = UnixNanos(line.micros * 1000);
            conversation.feed(&Data { direction, time, head, total: line.total }, &mut out);
        }
    }
    let end = lines.last().map_or(0, |line| line.micros * 1000);
    conversation.close(UnixNanos(end), &mut out);
    (out, conversation.losses(), conversation.state())
}

#[test]
fn each_conversation_is_understood() {
    for (name, lines) in fixtures() {
        let (out, losses, state) = hear(&name, &lines, WHOLE);
        let mut text = String::new();
        for request in &out {
            // How long it took is of the day of the recording, but for orders of magnitude.
            let line = line(request).replace(&format!(" {}ms", request.duration.as_millis()), "");
            let slow = if request.duration.as_millis() >= 20 { " slow" } else { "" };
            let _ = writeln!(text, "{line}{slow}");
        }
        let _ = writeln!(text, "{state:?} {losses:?}");
        insta::with_settings!({snapshot_path => "snapshots", omit_expression => true}, {
            insta::assert_snapshot!(name, text);
        });
    }
}

#[test]
fn both_ends_see_the_same_exchanges() {
    for (name, lines) in fixtures() {
        let key =
            |request: &Request| (request.operation.clone(), request.target.clone(), request.status.clone());
        let client: Vec<_> = hear(&name, &lines, WHOLE).0.iter().map(key).collect();
        for role_is_known in [true, false] {
            let view = View { role: Role::Server, role_is_known, ..WHOLE };
            let server: Vec<_> = hear(&name, &lines, view).0.iter().map(key).collect();
            assert_eq!(client, server, "{name}");
        }
    }
}

#[test]
fn no_value_is_shown_however_the_conversation_is_seen() {
    for (name, lines) in fixtures() {
        for captured in [16, 33, 64, 100, 256, 1024, 2048] {
            for from in 0..lines.len().min(40) {
                for turn in [1500, u64::MAX] {
                    for role_is_known in [true, false] {
                        let view = View { role: Role::Client, role_is_known, captured, from, turn };
                        for request in hear(&name, &lines, view).0 {
                            let shown = format!("{request:?}");
                            assert!(!shown.contains(SECRET), "{name} at {captured}, {from}: {shown}");
                        }
                    }
                }
            }
        }
    }
}

/// What is read midway, or from short heads, is what is read of the whole: less of it, but nothing else.
#[test]
fn midway_and_from_short_heads_nothing_else_is_understood() {
    for (name, lines) in fixtures() {
        let (all, _, state) = hear(&name, &lines, WHOLE);
        let known: Vec<&str> = all.iter().map(|request| request.operation.as_str()).collect();
        for captured in [48, 200, 1024] {
            for from in 0..lines.len() {
                // Redis describes its own commands in words that are commands themselves.
                let role_is_known = name.starts_with("redis");
                let view = View { role_is_known, captured, from, ..WHOLE };
                let (out, _, found) = hear(&name, &lines, view);
                if let State::Speaks(protocol) = found {
                    assert_eq!(State::Speaks(protocol), state, "{name} at {captured}, {from}");
                }
                for request in out {
                    // Of a prepared statement only the execution may be seen.
                    let operation = request.operation.as_str();
                    let sound =
                        known.contains(&operation) || matches!(operation, "EXECUTE" | "connection.close");
                    assert!(sound, "{name} at {captured}, {from}: {request:?}");
                }
            }
        }
    }
}
