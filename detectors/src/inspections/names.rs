//! Metric and label names of every style, made comparable.

/// A name in lower case, words joined by `_`, without the endings that exporters add for the unit and the kind:
/// `system.cpu.utilization`, `system_cpu_utilization_ratio` and `SystemCpuUtilization` are the same.
pub fn plain(name: &str) -> String {
    const ENDINGS: [&str; 8] =
        ["_total", "_ratio", "_seconds", "_milliseconds", "_ms", "_bytes", "_percent", "_celsius"];
    let mut text = joined(name);
    // `x_seconds_total` has two endings, nothing sensible has more.
    for _ in 0..2 {
        if let Some(short) = ENDINGS.iter().find_map(|ending| text.strip_suffix(ending))
            && !short.is_empty()
        {
            text.truncate(short.len());
        }
    }
    text
}

/// A name in lower case, its words joined by `_`.
pub fn joined(name: &str) -> String {
    /// Longer names are cut: names come from outside.
    const LONGEST: usize = 200;
    let mut text = String::with_capacity(name.len().min(LONGEST));
    let mut before_lower = false;
    for character in name.chars().take(LONGEST) {
        let boundary = !character.is_alphanumeric() || (character.is_uppercase() && before_lower);
        if boundary && !text.is_empty() && !text.ends_with('_') {
            text.push('_');
        }
        if character.is_alphanumeric() {
            text.extend(character.to_lowercase());
        }
        before_lower = character.is_lowercase();
    }
    text.truncate(text.trim_end_matches('_').len());
    text
}

/// What a value is multiplied by to be in base units: seconds, or a share of 1. By the unit as sent (UCUM), else by the
/// ending of the name.
pub fn scale(name: &str, unit: &str) -> f64 {
    let name = joined(name);
    let name = name.strip_suffix("_total").unwrap_or(&name);
    match unit {
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "ns" => 1e-9,
        "%" => 0.01,
        "min" => 60.0,
        "h" => 3600.0,
        "" if name.ends_with("_milliseconds") || name.ends_with("_ms") => 1e-3,
        "" if name.ends_with("_microseconds") => 1e-6,
        "" if name.ends_with("_percent") => 0.01,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_style_become_one() {
        let check = |name: &str, expected: &str| assert_eq!(plain(name), expected, "{name}");
        check("system.cpu.utilization", "system_cpu_utilization");
        check("system_cpu_utilization_ratio", "system_cpu_utilization");
        check("SystemCpuUtilization", "system_cpu_utilization");
        check("container_cpu_usage_seconds_total", "container_cpu_usage");
        check("node_netstat_Tcp_RetransSegs", "node_netstat_tcp_retrans_segs");
        check("_total", "total");
        check("", "");
        check("..", "");
    }

    #[test]
    fn units_are_base_units() {
        assert_eq!(scale("db.client.operation.duration", "ms"), 1e-3);
        assert_eq!(scale("lag_milliseconds", ""), 1e-3);
        assert_eq!(scale("used_percent", ""), 0.01);
        assert_eq!(scale("lag_seconds_total", ""), 1.0);
    }
}
