//! Any chunks of any conversation, of which any part was captured, in any direction: exchanges come out bounded.
//!
//! The input is a row of chunks, each with a byte of direction, one for what is missing behind it and two for its length; so that the
//! recorded conversations, in that form, are a seed for each protocol (`seed.py`).

#![no_main]

use std::time::Duration;

use agent::l7::{Conversation, Data, Direction, Role, Transport, limits};
use domain::UnixNanos;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [how, input @ ..] = input else { return };
    let transport = if how & 1 == 1 { Transport::Udp } else { Transport::Tcp };
    let role = [None, Some(Role::Client), Some(Role::Server)][usize::from(how >> 1) % 3];
    let mut conversation = Conversation::new(transport, role);
    let mut out = Vec::new();
    let mut rest = input;
    let mut now = UnixNanos(0);
    while let [direction, missing, low, high, after @ ..] = rest {
        let length = (usize::from(*low) | usize::from(*high) << 8).min(after.len());
        let (head, after) = after.split_at(length);
        rest = after;
        now = now.plus(Duration::from_millis(u64::from(direction >> 1)));
        let direction = if direction & 1 == 1 { Direction::Out } else { Direction::In };
        let total = head.len() as u64 + u64::from(*missing).pow(2);
        conversation.feed(&Data { direction, time: now, head, total }, &mut out);
        if *missing == 255 {
            conversation.tick(now, &mut out);
        }
    }
    conversation.tick(now.plus(limits::ANSWER), &mut out);
    conversation.close(now, &mut out);
    for request in out {
        assert!(request.target.len() <= limits::TARGET_BYTES && request.operation.len() <= limits::TARGET_BYTES);
        assert!(request.error.len() <= limits::ERROR_BYTES && request.status.len() <= 64);
    }
});
