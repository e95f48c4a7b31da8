//! The command line: what can be asked of the program. No behaviour.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shop::Fault;

use crate::config::Span;

/// Where `why` and `recording` look for a running program.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// Why is this service failing?
///
/// Inquest watches traces, logs, metrics, profiles and changes, opens an incident when users are being hurt, and
/// explains it with evidence that can be opened.
#[derive(Debug, Parser)]
#[command(
    name = "inquest",
    version,
    after_help = "Examples:\n  \
        inquest demo                     a live shop, a fault, and its explanation\n  \
        inquest serve                    take OTLP on 4317 and 4318, show pages on http://127.0.0.1:8080\n  \
        inquest why checkout             explain in this terminal"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes telemetry in, watches it, and serves the pages and the API.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Explains why a service fails.
    #[command(after_help = WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Writes and reads recordings of incidents.
    #[command(subcommand)]
    Recording(RecordingCommand),
    /// Reads log files.
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Scores answers on recorded incidents whose cause is known.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Runs a detector on a file, without any server.
    #[command(subcommand)]
    Detect(DetectCommand),
    /// Runs a small live shop, breaks it, and explains what broke.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Checks a config file, or shows the defaults.
    #[command(subcommand)]
    Config(ConfigCommand),
}

const SERVE_EXAMPLES: &str = "Examples:\n  \
    inquest serve --data /var/lib/inquest\n  \
    inquest serve --clickhouse http://inquest:secret@clickhouse:8123 --listen 0.0.0.0:8080\n  \
    inquest serve --config inquest.toml\n\n\
    Everything listens on loopback unless told otherwise. There is no sign-in: put a proxy that has it in front.\n\
    INQUEST_LOG=debug says more on standard error; INQUEST_ENGINE=/path/libchdb.so names the engine's library.";

const WHY_EXAMPLES: &str = "Examples:\n  \
    inquest why checkout\n  \
    inquest why checkout --at 2026-11-19T14:10:00Z --since 30m\n  \
    inquest why --recording recordings/INC-0142 --format markdown";

const TEMPLATES_EXAMPLES: &str = "Examples:\n  \
    inquest logs templates app.log\n  \
    inquest logs templates app.log --csv > patterns.csv\n  \
    kubectl logs deploy/checkout | inquest logs templates -\n\n\
    One message per line, with or without its time and level. Lines of a stack trace get the pattern of the message above\n\
    them. What varies is shown as <*>. Ids depend on the pattern alone: they are the same in every run.";

const ANOMALIES_EXAMPLES: &str = "Examples:\n  \
    inquest detect anomalies cpu.csv\n  \
    inquest detect anomalies cpu.csv --csv > scores.csv\n  \
    inquest detect anomalies requests_total.csv --counter\n\n\
    The file needs the columns `timestamp` (RFC 3339, `2026-11-19 14:02:31` in UTC, or Unix seconds) and `value`; an \
    empty value or NaN is a gap.\n\n\
    Values are scored in the order of the file, each by those before it alone: 0 is ordinary, from 0.5 on a value is an \
    anomaly. What goes on after an anomaly began is part of it and scores low.";

const DEMO_EXAMPLES: &str = "Examples:\n  \
    inquest demo\n  \
    inquest demo --list\n  \
    inquest demo --fault database-lock\n  \
    inquest demo --fault traffic-surge --exit-after-answer --json";

/// Where the store is.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// Data folder of the embedded engine [default: inquest-data]
    #[arg(long, value_name = "DIR", env = "INQUEST_DATA")]
    pub data: Option<PathBuf>,
    /// ClickHouse server to use instead of the embedded engine
    #[arg(long, value_name = "URL", env = "INQUEST_CLICKHOUSE", hide_env_values = true)]
    pub clickhouse: Option<String>,
    /// Config file
    #[arg(long, value_name = "FILE", env = "INQUEST_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Address of pages and API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "INQUEST_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Address of OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, value_name = "ADDR", env = "INQUEST_GRPC")]
    pub grpc: Option<SocketAddr>,
    /// Address of OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDR", env = "INQUEST_HTTP")]
    pub http: Option<SocketAddr>,
}

