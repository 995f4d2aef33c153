//! Reserves a port: from the moment when a test chooses it until a server listens there, and while a server is down that will
//! come back.

use std::net::Ipv4Addr;

use tokio::net::TcpSocket;

/// A port on loopback, kept until this is dropped.
///
/// A socket is bound to it and never listens. The system gives such a port to nobody who asks for just any,
/// and nobody reaches anything there; a server that asks for this very one gets it, as servers set
/// `SO_REUSEADDR`, and so does this.
pub struct Port {
    number: u16,
    _kept: TcpSocket,
}

impl Port {
    pub fn keep() -> Port {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Port { number: socket.local_addr().unwrap().port(), _kept: socket }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
