//! What is Chatto's own.
