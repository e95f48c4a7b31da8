//! Any text is taken: no panic, bounded memory, ids that the message alone decides.

#![no_main]

use detectors::log_template::{Lines, Templater, mask};
use libfuzzer_sys::fuzz_target;

const CAPACITY: usize = 64;

fuzz_target!(|input: &str| {
    let mut templater = Templater::new(CAPACITY);
    // Messages are cut at zero bytes, so that they may hold line breaks.
    for message in input.split('\0') {
        let seen = templater.add(message.len() as u8, message);
        assert!(templater.len() <= CAPACITY);
        assert_eq!(templater.settled(seen.own), seen.pattern);
        assert!(templater.template(seen.pattern).is_some_and(|template| template.len() <= 1024));
        assert_eq!(seen.own, Templater::new(CAPACITY).add(message.len() as u8, message).own);
        mask(message);
    }
    let (mut lines, mut given) = (Lines::default(), 0);
    for line in input.lines() {
        lines.push(line, |_, _| given += 1);
    }
    lines.finish(|_, _| given += 1);
    assert_eq!(given, input.lines().count());
});
