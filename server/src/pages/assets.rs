//! Styles, scripts and icons: embedded, served under names that carry a hash of their content.
//!
//! A hashed name never changes its content, so browsers keep it for a year and a new program asks for new names.
//! Deliberately absent: compression (a layer's work) and names without a hash.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};

/// What a page may load and where it may send: only its own origin, no inline scripts and no inline styles.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers for every page.
pub const PAGE_HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

const ONE_YEAR: &str = "public, max-age=31536000, immutable";
const HASH_BYTES: usize = 6;

#[derive(Embed)]
#[folder = "../ui/static"]
struct Static;

struct Asset {
    hashed_name: String,
    content_type: &'static str,
    file: EmbeddedFile,
}

static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let load = |name: std::borrow::Cow<'static, str>| {
        let file = Static::get(&name)?;
        let asset = Asset { hashed_name: hashed_name(&name, &file), content_type: content_type(&name), file };
        Some((name.into_owned(), asset))
    };
    Static::iter().filter_map(load).collect()
});

/// `GET /static/{*path}`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/static/{*path}", get(serve))
}

/// Answers with the asset of this hashed name.
pub async fn serve(Path(path): Path<String>) -> Response {
    let Some(asset) = ASSETS.values().find(|asset| asset.hashed_name == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, ONE_YEAR),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.file.data.clone()).into_response()
}

/// `/static/ui.3f2a9c1be07d.css` for `ui.css`; `None` when there is no such file.
pub fn url(name: &str) -> Option<String> {
    ASSETS.get(name).map(|asset| format!("/static/{}", asset.hashed_name))
}

fn hashed_name(name: &str, file: &EmbeddedFile) -> String {
    let hash = hex::encode(&file.metadata.sha256_hash()[..HASH_BYTES]);
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn serves_hashed_names_for_a_year_and_nothing_else() {
        let url = url("ui.css").expect("ui.css is embedded");
        let path = url.strip_prefix("/static/").expect("under /static").to_owned();
        let response = serve(Path(path)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CACHE_CONTROL], ONE_YEAR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        for path in ["ui.css", "../templates/page.html", ""] {
            assert_eq!(serve(Path(path.to_owned())).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
