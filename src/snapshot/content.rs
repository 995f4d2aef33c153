//! The content of a snapshot: the bytes of its blocks, one after another, with the offset of every byte.
//! Knows no S2 (see [`blocks`](super::blocks)) and no format inside them.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::background::{BackgroundDecoder, WORTH};
use super::blocks::{Blocks, Broken, Decoded};
use super::fault::{Fault, Place};
use crate::names::Printable;

/// The content of a snapshot that is read from an input, decoded. Holds what [`blocks`](super::blocks) does and one
/// decoded block, or the memory of [`background`](super::background).
pub struct Content<R> {
    /// Reads the blocks. None after the background thread has taken over.
    blocks: Option<Box<Blocks<R>>>,
    block: Decoded,
    background: Option<BackgroundDecoder>,
    /// After how many bytes of the stream a background thread takes over, and how. None if that is not allowed.
    move_to_background: Option<(u64, BeginDecoder<R>)>,
    offset: u64,
    ended: bool,
    /// The next byte of the block at hand.
    at: usize,
    /// The first one that was not consumed when frames were passed on last.
    begin: usize,
    entry: Option<Printable>,
    sequence: Option<u64>,
    decoded: Arc<AtomicU64>,
}

type BeginDecoder<R> = fn(Box<Blocks<R>>) -> Result<BackgroundDecoder, Box<Blocks<R>>>;

impl<R: Read> From<R> for Content<R> {
    fn from(input: R) -> Self {
        Content::new(input)
    }
}

impl<R: Read + Send + 'static> Content<R> {
    /// Has all but the beginning of a long one decoded on a thread of its own, which keeps the input.
    pub fn decoded_in_background(self) -> Self {
        Content { move_to_background: Some((WORTH, BackgroundDecoder::begin)), ..self }
    }

    /// Has all of it decoded on a thread, be there a processor for that or not.
    #[cfg(test)]
    pub(super) fn decoded_in_background_always(self) -> Self {
        Content { move_to_background: Some((0, BackgroundDecoder::begin_always)), ..self }
    }
}

