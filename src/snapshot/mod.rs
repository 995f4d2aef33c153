//! What is inside a snapshot.
