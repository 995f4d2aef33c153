//! A bad link: a TCP proxy in front of a server. It reads what the server sends, message by message, and can drop a message,
//! stop, or cut the connection there.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, copy,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::Server;

/// A message on its way from the server: the first line of `MSG` or `HMSG`.
pub struct Passing<'a> {
    /// Where the receiver is to answer; empty for none.
    pub reply: &'a str,
    /// Its payload, in bytes.
    pub payload: usize,
    /// How many bytes have come from the server over this connection before it.
    pub before: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    Swallow,
    /// It and everything after it is never delivered, and the connection stands.
    Stall,
    /// The connection ends here; another one may be made.
    Cut,
}

type Rule = dyn Fn(&Passing) -> Fate + Send + Sync;

/// A proxy; its connections live until they end or the test's runtime does.
pub struct Proxy {
    url: String,
    struck: watch::Receiver<usize>,
}

impl Proxy {
    /// A proxy in front of `server`; `rule` is asked about every message.
    pub async fn start(
        server: &Server,
        rule: impl Fn(&Passing) -> Fate + Send + Sync + 'static,
    ) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let to = server.url().trim_start_matches("nats://").to_owned();
        let rule: Arc<Rule> = Arc::new(rule);
        let (strike, struck) = watch::channel(0);
        let strike = Arc::new(strike);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, rule, strike) = (to.clone(), Arc::clone(&rule), Arc::clone(&strike));
                tokio::spawn(async move {
                    let server = TcpStream::connect(to).await?;
                    let (mut from_client, mut to_client) = client.into_split();
                    let (from_server, mut to_server) = server.into_split();
                    tokio::select! {
                        sent = copy(&mut from_client, &mut to_server) => drop(sent?),
                        ended = deliver(BufReader::new(from_server), &mut to_client, &*rule, &strike) => ended?,
                    }
                    anyhow::Ok(())
                });
            }
        });
        Ok(Proxy { url, struck })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until a message has met another fate than to pass.
    pub async fn struck(&mut self) -> Result<()> {
        self.struck.wait_for(|strikes| *strikes > 0).await?;
        Ok(())
    }
}

/// Passes the server's bytes on; returns when the connection is to end.
async fn deliver(
    mut server: impl AsyncBufRead + Unpin,
    client: &mut (impl AsyncWrite + Unpin),
    rule: &Rule,
    strike: &watch::Sender<usize>,
) -> Result<()> {
    let mut before = 0;
    loop {
        let mut line = String::new();
        if server.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut bytes = line.clone().into_bytes();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let mut fate = Fate::Pass;
        if let [verb @ ("MSG" | "HMSG"), _, _, rest @ ..] = &words[..] {
            let sizes = if *verb == "MSG" { 1 } else { 2 };
            let reply = if rest.len() > sizes { rest[0] } else { "" };
            let size = rest.last().context("a size")?.parse::<usize>()?;
            let headers = if sizes == 2 { rest[rest.len() - 2].parse()? } else { 0 };
            let head = bytes.len();
            bytes.resize(head + size + 2, 0);
            server.read_exact(&mut bytes[head..]).await?;
            fate = rule(&Passing { reply, payload: size - headers, before });
        }
        before += bytes.len() as u64;
        if fate != Fate::Pass {
            strike.send_modify(|strikes| *strikes += 1);
        }
        match fate {
            Fate::Pass => client.write_all(&bytes).await?,
            Fate::Swallow => {}
            Fate::Stall => std::future::pending().await,
            Fate::Cut => return Ok(()),
        }
    }
}