/// Arguments of `why`.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// The service that fails
    #[arg(required_unless_present = "recording")]
    pub service: Option<String>,
    /// End of the time looked at, RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How far back to look [default: the incident at that time, or 1h]
    #[arg(long, value_name = "LENGTH")]
    pub since: Option<Span>,
    /// Address of a running `inquest serve`
    #[arg(long, value_name = "URL", env = "INQUEST_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Investigate a recording instead, without any server
    #[arg(long, value_name = "DIR")]
    pub recording: Option<PathBuf>,
    /// With --recording: say on standard error how long loading, each check, observing and reasoning took
    #[arg(long, requires = "recording")]
    pub timings: bool,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How to print an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For a ticket.
    Markdown,
    /// For a program.
    Json,
}

/// What to do with recordings.
#[derive(Debug, Subcommand)]
pub enum RecordingCommand {
    /// Writes a recording of an incident, or of a stretch of time, into a folder.
    Export(ExportArgs),
    /// Puts the telemetry of a recording into a store.
    Import(ImportArgs),
    /// Says what a recording holds.
    Show {
        /// Folder of the recording
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// Arguments of `recording export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Folder to write, which must not exist yet or be empty
    #[arg(value_name = "OUT_DIR")]
    pub out: PathBuf,
    /// The incident to record
    #[arg(long, value_name = "ID", conflicts_with_all = ["service", "at", "since"])]
    pub incident: Option<String>,
    /// The service that the recording is about
    #[arg(long)]
    pub service: Option<String>,
    /// End of the stretch recorded, RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Length of the stretch recorded [default: 1h]
    #[arg(long, value_name = "LENGTH")]
    pub since: Option<Span>,
    /// Ask this running `inquest serve` [default: http://127.0.0.1:8080, unless a store is named]
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "clickhouse", "config"])]
    pub server: Option<String>,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Arguments of `recording import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// Folder of the recording
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What to do with log files.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Groups the lines of a file into patterns.
    #[command(after_help = TEMPLATES_EXAMPLES)]
    Templates(TemplatesArgs),
}

/// Arguments of `logs templates`.
#[derive(Clone, Debug, Args)]
pub struct TemplatesArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print `line,template_id,template` for every line, in order, instead of a table of patterns
    #[arg(long)]
    pub csv: bool,
}

/// What to do with incidents whose cause is known.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Investigates recordings and compares the answers with their labels.
    Run(EvalArgs),
    /// Checks how answers are told: recorded incidents with recorded answers, and a hostile set.
    Narrative(NarrativeArgs),
    /// Replays logs whose failures are known through the suppression of alerts, split in time.
    Suppression(SuppressionArgs),
}

/// Arguments of `eval narrative`.
#[derive(Clone, Debug, Args)]
pub struct NarrativeArgs {
    /// Folders of recordings, or of folders of them
    #[arg(value_name = "DIR", default_value = "eval/recordings")]
    pub dirs: Vec<PathBuf>,
    /// Folder of recorded answers: ID.jsonl holds one per line
    #[arg(long, value_name = "DIR", default_value = "eval/narratives")]
    pub answers: PathBuf,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Ask the model of the config file instead of repeating recorded answers
    #[arg(long, requires = "config")]
    pub live: bool,
    /// Config file that names the model
    #[arg(long, value_name = "FILE", env = "INQUEST_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Arguments of `eval suppression`.
#[derive(Clone, Debug, Args)]
pub struct SuppressionArgs {
    /// Folders with logs in the format of LogHub that have a column `Label`
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `eval run`.
#[derive(Clone, Debug, Args)]
pub struct EvalArgs {
    /// Folders of recordings, or of folders of them
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report of every case, as one HTML file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Recordings investigated at a time [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    pub jobs: Option<std::num::NonZeroU8>,
    /// Compare with the JSON of an earlier run, and exit with 1 when a case became worse
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
}

/// Which detector to run.
#[derive(Debug, Subcommand)]
pub enum DetectCommand {
    /// Finds anomalies in a metric series.
    #[command(after_help = ANOMALIES_EXAMPLES)]
    Anomalies(AnomaliesArgs),
}

/// Arguments of `detect anomalies`.
#[derive(Clone, Debug, Args)]
pub struct AnomaliesArgs {
    /// CSV file with the columns `timestamp` and `value`
    #[arg(value_name = "FILE.csv")]
    pub file: PathBuf,
    /// Print `timestamp,value,score,anomaly` for every row instead of sentences
    #[arg(long)]
    pub csv: bool,
    /// The values are a counter: score its rate per second, resets allowed for
    #[arg(long)]
    pub counter: bool,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// What goes wrong
    #[arg(long, value_name = "NAME", default_value = "n-plus-one")]
    pub fault: Fault,
    /// List the faults, and stop
    #[arg(long)]
    pub list: bool,
    /// Decides arrivals and choices of the shop's visitors
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Visitors per second
    #[arg(long, default_value_t = 40.0, value_name = "PER_SECOND")]
    pub rate: f64,
    /// How long the shop runs well before the fault
    #[arg(long, value_name = "LENGTH", default_value = "75s")]
    pub after: Span,
    /// New or empty folder to keep data in, for `inquest serve --data` to open later [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Stop when the fault is explained: 0 when rightly, 1 when not
    #[arg(long)]
    pub exit_after_answer: bool,
    /// With --exit-after-answer: print the outcome as one line of JSON, and the story on standard error
    #[arg(long, requires = "exit_after_answer")]
    pub json: bool,
    /// Write a recording of the incident into this folder before stopping
    #[arg(long, value_name = "OUT_DIR", requires = "exit_after_answer")]
    pub record: Option<PathBuf>,
}

/// What to do with config files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Says whether a file can be used, and what is wrong with it if not.
    Check {
        /// The file
        file: PathBuf,
    },
    /// Prints the defaults, as a file.
    Defaults,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn check(line: &str, expected: bool) {
        let parsed = Cli::try_parse_from(line.split_whitespace());
        assert_eq!(parsed.is_ok(), expected, "{line}: {parsed:?}");
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_are_understood_or_refused() {
        check("inquest serve", true);
        check("inquest serve --data d --listen 0.0.0.0:80 --grpc 127.0.0.1:0", true);
        check("inquest serve --listen 8080", false);
        check("inquest why checkout --since 30m --format json", true);
        check("inquest why checkout --since yesterday", false);
        check("inquest why", false);
        check("inquest why --recording r --timings", true);
        check("inquest why checkout --timings", false);
        check("inquest recording export out --incident INC-0001", true);
        check("inquest recording export out --incident 1 --since 1h", false);
        check("inquest recording export out --server http://x --data d", false);
        check("inquest recording import r --data d", true);
        check("inquest logs templates app.log", true);
        check("inquest logs templates - --csv", true);
        check("inquest logs templates", false);
        check("inquest eval run a b --json out.json --html out.html --jobs 2 --baseline old.json", true);
        check("inquest eval run", false);
        check("inquest eval narrative --json out.json", true);
        check("inquest eval narrative --live", false);
        check("inquest eval suppression logs --json out.json", true);
        check("inquest eval suppression", false);
        check("inquest eval run a --jobs 0", false);
        check("inquest demo --fault traffic-surge --after 20s --exit-after-answer --json", true);
        check("inquest detect anomalies cpu.csv --csv", true);
        check("inquest detect anomalies", false);
        check("inquest demo --fault earthquake", false);
        check("inquest demo --json", false);
        check("inquest", false);
    }
}
