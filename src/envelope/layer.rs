//! Separates three kinds of failure in a stack of decoders: the input could not be read, this layer is damaged, or an outer
//! layer is damaged. The decoders mix them in their [`io::Error`]s. Knows no layer's format.

use std::io::{self, ErrorKind, Read};

use super::error::{DamageKind, Damaged, Error};
use super::recognise::LayerKind;

/// The outermost input. It marks its errors, so that no layer takes them for its own damage. It also
/// retries interrupted reads, because not every decoder does.
pub(super) struct OuterInput(pub Box<dyn Read + Send>);

/// An error of the input on its way out through the layers.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(io::Error);

impl Read for OuterInput {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io::Error::new(error.kind(), Unreadable(error))),
                read => return read,
            }
        }
    }
}

/// The error of the input as the input gave it; any other as it is.
pub(super) fn unmark(error: io::Error) -> io::Error {
    match error.downcast::<Unreadable>() {
        Ok(Unreadable(error)) | Err(error) => error,
    }
}

/// A decoder. Its own errors become [`Damaged`], and errors of outer layers pass unchanged.
pub(super) struct Layer<R> {
    decoder: R,
    format: LayerKind,
    after: u64,
    /// Once damaged, always damaged: a decoder may go on after an error.
    damaged: Option<Damaged>,
}

impl<R: Read> Layer<R> {
    pub fn new(format: LayerKind, decoder: R) -> Self {
        Layer { decoder, format, after: 0, damaged: None }
    }
}

impl<R: Read> Read for Layer<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(damaged) = &self.damaged {
            return Err(damaged.clone().into_io());
        }
        match self.decoder.read(buf) {
            Ok(n) => {
                self.after = self.after.saturating_add(n as u64);
                Ok(n)
            }
            Err(error) => match judge(self.format, self.after, error) {
                Ok(damaged) => Err(self.damaged.insert(damaged).clone().into_io()),
                Err(passing) => Err(passing),
            },
        }
    }
}

/// What `error`, which came out of the decoder of `format`, says of that layer: that it is damaged, or
/// nothing, because it comes from further out.
pub(super) fn judge(format: LayerKind, after: u64, error: io::Error) -> Result<Damaged, io::Error> {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<Unreadable>() || inner.is::<Damaged>()) {
        return Err(error);
    }
    let kind = match error.kind() {
        ErrorKind::UnexpectedEof => DamageKind::Cut,
        _ => DamageKind::Altered,
    };
    // What the decoders say of an early end is "unexpected end of file" in as many wordings.
    let reason = match kind {
        DamageKind::Cut => String::new(),
        DamageKind::Altered => error.to_string(),
    };
    Ok(Damaged { format, kind, after, reason })
}

/// The same for a decoder that failed before its first byte.
pub(super) fn refuse(format: LayerKind, error: io::Error) -> Error {
    match judge(format, 0, error) {
        Ok(damaged) => Error::Damaged(damaged),
        Err(error) => Error::reading(error),
    }
}

impl Error {
    /// An error that came out of reading a layer or the input itself.
    pub(super) fn reading(error: io::Error) -> Error {
        match Damaged::find(&error) {
            Some(damaged) if wants_window(damaged) => Error::Window,
            Some(damaged) => Error::Damaged(damaged.clone()),
            None => Error::Read(unmark(error)),
        }
    }
}

/// libzstd's words for `ZSTD_error_frameParameter_windowTooLarge`; the crate passes on no number.
fn wants_window(damaged: &Damaged) -> bool {
    damaged.format == LayerKind::Zstd && damaged.reason.contains("too much memory")
}
