//! Decodes a snapshot's blocks on a background thread while they are read here. Decoding is half of the work of a check.
//! Knows no format inside the blocks.
//!
//! ```text
//! input ─ that thread: frames, S2, CRC ─ batches ─ here: the format
//!                                      ◄ batches that have been read
//! ```
//!
//! Before the thread waits for its input, it passes on what it has. So this thread never waits for bytes that come later,
//! and it meets a fault at the same place as without the thread: after everything before it. The thread ends with the
//! stream, with the first fault, or when nobody reads any more. If its input stalls then, it ends when the input goes on or
//! ends.
//!
//! Memory: [`BATCHES`] of [`BATCH`] bytes and one block each.

use std::io::{self, Chain, Cursor, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::blocks::{Blocks, Broken, Decoded};

/// After so many compressed bytes of a snapshot, the rest is decoded in the background. Small snapshots need no thread.
pub const WORTH: u64 = 1 << 20;
/// How many bytes are decoded before they are passed on, unless the thread has to wait for its input.
const BATCH: usize = 256 << 10;
/// How many batches there are: one is being read, one is being filled, and the others wait in between.
const BATCHES: usize = 4;

/// An input of at most so many bytes is read without a thread.
const READ_HERE: usize = 1 << 20;
/// How long the pieces are that are read then, in bytes, and how many of them wait to be read at most.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// Decoded blocks.
#[derive(Default)]
struct DecodedBatch {
    data: Decoded,
    /// Where each block ends in the data, and where its frame in the stream.
    ends: Vec<(usize, u64)>,
    /// What follows the last block, if it is known: the clean end or a fault, and its place in the stream.
    ended: Option<(Result<(), Broken>, u64)>,
}

/// The reader of the blocks that the background thread decodes.
pub struct BackgroundDecoder {
    decoded: Receiver<DecodedBatch>,
    used: Sender<DecodedBatch>,
    batch: DecodedBatch,
    /// The next of its blocks.
    next: usize,
    /// Where the one at hand lies in it.
    block: Range<usize>,
    compressed: u64,
}

/// Whether another thread may work at the same time as this one.
pub fn has_second_processor() -> bool {
    thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
}

impl BackgroundDecoder {
    /// Goes on with `blocks` on a thread. Gives them back if there is no second processor, or no thread.
    pub fn begin<R: Read + Send + 'static>(
        blocks: Box<Blocks<R>>,
    ) -> Result<BackgroundDecoder, Box<Blocks<R>>> {
        match has_second_processor() {
            true => BackgroundDecoder::begin_always(blocks),
            false => Err(blocks),
        }
    }

    /// The same, even if there is only one processor.
    pub fn begin_always<R: Read + Send + 'static>(
        blocks: Box<Blocks<R>>,
    ) -> Result<BackgroundDecoder, Box<Blocks<R>>> {
        let compressed = blocks.compressed();
        let (used, empty) = channel();
        let (to, decoded) = channel();
        // The blocks are sent after the thread has started, so they are not lost if it cannot start.
        let (give, take) = channel::<Box<Blocks<R>>>();
        let thread = thread::Builder::new().name("decode".into()).spawn(move || {
            if let Ok(blocks) = take.recv() {
                decode(*blocks, &empty, &to);
            }
        });
        if thread.is_err() {
            return Err(blocks);
        }
        give.send(blocks).map_err(|unsent| unsent.0)?;
        for _ in 1..BATCHES {
            let _ = used.send(DecodedBatch::default());
        }
        Ok(BackgroundDecoder {
            decoded,
            used,
            batch: DecodedBatch::default(),
            next: 0,
            block: 0..0,
            compressed,
        })
    }

    /// Goes to the next block, which may be an empty one. `false` when the stream has ended cleanly.
    pub fn next(&mut self) -> Result<bool, Broken> {
        loop {
            if let Some((end, compressed)) = self.batch.ends.get(self.next) {
                self.next += 1;
                self.block = self.block.end..*end;
                self.compressed = *compressed;
                return Ok(true);
            }
            if let Some((ended, compressed)) = self.batch.ended.take() {
                self.compressed = compressed;
                return ended.map(|()| false);
            }
            // The thread may have ended already, with the stream.
            let _ = self.used.send(std::mem::take(&mut self.batch));
            (self.next, self.block) = (0, 0..0);
            self.batch = self.decoded.recv().map_err(|_| io::Error::other("the decoding broke off"))?;
        }
    }

    /// The block at hand.
    pub fn bytes(&self) -> &[u8] {
        self.batch.data.bytes().get(self.block.clone()).unwrap_or(&[])
    }

    /// How many bytes of the stream have been read up to the end of the block at hand, or to where it broke.
    pub fn compressed(&self) -> u64 {
        self.compressed
    }
}

