//! OpenSSL, and what keeps its names: BoringSSL, LibreSSL; as a library, or built into a program.

use super::image::Image;
use super::symbols::Function;
use super::{Library, Probe, Seen};

/// Functions that plaintext passes, and what runs where they begin.
const DOORS: [(&str, &str); 4] = [
    ("SSL_read", "tls_read"),
    ("SSL_read_ex", "tls_read_ex"),
    ("SSL_write", "tls_write"),
    ("SSL_write_ex", "tls_write_ex"),
];
const LEAVE: &str = "tls_leave";

/// The name of interest that a name ends with.
pub(super) fn ending(name: &str) -> Option<&'static str> {
    DOORS.iter().map(|(door, _)| *door).find(|door| name.ends_with(door))
}

/// Where the probes go; nothing when the file has none of the functions.
pub(super) fn look(image: &Image<'_>, functions: &[Function]) -> Option<Seen> {
    let mut places: [Option<u64>; DOORS.len()] = [None; DOORS.len()];
    for function in functions {
        if let Some(index) = DOORS.iter().position(|(symbol, _)| *symbol == function.name) {
            places[index] = places[index].or_else(|| image.place(function.address));
        }
    }
    // The end first: a call that begins in between is then not left half seen.
    let found = DOORS.iter().zip(places).filter_map(|((_, program), place)| {
        let place = place?;
        Some([Probe { program: LEAVE, place }, Probe { program, place }])
    });
    let probes: Vec<Probe> = found.flatten().collect();
    (!probes.is_empty()).then_some(Seen { library: Library::OpenSsl, outcome: Ok(probes) })
}
