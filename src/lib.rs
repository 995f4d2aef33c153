//! Backs up and restores a Chatto server through Unix pipes, and believes nothing that it has not read.
//!
//! Chatto keeps everything in NATS JetStream. Four programs move it through pipes; each is one file
//! in [`command`], and data flows one way:
//!
//! ```text
//! server ─ jetstream ─ buffer ─┬─ archive ─ stdout                      (dump)
//!                              └─ snapshot check ─ manifest
//! stdin ─ envelope ─ archive ─┬─ to a tar ─ jetstream ─ server ─ commit (load)
//!                             └─ snapshot check ────────────────┘ only if proven
//! server ─ jetstream ─ key records ─ envelope ─ stdout, and back        (keys)
//! stdin ─ envelope ─ archive ─ snapshot check ─ verdict, list, archive  (manifest)
//! ```
//!
//! Each module knows only its neighbours:
//!
//! | module | what it does | what it must not know |
//! |---|---|---|
//! | [`cli`] | the options of every program, as data | any I/O |
//! | [`command`] | one file a program; joins the modules below | how the others work inside |
//! | [`archive`] | the tar format: index, manifest, sums, reader, writer | NATS |
//! | [`snapshot`] | what is inside a server's snapshot, whether it is whole, and how to write one | NATS, the archive |
//! | [`jetstream`] | connect, list, capture, restore | tar |
//! | [`envelope`] | gzip, zstd, age: recognise and open, seal | what is inside |
//! | [`chatto`] | everything special to Chatto: configuration, keys, stream policy | how bytes travel |
//! | [`release`] | what depends on nats-server's release: formats, levels, settings | everything else |
//! | [`description`] | a stream's configuration and state, as raw JSON | where they came from |
//! | [`settings`] | compares configurations of streams and consumers by their meaning | where they came from |
//! | `json` | bounds what a JSON text takes in memory | what it says |
//! | `tar_header` | writes and reads the headers of a tar | what the paths mean |
//! | [`names`] | the small types: stream names, globs, sizes | everything else |
//! | [`terminal`], [`exit`] | stdin, stdout, messages, progress, reports, exit codes | everything else |

pub mod archive;
pub mod chatto;
pub mod cli;
pub mod command;
pub mod description;
pub mod envelope;
pub mod exit;
pub mod jetstream;
mod json;
pub mod names;
pub mod release;
pub mod settings;
pub mod snapshot;
mod tar_header;
pub mod terminal;
