//! One program for all integration tests, with one module for each promise. `cargo test NAME` runs the
//! tests whose path contains NAME: `equality` runs the module, `equality::names` less of it.
//!
//! The modules share `support`. No module uses another one. `slow` has the modules that take long.

#![expect(clippy::too_many_lines, reason = "a test tells what happens from its first line to its last")]
// A failed expectation is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod account_limits;
mod any_release;
mod archive_tools;
mod authentication;
mod benchmark;
mod chatto_backup_archive;
mod completions;
mod configuration;
mod contexts;
mod damage;
mod dump_names_what_is_missing;
mod edited_formats;
mod equality;
mod fixtures;
mod full_disk;
mod hostile_archives;
mod keys_export;
mod keys_never_overwritten;
mod keys_recovery;
mod keys_seal;
mod keys_verify;
mod load_alone;
mod load_at_once;
mod load_leaves_nothing_half_done;
mod load_notices_a_running_chatto;
mod man_pages;
mod manifest_archives;
mod manifest_edit;
mod manifest_man;
mod manifest_nats_backup;
mod manifest_servers;
mod manifest_text;
mod manifest_verify;
mod messages_hold_no_secret;
mod nats_tool;
mod offline;
mod offline_other_users;
mod offline_refusals;
mod peers;
mod pipes;
mod policy;
mod private_server;
mod progress;
mod puts_deletes_purges;
mod refusals;
mod report;
mod setting_up;
mod settings;
mod slow;
mod standard_streams;
mod tls;
mod unattended;
mod wrong_target;
