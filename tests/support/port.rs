//! A port that nobody else gets: between the moment when a test learns of it and the one when a server
//! listens there, and while a server is down that will come back.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// A port on loopback, kept until this is dropped.
///
/// A socket is bound to it and never listens. The system gives such a port to nobody who asks for just any,
/// and nobody reaches anything there; a server that asks for this very one gets it, as servers set
/// `SO_REUSEADDR`, and so does this.
pub struct Port {
    number: u16,
    _kept: OwnedFd,
}

impl Port {
    pub fn keep() -> Port {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        Port { number: address.port(), _kept: socket }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