impl<R: Read> Content<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Self {
        Content {
            blocks: Some(Box::new(Blocks::new(input))),
            block: Decoded::default(),
            background: None,
            move_to_background: None,
            offset: 0,
            ended: false,
            at: 0,
            begin: 0,
            entry: None,
            sequence: None,
            decoded: Arc::default(),
        }
    }

    /// Keeps the frames until they are [passed on](Content::pass_frames).
    pub(super) fn keeping_frames(mut self) -> Self {
        self.keep_frames(true);
        self
    }

    /// Keeps no more frames, and forgets those that are kept.
    pub(super) fn keep_none(&mut self) {
        self.keep_frames(false);
    }

    fn keep_frames(&mut self, keep: bool) {
        if let Some(blocks) = &mut self.blocks {
            blocks.keep(keep);
        }
    }

    /// Writes the frames whose content has been consumed to `out`.
    pub(super) fn pass_frames(&mut self, out: &mut impl Write) -> io::Result<()> {
        let consumed = self.at_hand().is_empty();
        if consumed {
            self.begin = self.at;
        }
        self.blocks.as_mut().map_or(Ok(()), |blocks| blocks.pass(consumed, out))
    }

    /// What of the frame at hand has been consumed.
    pub(super) fn consumed(&self) -> &[u8] {
        self.block().get(self.begin..self.at).unwrap_or(&[])
    }

    /// Notes in `decoded` how many bytes of content have been decoded.
    pub(super) fn counting(self, decoded: Arc<AtomicU64>) -> Self {
        Content { decoded, ..self }
    }

    /// Decoded bytes that are at hand; at least one, unless the stream has ended cleanly.
    pub(super) fn fill(&mut self) -> Result<&[u8], Fault> {
        while self.at_hand().is_empty() && !self.ended {
            self.next_block()?;
        }
        Ok(self.at_hand())
    }

    /// Moves past `n` of the bytes at hand.
    pub(super) fn consume(&mut self, n: usize) {
        let n = n.min(self.at_hand().len());
        self.at += n;
        self.offset += n as u64;
    }

    /// The next `buffer.len()` bytes.
    pub(super) fn exact(&mut self, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut filled = 0;
        let len = buffer.len() as u64;
        self.pass(len, |piece| {
            if let Some(to) = buffer.get_mut(filled..filled + piece.len()) {
                to.copy_from_slice(piece);
            }
            filled += piece.len();
        })
    }

    /// The next `n` bytes, shown to `each` in pieces.
    pub(super) fn pass(&mut self, mut n: u64, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
        while n > 0 {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Err(self.cut());
            }
            let take = usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            each(bytes.get(..take).unwrap_or(bytes));
            self.consume(take);
            n -= take as u64;
        }
        Ok(())
    }

    /// The logical end has been read: nothing but `padding` bytes may follow.
    pub(super) fn finish(&mut self, padding: Option<u8>) -> Result<(), Fault> {
        self.within(None);
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|byte| Some(*byte) != padding) {
                return Err(self.damaged("something follows its end"));
            }
            let len = bytes.len();
            self.consume(len);
        }
    }

    /// Bytes of content before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Names the entry that is being read, for faults.
    pub(super) fn within(&mut self, entry: Option<Printable>) {
        self.entry = entry;
        self.sequence = None;
    }

    /// Names the message that is being read, for faults.
    pub(super) fn at_sequence(&mut self, sequence: Option<u64>) {
        self.sequence = sequence;
    }

    /// The content ends here and should not.
    pub(super) fn cut(&self) -> Fault {
        Fault::Cut(self.place())
    }

    /// The content is wrong here.
    pub(super) fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged { what, place: self.place() }
    }

    /// The content is strange here.
    pub(super) fn unsupported(&self, what: &'static str) -> Fault {
        Fault::Unsupported { what, place: self.place() }
    }

    fn place(&self) -> Place {
        let (blocks, background) = (&self.blocks, &self.background);
        let compressed = match (blocks, background) {
            (_, Some(background)) => background.compressed(),
            (blocks, None) => blocks.as_ref().map_or(0, |blocks| blocks.compressed()),
        };
        Place { offset: self.offset, compressed, entry: self.entry.clone(), sequence: self.sequence }
    }

    fn block(&self) -> &[u8] {
        match &self.background {
            None => self.block.bytes(),
            Some(background) => background.bytes(),
        }
    }

    fn at_hand(&self) -> &[u8] {
        self.block().get(self.at..).unwrap_or(&[])
    }

    /// Goes to the next block. Called only when everything before it has been consumed.
    fn next_block(&mut self) -> Result<(), Fault> {
        self.move_to_background();
        let next = match (&mut self.background, &mut self.blocks) {
            (Some(background), _) => background.next(),
            (None, Some(blocks)) => {
                self.block.clear();
                blocks.next(&mut self.block)
            }
            (None, None) => Ok(false),
        };
        match next {
            Ok(true) => {
                (self.begin, self.at) = (0, 0);
                self.decoded.fetch_add(self.block().len() as u64, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => {
                self.ended = true;
                Ok(())
            }
            Err(Broken::Cut) => Err(self.cut()),
            Err(Broken::Damaged(what)) => Err(self.damaged(what)),
            Err(Broken::Unsupported(what)) => Err(self.unsupported(what)),
            Err(Broken::Io(error)) => Err(error.into()),
        }
    }

    /// Lets a background thread decode the rest, if that is allowed and worth it.
    fn move_to_background(&mut self) {
        let Some((from, begin)) = self.move_to_background else { return };
        let Some(blocks) = self.blocks.take_if(|blocks| blocks.compressed() >= from) else { return };
        self.move_to_background = None;
        match begin(blocks) {
            Ok(background) => self.background = Some(background),
            Err(blocks) => self.blocks = Some(blocks),
        }
    }
}
