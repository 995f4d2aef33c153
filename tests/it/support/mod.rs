//! What the tests share: real nats-servers, our programs, fixtures that look like Chatto, and the
//! judge of equality.
//!
//! A module of tests takes what it needs by `use crate::support`. Everything returns errors (or panics with
//! a message) instead of skipping.

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
