//! The templates of `ui/templates`, compiled once; strict about names, escaping by default.
//!
//! Deliberately absent: decisions and formatting. A template gets words and numbers ready to print.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};
use rust_embed::Embed;
use serde::{Serialize, Serializer};

use super::assets;
use super::svg::escape;

#[derive(Embed)]
#[folder = "../ui/templates"]
struct Templates;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_loader(|name| {
        Ok(Templates::get(name).map(|file| String::from_utf8_lossy(&file.data).into_owned()))
    });
    // The engine's own escaping also turns every slash into an entity, which doubles the size of each link.
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() && *state.auto_escape() == AutoEscape::Html => {
            Ok(out.write_str(&escape(text))?)
        }
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("breaks", |text: &str| Value::from_safe_string(breaks(text)));
    environment.add_function("asset", |name: &str| {
        assets::url(name).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("no asset {name}")))
    });
    environment
});

/// Escapes a text, and lets long names in it be broken where their parts meet.
fn breaks(text: &str) -> String {
    const LONG: usize = 16;
    let mut out = String::with_capacity(text.len() + 64);
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let parts = if word.len() > LONG {
            word.split_inclusive(['.', '_', '/', ':', '-']).collect()
        } else {
            vec![word]
        };
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                out.push_str("<wbr>");
            }
            out.push_str(&escape(part));
        }
    }
    out
}

/// Shown when a template itself is broken, which the tests rule out for every page.
const BROKEN: &str = "<!doctype html><html lang=\"en\"><title>Inquest</title>\
    <p>This page could not be drawn. The program's log says why.</p></html>";

/// Draws the template `name` with the fields of `view`.
pub(super) fn render(name: &str, view: &impl Serialize) -> String {
    let drawn = ENVIRONMENT.get_template(name).and_then(|template| template.render(Value::from(Serde(view))));
    drawn.unwrap_or_else(|error| {
        tracing::error!(template = name, error = format!("{error:#}"), "failed to draw a page");
        BROKEN.to_owned()
    })
}

/// Markup made by our own drawing code, which has escaped what came from outside: it is printed as it is.
#[derive(Clone, Debug)]
pub(super) struct Svg(pub String);

impl Serialize for Svg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from_safe_string(self.0.clone()).serialize(serializer)
    }
}
