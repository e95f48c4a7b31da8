//! rustls, in programs that have kept their symbols. What was built into its caller or stripped is not seen.
//!
//! A session is seen when plaintext can be followed both ways and its socket is found: the functions below, or nothing. All but
//! the last two are there as a rule, for they are called from another crate or through a table; of the ways to read, a program has those
//! that it uses.

use super::image::Image;
use super::symbols::Function;
use super::{Library, Probe, Seen, code};

/// One of these is in the mangled name of each.
const NAMES: [&str; 5] = ["PlaintextSink", "ChunkVecBuffer", "eframer", "into_first_chunk", "Reader"];

/// A function that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Write,
    WriteVectored,
    Output,
    Input,
    FirstChunk,
    Consume,
    Read,
}

impl Part {
    /// By the name, as of rustls 0.21 to 0.23, in either way of mangling.
    fn of(name: &str) -> Option<Self> {
        // `<rustls::conn::ConnectionCommon<T> as rustls::conn::connection::PlaintextSink>::write`
        if let Some(rest) = name.strip_prefix("<rustls::conn::").filter(|it| it.contains(" as ")) {
            return match rest.rsplit_once("::")? {
                (of, "write") if of.ends_with("PlaintextSink>") => Some(Self::Write),
                (of, "write_vectored") if of.ends_with("PlaintextSink>") => Some(Self::WriteVectored),
                (of, "read") if is_reader(of, "Read") => Some(Self::Read),
                (of, "consume") if is_reader(of, "BufRead") => Some(Self::Consume),
                _ => None,
            };
        }
        // Version 0 of mangling says `<rustls::vecbuf::ChunkVecBuffer>::write_to`.
        let plain = name.replacen('<', "", 1).replacen(">::", "::", 1);
        match plain.strip_prefix("rustls::")? {
            "vecbuf::ChunkVecBuffer::write_to" => Some(Self::Output),
            "msgs::deframer::MessageDeframer::read"
            | "msgs::deframer::DeframerVecBuffer::read"
            | "msgs::deframer::buffers::DeframerVecBuffer::read" => Some(Self::Input),
            "conn::connection::Reader::into_first_chunk" => Some(Self::FirstChunk),
            _ => None,
        }
    }

    /// What runs at its beginning, and at its end where that matters.
    fn programs(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Write => ("rustls_write", Some("rustls_write_leave")),
            Self::WriteVectored => ("rustls_write_vectored", Some("rustls_write_leave")),
            Self::Output => ("rustls_io", Some("rustls_output_leave")),
            Self::Input => ("rustls_io", Some("rustls_input_leave")),
            Self::FirstChunk => ("rustls_first_chunk", Some("rustls_first_chunk_leave")),
            Self::Consume => ("rustls_consume", None),
            Self::Read => ("rustls_read", Some("rustls_read_leave")),
        }
    }
}

/// `rustls::conn::Reader as std::io::Read>`, or in a module below, with or without a lifetime.
fn is_reader(of: &str, what: &str) -> bool {
    let Some((kind, implemented)) = of.split_once(" as ") else { return false };
    let kind = kind.split('<').next().unwrap_or_default();
    kind.rsplit("::").next() == Some("Reader")
        && implemented.strip_suffix('>').and_then(|it| it.rsplit("::").next()) == Some(what)
}

/// A name that has to do with rustls, whole.
pub(super) fn ending(name: &str) -> Option<&str> {
    (name.contains("rustls") && (is_own(name) || is_of_interest(name))).then_some(name)
}

/// Whether it is of the library itself.
fn is_own(name: &str) -> bool {
    name.contains("6rustls") || name.contains("$LT$rustls..")
}

/// To read a mangled name takes longer than to see that it is none of these.
fn is_of_interest(name: &str) -> bool {
    NAMES.iter().any(|it| name.contains(it))
}

