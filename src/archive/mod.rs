//! The archive of chatto-archive(5).
