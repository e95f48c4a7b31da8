use agent::kernel::*;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    use Feature::*;
    let layout = Layout::of_this_kernel()?;
    let mut p = Programs::attach(
        &layout,
        &[Processes, OutOfMemory, Connections, Retransmits, Resets, Payloads, Tls, Profiles],
    )?;
    for (f, s) in p.states() {
        eprintln!("{f:?} {s:?}");
    }
    let mut r = p.reader()?;
    let c = p.counters()?;
    let until = tokio::time::Instant::now()
        + std::time::Duration::from_secs(std::env::args().nth(1).unwrap().parse()?);
    while tokio::time::Instant::now() < until {
        r.wait().await;
        r.drain(|b| match Event::parse(b) {
            Ok(e) => eprintln!(
                "k{} d{} f{} r{} pid {} {} {}->{} total {} {:?} {:?}",
                e.kind,
                e.direction,
                e.flags,
                e.role,
                e.pid,
                e.thread_name(),
                e.local,
                e.remote,
                e.total,
                e.extra,
                String::from_utf8_lossy(&e.payload[..e.payload.len().min(80)])
            ),
            Err(e) => eprintln!("{e}"),
        });
    }
    eprintln!("{:?}", c.read());
    Ok(())
}
