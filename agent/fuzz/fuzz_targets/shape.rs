//! No literal of a statement is shown: letters that are in no name, put into strings of any content, do not come out.

#![no_main]

use agent::l7::shape::{Dialect, of_error, of_sql};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "qzxqzx";

fuzz_target!(|input: &[u8]| {
    let [how, input @ ..] = input else { return };
    let dialect = if how & 1 == 1 { Dialect::Mysql } else { Dialect::Postgres };
    let _ = of_sql(input, how & 2 == 2, dialect);
    let _ = of_error(input, how & 2 == 2);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.contains(SECRET) {
        return;
    }
    // As the client of each dialect quotes.
    let text = format!("{text}{SECRET}{text}");
    let quoted = match dialect {
        Dialect::Mysql => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Dialect::Postgres => format!("'{}'", text.replace('\'', "''")),
    };
    let sql = format!("SELECT a FROM t WHERE b = {quoted} AND c = {quoted}");
    for end in [sql.len(), sql.len() / 2, sql.len() / 3] {
        let head = &sql.as_bytes()[..end];
        let shape = of_sql(head, end == sql.len(), dialect).shape;
        assert!(!shape.contains(SECRET), "{sql:?} gives {shape:?}");
    }
});
