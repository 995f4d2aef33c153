//! `chatto-dump`: write a Chatto server's data to stdout as a tar archive.
//!
//! Lists every stream of the account, leaves out the streams that Chatto's policy leaves out, captures the others in
//! Chatto's order, and writes each one as it comes. A snapshot is accepted only when it has been read to its end and agrees
//! with the state that the server reported. A stream that fails is tried again. If it fails for good, it is named in the
//! manifest and on stderr, and the other streams are dumped.

mod attempt;
mod consumers;
mod output;
mod plan;
mod rsyncable;
mod streams;
mod watchdog;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;

use self::attempt::{OutputError, written};
use self::output::Output;
use self::plan::{Plan, failed_entry, skipped_entry};
use self::rsyncable::{Rsyncable, newest};
use self::streams::{BACK_OFF_MAX, CaptureOptions, Dumping};
use self::watchdog::Heartbeat;
use super::Failure;
use super::offline::{self, Endpoint, Intent, Signals};
use super::output::{hint_of_output, print, require_stdout};
use super::report::say;
use crate::archive::{Index, MAX_STREAMS, Manifest, ManifestStream, SourceServer, Stats, StreamKind};
use crate::chatto::policy::{CaptureStep, Skip};
use crate::cli;
use crate::exit::Exit;
use crate::jetstream::{CHECK_LIMIT, Listed, Server};
use crate::names::{Printable, Size, StreamName, counted};
use crate::terminal::progress::{Metered, Progress, StreamOutcome, StreamResult, Verbs};
use crate::terminal::{self, Messages};

const PROGRAM: &str = "chatto-dump";

const DOING: Verbs = Verbs { streams: "captured", archive: "written" };

/// Memory for a rescue's data under way, in bytes.
const RESCUE_BUFFER: usize = 32 << 20;

/// Runs the program.
pub fn run(options: cli::Dump) -> anyhow::Result<Exit> {
    require_stdout()?;
    if terminal::stdout_is_terminal() && !options.dry_run {
        return Err(Failure::new(Exit::Usage, "stdout is a terminal, and an archive is binary")
            .hint("write it to a file or a pipe: chatto-dump > backup.tar")
            .into());
    }
    if let Some(dir) = &options.spool_dir
        && !dir.is_dir()
    {
        return Err(
            Failure::new(Exit::Usage, format!("--spool-dir {}: no such directory", dir.display())).into()
        );
    }
    let messages = Messages::new(PROGRAM, options.say.verbosity()).showing(options.showing.style());
    let access = Endpoint::find(&options.offline, &options.connect, Intent::Read)?;
    let (progress, shown) = Progress::shown(DOING, messages);
    let ended = access.run(&options.connect, messages, Signals::EndIt, async |reached| {
        let plan = Plan::new(reached.streams().await?, &options);
        let chosen = |name: &StreamName| options.select.stream.iter().any(|glob| glob.is(name));
        let mut keys = plan.skipped.iter().filter(|(stream, why)| why.is_for_keys() && chosen(&stream.name));
        let nothing = plan.captures.is_empty() && plan.unavailable.is_empty();
        if let Some((stream, _)) = keys.next() {
            let text = format!("stream {} is chosen, and is left out because it holds keys", stream.name);
            let what_to_do = "add --include-keys; whoever reads the archive then has the keys";
            if nothing {
                return Err(Failure::new(Exit::Failed, text).hint(what_to_do).into());
            }
            messages.warning(&format!("{text}; {what_to_do}"));
        }
        if options.select.is_choosy() && nothing {
            return Err(Failure::new(Exit::Failed, "--stream and --exclude select no stream")
                .hint("chatto-dump -n lists what there is")
                .into());
        }
        let streams = plan.streams();
        if streams > MAX_STREAMS && !options.dry_run {
            let text = format!("{streams} streams, and an archive holds at most {MAX_STREAMS}");
            return Err(Failure::new(Exit::Failed, text).into());
        }
        if options.dry_run {
            show(&plan)
        } else {
            dump(&reached.server, plan, &options, messages, progress).await
        }
    });
    drop(shown);
    offline::ended(ended?)
}

