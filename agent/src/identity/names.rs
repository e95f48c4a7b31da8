//! Names out of command lines and pods: what stays the same from one run to the next.

use std::path::Path;

/// Programs that run other people's programs.
const INTERPRETERS: [&str; 13] = [
    "python", "pypy", "node", "nodejs", "deno", "bun", "java", "ruby", "perl", "php", "php-fpm", "dotnet",
    "beam.smp",
];
/// What a script may be called when it is its folder that has the name.
const PLAIN: [&str; 8] = ["app", "main", "index", "server", "manage", "run", "start", "__main__"];

/// A name after the program, or after what an interpreter was given to run.
///
/// A program may go by several names, as links to one file: what the kernel called its first `thread` says by which it was started, as
/// far as 15 bytes go, and its command line has the whole.
pub fn of_command(program: &Path, thread: &str, command: &[String]) -> String {
    let file = stem(&program.to_string_lossy());
    let plain = file.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&plain) {
        let first = command.first().and_then(|it| it.split_whitespace().next()).unwrap_or_default();
        let called = stem(first.trim_end_matches(':'));
        let agrees = !thread.is_empty() && called.get(..thread.len().min(called.len())) == Some(thread);
        let agrees = agrees && !is_link(Path::new(first));
        return if agrees { called } else { file };
    }
    script(command).unwrap_or_else(|| plain.to_owned())
}

/// Whether a path leads to a program by a number and says nothing of it: one that starts itself again uses `/proc/self/exe`, and one that
/// starts what it has open `/proc/self/fd/6` or `/dev/fd/6`.
pub fn is_link(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

/// `checkout` of `checkout-6d4cf56db6-x7k2p` (a deployment), of `checkout-0` (a stateful set), of `checkout-x7k2p` (a daemon set).
pub fn of_pod(pod: &str) -> String {
    // Kubernetes makes its suffixes of these: no vowels, no 0, 1 or 3, so that they spell nothing.
    let random = |part: &str| part.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let mut parts: Vec<&str> = pod.split('-').collect();
    if parts.len() > 1
        && parts.last().is_some_and(|it| it.len() <= 4 && it.bytes().all(|byte| byte.is_ascii_digit()))
    {
        parts.pop();
        return parts.join("-");
    }
    if parts.len() > 1 && parts.last().is_some_and(|it| it.len() == 5 && random(it)) {
        parts.pop();
        if parts.len() > 1 && parts.last().is_some_and(|it| (8..=10).contains(&it.len()) && random(it)) {
            parts.pop();
        }
    }
    parts.join("-")
}

/// What the interpreter was given: a module after `-m`, an archive after `-jar`, otherwise the first word that is not an option.
fn script(command: &[String]) -> Option<String> {
    let mut words = command.iter().skip(1).map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-m" | "-jar" => return words.next().map(stem),
            // Options that are followed by a value; and a program in the command line, which has no name.
            "-cp" | "-classpath" | "--module-path" | "-W" | "-X" | "-r" | "--require" | "--loader" => {
                words.next();
            }
            "-c" | "-e" | "--eval" => return None,
            _ if word.starts_with('-') => {}
            _ => return Some(named(word)),
        }
    }
    None
}

fn named(word: &str) -> String {
    let name = stem(word);
    if !PLAIN.contains(&name.as_str()) {
        return name;
    }
    let folder =
        Path::new(word).parent().and_then(Path::file_name).map(|it| it.to_string_lossy().into_owned());
    folder.filter(|it| !matches!(it.as_str(), "" | "." | "src" | "bin" | "dist")).unwrap_or(name)
}

/// The last part of a path, without the endings of scripts and archives. A Java class keeps its last part.
fn stem(path: &str) -> String {
    let name = path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or(path);
    for ending in [".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".php", ".jar", ".dll"] {
        if let Some(stem) = name.strip_suffix(ending) {
            return stem.to_owned();
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, command: &str, expected: &str) {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let thread = if command.starts_with("/proc") { "exe" } else { "redis-server" };
        assert_eq!(of_command(Path::new(program), thread, &words), expected, "{command}");
    }

    #[test]
    fn commands() {
        check("/usr/sbin/nginx", "nginx: master process", "nginx");
        check("/usr/sbin/nginx (deleted)", "nginx", "nginx");
        check("/usr/bin/redis-check-rdb", "redis-server 127.0.0.1:6379", "redis-server");
        check("/usr/bin/redis-check-rdb", "/opt/x/redis-server --port 1", "redis-server");
        check("/usr/bin/busybox", "sh", "busybox");
        check("/usr/lib/chromium/chromium", "/proc/self/exe --type=utility", "chromium");
        check("/usr/bin/python3.11", "python3 /srv/cart/app.py --port 1", "cart");
        check("/usr/bin/python3.11", "python3 -m http.server 80", "http.server");
        check("/usr/bin/python3", "python3 -u worker.py", "worker");
        check("/usr/bin/python3", "python3 -c print(1)", "python");
        check("/usr/bin/java", "java -Xmx1g -cp /a:/b -jar /opt/orders.jar", "orders");
        check("/usr/bin/node", "node dist/index.js", "index");
        check("/usr/bin/node", "node", "node");
    }

    #[test]
    fn pods() {
        for (pod, name) in [
            ("checkout-6d4cf56db6-x7k2p", "checkout"),
            ("my-redis-0", "my-redis"),
            ("fluent-bit-x7k2p", "fluent-bit"),
            ("plain", "plain"),
            ("front-end", "front-end"),
        ] {
            assert_eq!(of_pod(pod), name);
        }
    }
}
