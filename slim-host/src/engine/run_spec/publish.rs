//! `-p [ip:][host-port[-range]:]container-port[-range][/protocol]`.

use std::net::IpAddr;
use std::str::FromStr;

use bollard::models::PortBinding;

use super::SpecError;
use crate::path::quote;

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Lower-case name, as the engine spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|p| p.name().eq_ignore_ascii_case(name))
    }
}

/// Which port of the host leads to the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// Whichever the engine picks.
    Any,
    /// This one.
    Exactly(u16),
    /// Whichever the engine picks between these, both included.
    Between(u16, u16),
}

/// One published port of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Address of the host to listen on; `None` for all.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: HostPort,
    /// Port of the container, never 0.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl PortSpec {
    /// `80/tcp`.
    pub(super) fn container_key(&self) -> String {
        format!("{}/{}", self.container_port, self.protocol.name())
    }

    pub(super) fn binding(&self) -> PortBinding {
        let host_port = match self.host_port {
            HostPort::Any => String::new(),
            HostPort::Exactly(port) => port.to_string(),
            HostPort::Between(first, last) => format!("{first}-{last}"),
        };
        let host_ip = self.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        PortBinding { host_ip: Some(host_ip), host_port: Some(host_port) }
    }
}

/// One `-p` argument: a range publishes several ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish(
    /// The ports, lowest first.
    pub Vec<PortSpec>,
);

impl FromStr for Publish {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = || SpecError::Port(quote(text.as_bytes()));
        let (mapping, protocol) = match text.rsplit_once('/') {
            Some((mapping, protocol)) => (mapping, Protocol::from_name(protocol).ok_or_else(bad)?),
            None => (text, Protocol::Tcp),
        };
        let (rest, container) = match mapping.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container),
            None => (None, mapping),
        };
        let (first, last) = range(container).ok_or_else(bad)?;
        let (host_ip, host) = match rest {
            None => (None, None),
            Some(rest) => split_host(rest).ok_or_else(bad)?,
        };
        let count = last - first;
        let ports = (0..=count).map(|offset| {
            let host_port = match host {
                None => HostPort::Any,
                Some((low, high)) if low == high && count == 0 => HostPort::Exactly(low),
                Some((low, high)) if count == 0 => HostPort::Between(low, high),
                Some((low, high)) if high - low == count => HostPort::Exactly(low + offset),
                Some(_) => return Err(SpecError::PortRanges(quote(text.as_bytes()))),
            };
            Ok(PortSpec { host_ip, host_port, container_port: first + offset, protocol })
        });
        ports.collect::<Result<_, _>>().map(Self)
    }
}

/// An address and a range of ports of the host; either may be missing.
type HostSide = (Option<IpAddr>, Option<(u16, u16)>);

/// What stands before the container's port: `port`, `ip:port`, `ip:` or `[ipv6]:port`.
fn split_host(text: &str) -> Option<HostSide> {
    let Some((ip, port)) = text.rsplit_once(':') else {
        return Some((None, if text.is_empty() { None } else { Some(range(text)?) }));
    };
    let ip = ip.strip_prefix('[').map_or(Some(ip), |inner| inner.strip_suffix(']'))?;
    let port = if port.is_empty() { None } else { Some(range(port)?) };
    Some((Some(ip.parse().ok()?), port))
}

/// `80` or `80-90`; 0 is no port that can be published.
fn range(text: &str) -> Option<(u16, u16)> {
    let port = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten().filter(|port| *port > 0)
    };
    match text.split_once('-') {
        None => port(text).map(|single| (single, single)),
        Some((first, last)) => Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let Publish(ports) = text.parse().unwrap();
        ports
            .iter()
            .map(|port| {
                let binding = port.binding();
                format!(
                    "{}|{}|{}",
                    binding.host_ip.unwrap(),
                    binding.host_port.unwrap(),
                    port.container_key()
                )
            })
            .collect()
    }

    #[test]
    fn what_docker_accepts() {
        for (text, expected) in [
            ("80", &["||80/tcp"][..]),
            (":80", &["||80/tcp"]),
            ("8080:80", &["|8080|80/tcp"]),
            ("53:53/UDP", &["|53|53/udp"]),
            ("127.0.0.1:8080:80", &["127.0.0.1|8080|80/tcp"]),
            ("127.0.0.1::80", &["127.0.0.1||80/tcp"]),
            ("[::1]:8080:80/sctp", &["::1|8080|80/sctp"]),
            ("8000-8010:80", &["|8000-8010|80/tcp"]),
            ("7000-7002:8000-8002", &["|7000|8000/tcp", "|7001|8001/tcp", "|7002|8002/tcp"]),
            ("8000-8001", &["||8000/tcp", "||8001/tcp"]),
            ("65535:65535", &["|65535|65535/tcp"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_docker_refuses() {
        for text in [
            "",
            "a",
            "0",
            "65536",
            "80/",
            "80/icmp",
            "8080:",
            "x:80",
            "1.2.3:1:80",
            "[::1:1:80",
            "90-80",
            "+80",
            "1-:80",
            "localhost:80:80",
            "80\x1b[2J",
        ] {
            assert!(matches!(text.parse::<Publish>(), Err(SpecError::Port(_))), "{text:?}");
        }
        assert!(matches!("1-3:1-2".parse::<Publish>(), Err(SpecError::PortRanges(_))));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9:/\\[\\]\\-.a-u]{0,24}") {
            let _ = text.parse::<Publish>();
        }
    }
}
