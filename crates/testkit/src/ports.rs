//! Free ports, for programs that cannot choose one themselves.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the range from which systems take ports for outgoing connections: a program that is
/// restarted finds its port free again.
const RANGE: std::ops::Range<u16> = 15000..32000;

/// Ports on 127.0.0.1 that nobody has, for TCP and UDP. Another process may take one before it is
/// used: who starts a program on them tries again with others.
#[must_use]
pub fn free<const N: usize>() -> [u16; N] {
    // All are held until all are chosen, so that they differ.
    let held = [(); N].map(|()| hold());
    held.map(|(port, ..)| port)
}

fn hold() -> (u16, TcpListener, UdpSocket) {
    for _ in 0..1000 {
        let port = rand::random_range(RANGE);
        let address = (Ipv4Addr::LOCALHOST, port);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) {
            return (port, tcp, udp);
        }
    }
    panic!("no free port in {RANGE:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports: [u16; 4] = free();
        let held = ports.map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        assert_eq!(held.len(), 4);
    }
}
