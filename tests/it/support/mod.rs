//! What the tests share: real nats-servers, our programs, fixtures that look like Chatto, and the comparison of two servers.
//!
//! A module of tests imports what it needs from `crate::support`. Nothing here skips a test: it returns an error, or panics
//! with a message.

// No test uses all of it, and a failed expectation here is a failed test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod archive;
pub mod builder;
pub mod captures;
pub mod certificates;
pub mod cluster;
pub mod containers;
pub mod equality;
pub mod far;
pub mod faults;
pub mod fixtures;
pub mod impostor;
pub mod jwt;
pub mod measure;
pub mod nats;
pub mod pages;
pub mod port;
pub mod processes;
pub mod programs;
pub mod proxy;
pub mod publish;
pub mod random;
pub mod s2;
pub mod server;
pub mod terminal;