/// Decodes `blocks` into batches that are `empty`, and sends them on.
fn decode<R: Read>(mut blocks: Blocks<R>, empty: &Receiver<DecodedBatch>, to: &Sender<DecodedBatch>) {
    while let Ok(mut batch) = empty.recv() {
        batch.data.clear();
        batch.ends.clear();
        loop {
            let next = blocks.next(&mut batch.data);
            let compressed = blocks.compressed();
            match next {
                Ok(true) => batch.ends.push((batch.data.len(), compressed)),
                Ok(false) => batch.ended = Some((Ok(()), compressed)),
                Err(broken) => batch.ended = Some((Err(broken), compressed)),
            }
            if batch.ended.is_some() || batch.data.len() >= BATCH || !blocks.is_at_hand() {
                break;
            }
        }
        let ended = batch.ended.is_some();
        if to.send(batch).is_err() || ended {
            return;
        }
    }
}

/// What [`read_in_background`] reads: the beginning, and pieces.
pub type Pieces = Chain<Cursor<Vec<u8>>, PieceReader>;

/// Reads the pieces that the other thread passes on.
pub struct PieceReader {
    pieces: Option<Receiver<Option<Vec<u8>>>>,
    piece: Cursor<Vec<u8>>,
}

/// Reads `bytes` to their end on this thread, which may sum them. `reader` reads the same bytes, on a background thread if
/// there are many. Gives the result of `reader`, which may have read less.
///
/// # Errors
/// That of `bytes`. The reader gets one too then, never an end.
pub fn read_in_background<T: Send>(
    mut bytes: impl Read,
    reader: impl FnOnce(Pieces) -> T + Send,
) -> io::Result<T> {
    let rest = |pieces| PieceReader { pieces, piece: Cursor::default() };
    let mut beginning = Vec::new();
    bytes.by_ref().take(READ_HERE as u64).read_to_end(&mut beginning)?;
    let beginning_is_all = beginning.len() < READ_HERE;
    let beginning = Cursor::new(beginning);
    if beginning_is_all {
        return Ok(reader(beginning.chain(rest(None))));
    }
    let (to, pieces) = sync_channel(PIECES);
    thread::scope(|scope| {
        let reading = thread::Builder::new()
            .name("read".into())
            .spawn_scoped(scope, move || reader(beginning.chain(rest(Some(pieces)))))?;
        let handed_on = hand_on(&mut bytes, to);
        let read = reading.join().map_err(|_| io::Error::other("the reader broke off"));
        handed_on.and(read)
    })
}

