//! gzip, zstd, age.
