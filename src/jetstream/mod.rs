//! JetStream.

pub mod private_server;