async fn dump(
    server: &Server,
    plan: Plan,
    options: &cli::Dump,
    messages: Messages,
    progress: Progress,
) -> anyhow::Result<Exit> {
    let capture_options = CaptureOptions {
        no_consumers: options.no_consumers,
        check: options.check,
        jobs: usize::from(options.jobs),
        buffer: usize::try_from(options.buffer.0).unwrap_or(usize::MAX),
        spool_dir: options.spool_dir.clone(),
        retries: options.retries,
        rsyncable: options.rsyncable.then(|| Rsyncable::of(&plan)),
    };
    let begun = std::time::Instant::now();
    let stdout = terminal::stdout().context("cannot use stdout")?;
    let nameless =
        plan.unavailable.iter().filter(|(name, _)| StreamName::new(name.as_str()).is_err()).count();
    let without_keys = plan.skipped.iter().any(|(_, why)| *why == Skip::Keys);
    let (include_keys, options) = (options.include_keys, &capture_options);
    let run = DumpRun { server, include_keys, options, messages, progress };
    let WrittenArchive { stats, incomplete } = run.write(plan, stdout).await.map_err(to_nobody)?;

    let failed = stats.failed + nameless as u64;
    messages.closing(&format!(
        "{}, {} in {:.1} s; {} left out, {} failed{}",
        counted(stats.total_streams, "stream"),
        Size(stats.total_bytes),
        begun.elapsed().as_secs_f64(),
        stats.skipped,
        failed,
        if without_keys {
            "; encryption keys are not in this archive: chatto-keys export saves them"
        } else {
            ""
        },
    ));
    let ails = [(failed, "not in the archive"), (incomplete, "not complete in the archive")];
    for (count, what) in ails.into_iter().filter(|(count, _)| *count > 0) {
        say(&messages, &Failure::new(Exit::Partial, format!("{} {what}", counted(count, "stream"))).into());
    }
    Ok(if failed > 0 || incomplete > 0 { Exit::Partial } else { Exit::Done })
}

/// An archive that was written to its end.
struct WrittenArchive {
    stats: Stats,
    /// How many of its streams are not complete.
    incomplete: u64,
}

/// A run that writes one archive.
struct DumpRun<'a> {
    server: &'a Server,
    include_keys: bool,
    options: &'a CaptureOptions,
    messages: Messages,
    progress: Progress,
}

impl DumpRun<'_> {
    /// Writes the archive of `plan`, and gives its totals. The watchdog ends it if nothing happens any more.
    async fn write(&self, plan: Plan, to: File) -> Result<WrittenArchive, OutputError> {
        // No wait for anything outside this program is longer than this. Twice that time is a fault of this program.
        let check = if self.options.check { CHECK_LIMIT } else { Duration::ZERO };
        let limit = self.server.patience().max(check).max(BACK_OFF_MAX).saturating_mul(2);
        let heartbeat = Arc::new(Heartbeat::default());
        tokio::select! {
            written = self.write_unwatched(plan, to, &heartbeat) => written,
            () = heartbeat.stopped(limit) => Err(OutputError::Stuck(limit)),
        }
    }

    /// The same without the watchdog. It reports everything that happens to `heartbeat`.
    async fn write_unwatched(
        &self,
        plan: Plan,
        to: File,
        heartbeat: &Arc<Heartbeat>,
    ) -> Result<WrittenArchive, OutputError> {
        let begun = std::time::Instant::now();
        let index = self.index(&plan);
        let mut manifest = Manifest {
            version: index.version,
            created_at: index.created_at,
            generator: Some(index.generator.clone()),
            server: index.server.clone(),
            include_keys: Some(index.include_keys),
            rsyncable: self.options.rsyncable.is_some(),
            edited: Vec::new(),
            streams: Vec::new(),
            stats: Stats::default(),
        };
        let progress = &self.progress;
        progress.expect(
            (plan.captures.len() + plan.unavailable.len()) as u64,
            plan.captures.iter().map(|stream| stream.bytes).fold(0, u64::saturating_add),
        );
        let mtime = u64::try_from(index.created_at.as_second()).unwrap_or_default();
        let to = Metered::new(progress.summed(to), progress.clone());
        let output = Output::new(to, mtime, Arc::clone(heartbeat)).map_err(OutputError::Archive)?;
        written(output.index(index)).await?;

        let entries = &mut manifest.streams;
        entries.extend(self.unavailable(plan.unavailable));
        let mut captures = plan.captures;
        let (server, options) = (self.server, self.options);
        let dumping =
            Dumping::new(server, &output, options, self.messages, progress.clone(), Arc::clone(heartbeat));
        for step in CaptureStep::ALL {
            let later = captures.iter().position(|stream| CaptureStep::of(&stream.name) > step);
            let rest = captures.split_off(later.unwrap_or(captures.len()));
            entries.extend(dumping.streams(captures).await?);
            captures = rest;
        }
        for (stream, why) in &plan.skipped {
            progress.result(StreamResult::not(stream.name.as_str(), StreamOutcome::Skipped, why.reason()));
        }
        entries.extend(plan.skipped.iter().map(|(stream, why)| skipped_entry(stream, *why)));

        let duration_ms = match manifest.rsyncable {
            true => 0,
            false => u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        manifest.stats = manifest.count(duration_ms);
        let stats = manifest.stats;
        written(output.finish(manifest)).await?;
        Ok(WrittenArchive { stats, incomplete: dumping.incomplete() })
    }

    /// The index, with which the archive begins.
    fn index(&self, plan: &Plan) -> Index {
        let rsyncable = self.options.rsyncable.is_some();
        let index = Index {
            version: 1,
            created_at: if rsyncable { newest(plan) } else { whole_seconds(Timestamp::now()) },
            generator: concat!("chatto-pipes ", env!("CARGO_PKG_VERSION")).to_string(),
            server: Some(SourceServer {
                version: self.server.version_text(),
                cluster: self.server.cluster(),
            }),
            include_keys: self.include_keys,
            streams: plan.indexed(),
        };
        if rsyncable { index.rsyncable() } else { index }
    }

    /// Names what cannot be captured.
    fn unavailable(&self, streams: Vec<(String, String)>) -> Vec<ManifestStream> {
        let mut entries = Vec::new();
        for (name, reason) in streams {
            self.messages.error(&format!("stream {}: {reason}", Printable::new(&name)));
            self.progress.result(StreamResult::not(&name, StreamOutcome::Failed, &reason));
            if let Ok(name) = StreamName::new(name) {
                self.progress.failed(&name);
                entries.push(failed_entry(name, reason, None));
            }
        }
        entries
    }
}

