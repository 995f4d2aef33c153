//! The programs: one file each, that reads like the DESCRIPTION of its man page and joins the rooms
//! that know nothing of one another.

pub mod dump;
pub mod keys;
pub mod load;
pub mod manifest;

mod address_space;
mod conversion;
mod failure;
mod freed_memory;
mod hint;
mod offline;
mod output;
mod pieces;
mod program;
mod report;
mod report_option;
mod secrets;
mod session;
mod verifier;

pub use failure::Failure;
pub use program::main;
