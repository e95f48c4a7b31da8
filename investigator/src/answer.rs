//! Answers of other servers, read within a bound: one that does not end must not fill the memory.

/// The whole of `response`; an error when it has more than `most_bytes`. Errors do not tell the address, which may be a secret.
pub async fn whole(mut response: reqwest::Response, most_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        anyhow::ensure!(
            body.len() + bytes.len() <= most_bytes,
            "the answer has more than {most_bytes} bytes"
        );
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}