/// Writes an archive of one stream to `to`: what `chatto-load` takes before it overwrites. Fails unless
/// the stream is in it whole.
pub(super) async fn rescue(
    server: &Server,
    stream: Listed,
    to: File,
    messages: Messages,
) -> anyhow::Result<()> {
    let options = CaptureOptions {
        no_consumers: false,
        check: false,
        jobs: 1,
        buffer: RESCUE_BUFFER,
        spool_dir: None,
        retries: 3,
        rsyncable: None,
    };
    let name = stream.name.clone();
    let plan = Plan { captures: vec![stream], skipped: Vec::new(), unavailable: Vec::new() };
    let (options, progress) = (&options, Progress::new(DOING));
    let run = DumpRun { server, include_keys: true, options, messages, progress };
    let WrittenArchive { stats, .. } = run.write(plan, to).await?;
    if stats.failed > 0 {
        anyhow::bail!("a snapshot of stream {name} is not to be had");
    }
    Ok(())
}

/// `--dry-run`: one line a stream, for people and for awk.
fn show(plan: &Plan) -> anyhow::Result<Exit> {
    let mut lines = String::new();
    for stream in &plan.captures {
        let kind = match StreamKind::of(&stream.name) {
            StreamKind::Kv => "kv",
            StreamKind::ObjectStore => "object_store",
            StreamKind::Stream | StreamKind::Skipped => "stream",
        };
        lines += &format!("{}\t{kind}\t{}\t{}\n", stream.name, stream.messages, stream.bytes);
    }
    for (stream, why) in &plan.skipped {
        lines +=
            &format!("{}\tskipped\t{}\t{}\t{}\n", stream.name, stream.messages, stream.bytes, why.reason());
    }
    for (name, reason) in &plan.unavailable {
        lines += &format!("{}\tunavailable\t\t\t{reason}\n", Printable::new(name));
    }
    let read = print(lines.as_bytes())?;
    Ok(if !read || plan.unavailable.is_empty() { Exit::Done } else { Exit::Partial })
}

/// An archive that cannot be written is no archive: what there is of it has no end record.
fn to_nobody(error: OutputError) -> anyhow::Error {
    let hint = match &error {
        OutputError::Archive(cause) => {
            hint_of_output(cause).unwrap_or_else(|| "is the disk of the archive full?".into())
        }
        OutputError::Spool { .. } => {
            "make room there, choose another directory with --spool-dir, or do without it".into()
        }
        OutputError::Stuck(_) => {
            "this is a fault of the program: please report it; -j 1 captures one stream after another".into()
        }
    };
    let text = super::report::text_of(&anyhow::Error::new(error));
    Failure::new(Exit::Failed, text).hint(hint).into()
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
