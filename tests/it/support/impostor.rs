//! A fake server. It speaks as much of NATS's protocol as a program needs, and answers whatever a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// One connection of a client.
pub struct Connection {
    to: TcpStream,
    /// Subjects and their numbers.
    subscriptions: Vec<(String, String)>,
}

/// What is done with a request: its subject, where its answer goes, and its body.
pub type Handler = dyn Fn(&mut Connection, &str, &str, &str) -> io::Result<()> + Send + Sync;

/// Serves on a port of its own for as long as the test runs, and gives its URL.
pub fn serve(
    info: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    handler: Arc<Handler>,
) -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("nats://{}", listener.local_addr()?);
    let info = Arc::new(info);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (info, handler) = (Arc::clone(&info), Arc::clone(&handler));
            // A client that goes away is no fault.
            thread::spawn(move || serve_one(stream, &*info, &*handler).ok());
        }
    });
    Ok(url)
}

/// A server's first line, as a sound one has it.
pub fn info(to: &mut TcpStream) -> io::Result<()> {
    let info = r#"{"server_id":"X","server_name":"x","version":"2.14.5","host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576,"jetstream":true,"proto":1,"client_id":1}"#;
    write!(to, "INFO {info}\r\n")
}

fn serve_one(
    mut stream: TcpStream,
    info: &dyn Fn(&mut TcpStream) -> io::Result<()>,
    handler: &Handler,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    info(&mut stream)?;
    let mut from = BufReader::new(stream.try_clone()?);
    let mut connection = Connection { to: stream, subscriptions: Vec::new() };
    let mut line = String::new();
    while from.read_line(&mut line)? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => connection.to.write_all(b"PONG\r\n")?,
            ["SUB", subject, number] => {
                connection.subscriptions.push(((*subject).into(), (*number).into()));
            }
            ["PUB", subject, rest @ .., size] => {
                let mut body = vec![0; size.parse::<usize>().map_err(io::Error::other)? + 2];
                from.read_exact(&mut body)?;
                let body = String::from_utf8_lossy(&body[..body.len() - 2]).into_owned();
                handler(&mut connection, subject, rest.first().copied().unwrap_or_default(), &body)?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
}

impl Connection {
    /// Announces a message of `size` bytes and gives where they go; two bytes of line end belong after them.
    pub fn announce(&mut self, subject: &str, reply: &str, size: u64) -> io::Result<&mut TcpStream> {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => subject.starts_with(prefix),
            None => subject == pattern,
        };
        let found = self.subscriptions.iter().find(|(pattern, _)| matches(pattern));
        let (_, number) = found.ok_or_else(|| io::Error::other(format!("nobody listens on {subject}")))?;
        write!(self.to, "MSG {subject} {number} {reply} {size}\r\n")?;
        Ok(&mut self.to)
    }

    pub fn send(&mut self, subject: &str, reply: &str, body: &[u8]) -> io::Result<()> {
        let to = self.announce(subject, reply, body.len() as u64)?;
        to.write_all(&[body, b"\r\n"].concat())
    }
}
