//! Opens one layer after the other, until it reaches the content. Does not look at the content.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::error::Error;
use super::layer::{self, Layer, OuterInput};
use super::limits::{LAYERS_MAX, ZSTD_WINDOW_LOG_MAX, ZSTD_WINDOW_LOG_NESTED};
use super::recognise::{Foreign, HEAD, LayerKind};
use super::secrets::Secrets;
use super::{gzip, unlock};

/// Bytes read ahead of a layer.
const BUFFER: usize = 64 << 10;

/// The content of an input, without its layers.
pub struct Opened {
    input: Box<dyn Read + Send>,
    layers: Vec<LayerKind>,
}

impl Opened {
    /// What was unwrapped, the outermost first; empty for a bare input.
    pub fn layers(&self) -> &[LayerKind] {
        &self.layers
    }
}

impl Read for Opened {
    /// # Errors
    /// Whatever reading the input said, as it said it; or an error that holds a [`Damaged`](super::Damaged).
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf).map_err(layer::unmark)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("layers", &self.layers).finish_non_exhaustive()
    }
}

/// Opens whatever `input` is wrapped in; `secrets` is asked only when an age layer is met.
///
/// # Errors
/// The first bytes of the content must be reached: everything that can go wrong on the way there is an
/// [`Error`]; what goes wrong later comes out of reading [`Opened`].
pub fn open(input: Box<dyn Read + Send>, secrets: &mut dyn Secrets) -> Result<Opened, Error> {
    let mut input: Box<dyn Read + Send> = Box::new(OuterInput(input));
    let mut layers = Vec::new();
    loop {
        let head = head(&mut input).map_err(Error::reading)?;
        let format = LayerKind::of(&head);
        if let (None, Some(foreign)) = (format, Foreign::of(&head)) {
            return Err(Error::Foreign(foreign));
        }
        let whole = Cursor::new(head).chain(input);
        let Some(format) = format else {
            return Ok(Opened { input: Box::new(whole), layers });
        };
        if layers.len() == LAYERS_MAX {
            return Err(Error::TooDeep);
        }
        let nested = layers.contains(&LayerKind::Zstd);
        layers.push(format);
        let whole = BufReader::with_capacity(BUFFER, whole);
        input = match format {
            LayerKind::Gzip => Box::new(Layer::new(format, gzip::GzipReader::new(whole))),
            LayerKind::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(whole).map_err(Error::Read)?;
                let window = if nested { ZSTD_WINDOW_LOG_NESTED } else { ZSTD_WINDOW_LOG_MAX };
                decoder.window_log_max(window).map_err(Error::Read)?;
                Box::new(Layer::new(format, decoder))
            }
            LayerKind::Age | LayerKind::Armored => sealed(format, whole, secrets)?,
        };
    }
}

/// Takes off one layer of age and nothing else: undoes [`seal`](super::seal()).
///
/// # Errors
/// As [`open`], and [`Error::NotSealed`].
pub fn unseal(input: Box<dyn Read + Send>, secrets: &mut dyn Secrets) -> Result<Opened, Error> {
    let mut input = OuterInput(input);
    let head = head(&mut input).map_err(Error::reading)?;
    let Some(format @ (LayerKind::Age | LayerKind::Armored)) = LayerKind::of(&head) else {
        return Err(Error::NotSealed);
    };
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input));
    Ok(Opened { input: sealed(format, whole, secrets)?, layers: vec![format] })
}

fn sealed(
    format: LayerKind,
    input: impl BufRead + Send + 'static,
    secrets: &mut dyn Secrets,
) -> Result<Box<dyn Read + Send>, Error> {
    Ok(match format {
        LayerKind::Armored => Box::new(Layer::new(format, unlock::open(unlock::armored(input), secrets)?)),
        _ => Box::new(Layer::new(format, unlock::open(input, secrets)?)),
    })
}

/// The first [`HEAD`] bytes, or all there are.
fn head(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    input.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}
