//! A link between here and a server: a TCP proxy that delays every byte, and lets only so many through a
//! second.

use std::time::Duration;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::support::server::Server;

/// The most that is read at once, in bytes.
const PIECE: usize = 64 << 10;

/// How many pieces may be under way in one direction: more than any program here sends ahead.
const UNDER_WAY: usize = 4096;

/// How late a timer may be. What one is late the next may be early, or a link of 100 Mbit/s would lose a tenth of
/// its bandwidth to the clock's milliseconds.
const LATE: Duration = Duration::from_millis(2);

/// A link over a continent.
pub const FAR: Link = Link { round_trip: Duration::from_millis(40), bandwidth: None };

/// The same with 100 Mbit/s.
pub const FAR_AND_NARROW: Link = Link { bandwidth: Some(100e6 / 8.0), ..FAR };

/// What a link is like.
#[derive(Clone, Copy)]
pub struct Link {
    /// How long a byte takes there and its answer back.
    pub round_trip: Duration,
    /// Bytes a second in each direction; none for as many as come.
    pub bandwidth: Option<f64>,
}

impl Link {
    /// Opens the link to `server` and gives the URL at its near end.
    pub async fn to(self, server: &Server) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let far = server.url().trim_start_matches("nats://").to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&far).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(self.carry(from_near, to_far));
                tokio::spawn(self.carry(from_far, to_near));
            }
            anyhow::Ok(())
        });
        Ok(url)
    }

    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<()> {
        let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
        let read = async move {
            let mut free = Instant::now();
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(PIECE);
                let n = from.read_buf(&mut buffer).await?;
                if n == 0 {
                    return anyhow::Ok(());
                }
                let now = Instant::now();
                if let Some(bandwidth) = self.bandwidth {
                    free = free.max(now - LATE) + Duration::from_secs_f64(n as f64 / bandwidth);
                    sleep_until(free).await;
                }
                let due = Instant::now() + self.round_trip / 2;
                if sender.send((due, buffer.split().freeze())).await.is_err() {
                    return Ok(());
                }
            }
        };
        let write = async move {
            while let Some((due, bytes)) = pieces.recv().await {
                sleep_until(due).await;
                to.write_all(&bytes).await?;
            }
            // The other side learns that this one has closed.
            Ok(to.shutdown().await?)
        };
        tokio::try_join!(read, write)?;
        Ok(())
    }
}