/// Where the probes go; nothing when there is no symbol of rustls.
pub(super) fn look(image: &Image<'_>, functions: &[Function]) -> Option<Seen> {
    if !functions.iter().any(|function| is_own(&function.name)) {
        return None;
    }
    let found: Vec<(Part, &Function)> = functions
        .iter()
        .filter(|function| is_of_interest(&function.name))
        .filter_map(|function| {
            let name = format!("{:#}", rustc_demangle::demangle(&function.name));
            Some((Part::of(&name)?, function))
        })
        .collect();
    Some(Seen { library: Library::Rustls, outcome: probes(image, &found) })
}

fn probes(image: &Image<'_>, found: &[(Part, &Function)]) -> Result<Vec<Probe>, String> {
    if !image.is_x86_64() {
        return Err("only x86-64 is known".into());
    }
    let has = |part| found.iter().any(|(it, _)| *it == part);
    let reads = has(Part::Read) || has(Part::FirstChunk) && has(Part::Consume);
    if !(has(Part::Write) && has(Part::Output) && has(Part::Input) && reads) {
        return Err(
            "functions that would show it were built into others, or are of an unknown version".into()
        );
    }
    let (mut leaving, mut entering) = (Vec::new(), Vec::new());
    for (part, function) in found {
        let (enter, leave) = part.programs();
        let begin = image.place(function.address).ok_or("a function is not in the file")?;
        if let Some(program) = leave {
            let code = image.bytes(function.address, function.size).ok_or("a function is not in the file")?;
            let ends = code::ends(code).ok_or("the end of a function is not known")?;
            leaving.extend(ends.iter().map(|at| Probe { program, place: begin + at }));
        }
        entering.push(Probe { program: enter, place: begin });
    }
    // The ends first: a call that begins in between is then not left half seen. The same code may have several names.
    let mut probes: Vec<Probe> = Vec::new();
    for probe in leaving.into_iter().chain(entering) {
        if !probes.contains(&probe) {
            probes.push(probe);
        }
    }
    Ok(probes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mangled: &str, wanted: Option<Part>) {
        let name = format!("{:#}", rustc_demangle::demangle(mangled));
        assert_eq!(Part::of(&name), wanted, "{name}");
    }

    #[test]
    fn names_of_both_ways_of_mangling() {
        check(
            "_ZN99_$LT$rustls..conn..ConnectionCommon$LT$T$GT$$u20$as$u20$rustls..conn..connection..PlaintextSink$GT$5write17h50c49658fa08e4f5E",
            Some(Part::Write),
        );
        check(
            "_ZN99_$LT$rustls..conn..ConnectionCommon$LT$T$GT$$u20$as$u20$rustls..conn..connection..PlaintextSink$GT$14write_vectored17h50c49658fa08e4f5E",
            Some(Part::WriteVectored),
        );
        check(
            "_ZN6rustls4conn10connection6Reader16into_first_chunk17h09e6a7a92ab929aaE",
            Some(Part::FirstChunk),
        );
        check(
            "_ZN69_$LT$rustls..conn..connection..Reader$u20$as$u20$std..io..BufRead$GT$7consume17h0238b510b8e6a801E",
            Some(Part::Consume),
        );
        check(
            "_ZN66_$LT$rustls..conn..connection..Reader$u20$as$u20$std..io..Read$GT$4read17h0238b510b8e6a801E",
            Some(Part::Read),
        );
        check("_ZN6rustls6vecbuf14ChunkVecBuffer8write_to17h817b524fdc6b242eE", Some(Part::Output));
        check(
            "_ZN6rustls4msgs8deframer7buffers17DeframerVecBuffer4read17hdcc0ed98e59295d8E",
            Some(Part::Input),
        );
        check("_RNvMNtCs1_6rustls6vecbufNtB2_14ChunkVecBuffer8write_to", Some(Part::Output));
        check("_RNvMNtNtCs1_6rustls4conn10connectionNtB2_6Reader16into_first_chunk", Some(Part::FirstChunk));
        check("_ZN6rustls6vecbuf14ChunkVecBuffer7consume17h817b524fdc6b242eE", None);
        check("_ZN4core3ptr49drop_in_place$LT$rustls..vecbuf..ChunkVecBuffer$GT$17h817b524fdc6b242eE", None);
    }
}
