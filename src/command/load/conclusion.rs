//! The end of a load: the streams that the archive listed and that did not come, the report, and the exit code. Restores
//! nothing.

use super::announced::Announced;
use super::context::Context;
use super::left_alone;
use super::pairing::Pairing;
use crate::archive::{ArchiveEnd, Layout};
use crate::chatto::policy;
use crate::command::Failure;
use crate::exit::Exit;
use crate::names::{Size, StreamName, consumers, counted};

/// Reports on an archive that was read to its end, and gives the exit code. `has_keys` tells whether it holds an
/// export of keys.
pub(super) fn conclude(
    context: &Context,
    announced: &Announced,
    pairing: &Pairing,
    has_keys: bool,
    ended: &ArchiveEnd,
) -> anyhow::Result<Exit> {
    if ended.layout == Layout::Keys || (has_keys && context.outcomes.borrow().restored().is_empty()) {
        let what = "this is an export of encryption keys, not an archive of streams";
        return Err(Failure::new(Exit::Damaged, what).hint("chatto-keys import reads it").into());
    }
    fail_what_disagrees(context, announced);
    fail_what_did_not_come(context, announced, pairing);
    left_alone::say_how_they_stand(context, announced);
    left_alone::say_what_is_left_over(context);
    if context.outcomes.borrow().are_none() && context.options.select.is_choosy() {
        return Err(Failure::new(Exit::Failed, "--stream and --exclude select no stream of the archive")
            .hint("tar tf shows what is in it")
            .into());
    }
    let outcomes = context.outcomes.borrow();
    outcomes.say_what_changed();
    for (stream, missing) in announced.lacking(outcomes.restored()) {
        let names = consumers(missing);
        context
            .messages
            .warning(&format!("stream {stream}: the archive lacks {names}, as its manifest says"));
    }
    close(context, ended.sums);
    context.replacing.conclude(outcomes.failures() == 0);
    Ok(outcomes.exit())
}

/// The load has ended early: says what is restored and what is kept.
pub(super) fn say_what_stands(context: &Context) {
    context.replacing.conclude(false);
    if context.options.dry_run {
        return;
    }
    let outcomes = context.outcomes.borrow();
    let names: Vec<String> = outcomes.restored().keys().map(ToString::to_string).collect();
    context.messages.notice(&match names.is_empty() {
        true => "nothing was restored".to_string(),
        false => format!("restored before that, and kept: {}", names.join(", ")),
    });
}

/// Fails the streams that the manifest describes otherwise than they came.
fn fail_what_disagrees(context: &Context, announced: &Announced) {
    let mut outcomes = context.outcomes.borrow_mut();
    let belied: Vec<_> = announced.belied(outcomes.restored()).into_iter().cloned().collect();
    for stream in belied {
        outcomes.fail(&stream, Exit::Damaged, "the manifest does not agree with its snapshot");
    }
    for stream in announced.unlisted(outcomes.restored()) {
        outcomes.fail(&stream, Exit::Damaged, "the archive holds it and its manifest does not list it");
    }
    for (stream, file) in announced.emptied() {
        if context.options.select.selects(&stream) {
            let what = format!("its {file} is empty, and the manifest does not say that it failed");
            outcomes.fail(&stream, Exit::Damaged, &what);
        }
    }
}

/// Fails the streams that did not come, or of which a part did not come.
fn fail_what_did_not_come(context: &Context, announced: &Announced, pairing: &Pairing) {
    let undescribed = pairing.snapshots_alone().cloned();
    let undescribed =
        undescribed.map(|stream| (stream, "the archive holds its snapshot and not its backup.json"));
    let missing = announced.missing().into_iter();
    let missing = missing.map(|stream| (stream, "the archive lists it and does not hold it"));
    let described = pairing.descriptions_alone().cloned();
    let described =
        described.map(|stream| (stream, "the archive holds its backup.json and not its snapshot"));
    let mut outcomes = context.outcomes.borrow_mut();
    for (stream, what) in undescribed.chain(missing).chain(described) {
        // The manifest may have said that it failed.
        if context.options.select.selects(&stream) && !outcomes.has_failed(&stream) {
            outcomes.fail(&stream, Exit::Damaged, what);
        }
    }
}

/// Prints the closing line.
fn close(context: &Context, has_end_record: bool) {
    let outcomes = context.outcomes.borrow();
    let restored = match &context.options {
        options if options.dry_run => "would be restored",
        options if options.read_back => "restored and read back",
        _ => "restored",
    };
    let bytes = outcomes.restored().values().map(|proven| proven.bytes).sum();
    context.messages.closing(&format!(
        "{} {restored}, {}; {} left alone, {} failed{}{}",
        counted(outcomes.restored().len() as u64, "stream"),
        Size(bytes),
        outcomes.skipped().len(),
        outcomes.failures(),
        if has_end_record { "" } else { " (the archive has no end record)" },
        match lacks_keys(context) {
            true => "; this server has no encryption keys: chatto-keys import, before Chatto's first start",
            false => "",
        },
    ));
}

/// Whether the destination is a Chatto's now and has no keys. Without them it refuses every login.
fn lacks_keys(context: &Context) -> bool {
    let keys = |name: &StreamName| name.as_str() == policy::KEY_BUCKET;
    let lasts = !context.options.dry_run && !context.options.read_back;
    let (outcomes, existing) = (context.outcomes.borrow(), context.replacing.existing());
    let mut restored = outcomes.restored().keys();
    lasts && restored.clone().any(policy::tells_chatto) && !restored.any(keys) && !existing.names().any(keys)
}
