//! What the templater promises: groups, ids, bounds.

use super::*;
use proptest::prelude::*;

fn check(messages: &[&str], expected: &[&str]) {
    let mut templater = Templater::default();
    let own: Vec<PatternId> = messages.iter().map(|message| templater.add(0, message).own).collect();
    let templates: Vec<&str> =
        own.iter().map(|own| templater.template(templater.settled(*own)).unwrap()).collect();
    assert_eq!(templates, expected);
}

fn masks(message: &str, expected: &str) {
    assert_eq!(mask(message), expected);
}

#[test]
fn values_are_known_by_their_form() {
    masks(
        "pool: no connection within 500ms (in use 20/20, waiting 31)",
        "pool: no connection within <*> (in use <*>, waiting <*>)",
    );
    masks("GET /a/b?c=d from 10.0.0.1:80 in 12 ms", "GET <*> from <*> in <*>");
    masks("id=6f9619ff-8b86-d011-b42d-00c04fc964ff flags=0x1F", "id=<*> flags=<*>");
    masks("mac 00:1a:ff:be:ac:ed, host fe80::1ff:fe23:4567:890a up", "mac <*>, host <*> up");
    masks("sent deadbeef to bob@example.com", "sent <*> to <*>");
    masks("loaded C:\\Windows\\x.dll and \\\\server\\share", "loaded <*> and <*>");
    masks("see https://example.com/a, or not", "see <*>, or not");
    masks("key 'a/b' is \"off\" for db.example.com:5432", "key <*> is \"off\" for <*>");
    masks("can't stop, won't stop", "can't stop, won't stop");
    masks("on Thu Jun 30 20:16:23 CEST 2005 it was", "on <*> it was");
    masks("wait state enable.................0", "wait state enable................<*>");
    masks("level=info msg=\"user 5 gone\"", "level=info msg=\"user <*> gone\"");
    masks("-5 +3 1e-9 50%", "<*>%");
    masks("", "");
    masks("---", "---");
}

#[test]
fn lists_of_any_length_are_one_pattern() {
    let nodes = "lost nodes <*> now";
    check(&["lost nodes n1 n2 n3 now", "lost nodes n4, n5 now"], &[nodes, nodes]);
    let mut templater = Templater::default();
    let two = templater.add(0, "mapped a=1 b=2, a=3 b=4 ok").pattern;
    assert_eq!(two, templater.add(0, "mapped a=1 b=2, a=3 b=4, a=5 b=6 ok").pattern);
}

#[test]
fn other_scripts_keep_their_words() {
    masks("连接10.0.0.1超时", "连接<*>超时");
    masks("用户：张三 登录失败，第3次", "用户：张三 登录失败，第<*>次");
    masks("ошибка записи на диск sda1: нет места", "ошибка записи на диск <*>: нет места");
    masks("é́tat 5 → ok", "é́tat <*> → ok");
}

#[test]
fn a_word_where_a_value_was_is_a_value() {
    let left = "user <*> left room";
    check(&["user 17 left room", "user bob left room"], &[left, left]);
    check(&["user bob left room", "user 17 left room"], &[left, left]);
    check(
        &["host 10.0.0.1 found here", "host not found here"],
        &["host <*> found here", "host not found here"],
    );
}

#[test]
fn many_words_in_one_place_are_values_and_few_are_states() {
    check(&["link eth is up", "link eth is down"], &["link eth is up", "link eth is down"]);
    let users = ["ann", "bob", "cem", "dan", "eve", "fay"];
    let messages: Vec<String> =
        users.iter().map(|user| format!("session opened for user {user} by root")).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    check(&messages, &["session opened for user <*> by root"; 6]);
}

#[test]
fn severity_keeps_patterns_apart() {
    let mut templater = Templater::default();
    let info = templater.add(9, "connection 5 closed");
    let error = templater.add(17, "connection 6 closed");
    assert_ne!(info.pattern, error.pattern);
    assert_eq!(error.novelty, Novelty::New);
    assert_eq!(templater.add(18, "connection 7 closed").pattern, error.pattern);
}

#[test]
fn ids_are_stable() {
    // A change here orphans every stored id: it needs a migration.
    insta::assert_snapshot!(Templater::default().add(9, "user 5 logged in").pattern, @"87157390cf217643");
}

#[test]
fn changes_are_told_once() {
    let mut templater = Templater::default();
    let bob = templater.add(9, "user bob left room").pattern;
    let told = |templater: &mut Templater| {
        let changes = templater.take_changes();
        changes
            .into_iter()
            .map(|change| (change.pattern, change.settled, change.severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut templater), [(bob, bob, 9)]);
    templater.add(9, "user bob left room");
    assert_eq!(told(&mut templater), []);
    let any = templater.add(10, "user 5 left room").pattern;
    assert_eq!(told(&mut templater), [(bob, any, 9), (any, any, 9)]);
    templater.tell_again();
    assert_eq!(told(&mut templater).len(), 2);
}

#[test]
fn what_is_forgotten_comes_back_as_it_was() {
    let mut templater = Templater::new(64);
    let first = templater.add(0, "the first message of all");
    for word in 0..10_000_u32 {
        let name: String = word.to_string().bytes().map(|digit| char::from(digit - b'0' + b'g')).collect();
        templater.add(0, &format!("{name} {name}"));
        assert!(templater.len() <= 64);
    }
    assert!(templater.forgotten() > 1_000);
    assert_eq!(templater.template(first.pattern), None);
    let again = templater.add(0, "the first message of all");
    assert_eq!((again.pattern, again.novelty), (first.pattern, Novelty::New));
}

/// Messages as programs write them, and text as nobody does.
fn message() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,200}",
        "[a-d]{1,2}( [a-d]{1,2}| [0-9]{1,3}|=[a-c]| \"[a-c ]\"){0,6}",
        r#"\{"msg":"[a-z0-9 ]{0,20}","level":"(info|error)"(,"[a-c]":[0-9]){0,3}\}?"#,
        "[a-z ]{0,20}\n( at a.b[(]C:[0-9][)]\n|Caused by: x.Y: z\n){0,4}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_taken_and_memory_is_bounded(messages in prop::collection::vec((0_u8..30, message()), 0..60)) {
        let mut templater = Templater::new(32);
        for (severity, message) in &messages {
            let seen = templater.add(*severity, message);
            prop_assert!(templater.template(seen.pattern).is_some_and(|template| template.len() <= 1024));
            prop_assert!(templater.len() <= 32);
            prop_assert_eq!(templater.settled(seen.own), seen.pattern);
        }
    }

    #[test]
    fn the_same_messages_give_the_same_ids(messages in prop::collection::vec(message(), 0..40)) {
        let run = || {
            let mut templater = Templater::default();
            messages.iter().map(|message| templater.add(0, message)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn the_own_id_depends_on_the_message_alone(messages in prop::collection::vec(message(), 1..40)) {
        let mut templater = Templater::default();
        for message in &messages {
            let own = templater.add(0, message).own;
            prop_assert_eq!(own, Templater::default().add(0, message).own);
        }
    }

    #[test]
    fn what_varies_by_form_varies_nothing(numbers in prop::collection::vec(0_u64.., 2)) {
        let mut templater = Templater::default();
        let first = templater.add(0, &format!("request {} from 10.0.0.1 took 5ms", numbers[0]));
        let second = templater.add(0, &format!("request {} from 10.9.8.7 took 17 ms", numbers[1]));
        prop_assert_eq!(first.pattern, second.pattern);
    }
}