/// Reads `bytes` to the end, and passes them on while somebody takes them.
fn hand_on(bytes: &mut impl Read, to: SyncSender<Option<Vec<u8>>>) -> io::Result<()> {
    let mut to = Some(to);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let got = bytes.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        let piece = (got > 0).then_some(piece);
        let is_end = piece.is_none();
        to = to.filter(|to| to.send(piece).is_ok());
        if is_end {
            return Ok(());
        }
    }
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.piece.read(into)?;
            let Some(pieces) = &self.pieces else { return Ok(got) };
            if got > 0 || into.is_empty() {
                return Ok(got);
            }
            match pieces.recv() {
                Ok(Some(piece)) => self.piece = Cursor::new(piece),
                Ok(None) => self.pieces = None,
                Err(_) => return Err(io::Error::other("the snapshot was given up")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::super::content::Content;
    use super::super::test_snapshots::s2;
    use super::super::tests::captures;
    use super::super::{Contents, Fault, InspectOptions, ReportedState, inspect_with};
    use super::*;
    use crate::names::StreamName;

    /// A program that hangs is to fail here and not to hang.
    const LONG: Duration = Duration::from_secs(120);

    fn both_ways(
        stream: &StreamName,
        reported: &ReportedState,
        bytes: &[u8],
    ) -> [Result<Contents, Fault>; 2] {
        let beside = Content::new(Cursor::new(bytes.to_vec())).decoded_in_background_always();
        [
            inspect_with(stream, reported, InspectOptions::default(), bytes),
            inspect_with(stream, reported, InspectOptions::default(), beside),
        ]
    }

    #[test]
    fn a_snapshot_is_found_whole_or_at_fault_at_the_same_place_as_without_the_thread() {
        for (dir, stream, reported, bytes) in captures() {
            let mut variants = vec![bytes.clone(), [&bytes[..], b"more"].concat()];
            // Cuts, and flipped bits: some hundred of each.
            let step = bytes.len() / 100 + 1;
            variants.extend((0..bytes.len()).step_by(step).map(|len| bytes[..len].to_vec()));
            variants.extend((0..bytes.len() * 8).step_by(step * 8 + 1).map(|bit| {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                flipped
            }));
            for bytes in variants {
                let [without, with] = both_ways(&stream, &reported, &bytes);
                assert_eq!(format!("{with:?}"), format!("{without:?}"), "{}", dir.display());
            }
        }
    }

    #[test]
    fn the_first_fault_counts_though_a_later_one_was_found_before() {
        let (_, stream, reported, bytes) =
            captures().into_iter().find(|(dir, ..)| dir.ends_with("2.15.1/EVT")).unwrap();
        let mut content = super::super::tests::decoded(&bytes).unwrap();
        let middle = content.len() / 2;
        content.truncate(middle);
        // It goes on with what is no message, and ends with what is no frame.
        content.extend([0xff; 2_000]);
        let broken = [s2(&content, 1_000), vec![0x07; 9]].concat();
        let [without, with] = both_ways(&stream, &reported, &broken);
        assert_eq!(format!("{with:?}"), format!("{without:?}"));
        assert!(!without.unwrap_err().to_string().contains("frame"));
    }

    /// Tells when it is dropped.
    struct Watched<R>(R, #[expect(dead_code, reason = "dropped")] Sender<()>);

    impl<R: Read> Read for Watched<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    #[test]
    fn the_thread_ends_when_nobody_reads_any_more() {
        let frame = s2(&[0; 50_000], 50_000)[10..].to_vec();
        let endless = s2(b"", 1).into_iter().chain(std::iter::repeat(frame).flatten());
        let (watch, dropped) = channel();
        let input = Watched(Bytes(Box::new(endless)), watch);
        let mut content = Content::new(input).decoded_in_background_always();
        assert!(!content.fill().unwrap().is_empty());
        drop(content);
        assert_eq!(dropped.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    struct Bytes(Box<dyn Iterator<Item = u8> + Send>);

    impl Read for Bytes {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            Ok(into.iter_mut().zip(&mut self.0).map(|(to, byte)| *to = byte).count())
        }
    }

    #[test]
    fn a_thread_that_panics_is_an_error() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose")
            }
        }
        let mut content =
            Content::new(Cursor::new(s2(b"content", 7)).chain(Panics)).decoded_in_background_always();
        content.pass(7, |_| {}).unwrap();
        assert!(matches!(content.fill(), Err(Fault::Io(_))));
    }

    /// What has come is read before the input is waited for.
    #[test]
    fn what_has_come_does_not_wait_for_what_comes_later() {
        struct Stalls(Cursor<Vec<u8>>, Receiver<()>);
        impl Read for Stalls {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.read(into)? {
                    0 => {
                        self.1.recv_timeout(LONG).map_err(io::Error::other)?;
                        Ok(0)
                    }
                    got => Ok(got),
                }
            }
        }
        let (go_on, stalled) = channel();
        let (text, piece) = (b"content ".repeat(10_000), 100);
        let mut content =
            Content::new(Stalls(Cursor::new(s2(&text, piece)), stalled)).decoded_in_background_always();
        content.pass(text.len() as u64, |_| {}).unwrap();
        go_on.send(()).unwrap();
        assert!(content.fill().unwrap().is_empty());
    }

    #[test]
    fn all_is_read_here_and_the_reader_gets_it() {
        for len in [0, 1, READ_HERE - 1, READ_HERE, READ_HERE + 1, 3 * READ_HERE + 7] {
            let bytes: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
            let mut input = bytes.as_slice();
            let read = |mut pieces: Pieces| {
                let mut read = Vec::new();
                pieces.read_to_end(&mut read).map(|_| read)
            };
            assert!(read_in_background(&mut input, read).unwrap().unwrap() == bytes);
            assert!(input.is_empty());
            // By one that is content with less.
            input = bytes.as_slice();
            let some =
                read_in_background(&mut input, |mut pieces| pieces.read(&mut [0; 9]).unwrap()).unwrap();
            assert_eq!(some, len.min(9));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn an_input_that_fails_is_no_end_for_the_reader() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("on purpose"))
            }
        }
        let (tell, told) = channel();
        let input = io::repeat(7).take(5 * READ_HERE as u64).chain(Fails);
        let read = read_in_background(input, move |mut pieces| {
            tell.send(io::copy(&mut pieces, &mut io::sink()).is_err()).unwrap();
        });
        assert_eq!(read.unwrap_err().to_string(), "on purpose");
        assert_eq!(told.recv_timeout(LONG), Ok(true));
    }

    #[test]
    fn a_reader_that_panics_is_an_error() {
        let mut input = io::repeat(7).take(5 * READ_HERE as u64);
        assert!(read_in_background(&mut input, |_| panic!("on purpose")).is_err());
        assert_eq!(input.limit(), 0);
    }
}
