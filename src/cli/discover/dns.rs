//! As much of DNS as a question for a service and its answers need. Packets are untrusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records of a packet that are looked at.
const MAX_RECORDS: usize = 128;
/// Pointers that are followed within one name.
const MAX_JUMPS: usize = 16;
/// Bytes of a name.
const MAX_NAME: usize = 255;
/// Pairs of a text record that are kept.
const MAX_PAIRS: usize = 32;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_TXT: u16 = 16;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
/// Class IN, with the wish to be answered directly.
const CLASS_IN_UNICAST: u16 = 0x8001;
/// Bytes of the head of a packet.
const HEAD: usize = 12;

/// One record, of the kinds that we know.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub data: Data,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    Pointer(String),
    Service { host: String, port: u16 },
    Text(Vec<(String, String)>),
    Address(IpAddr),
}

/// A question for the instances of `service`.
pub fn question(service: &str) -> Vec<u8> {
    // One question, everything else zero.
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    name(&mut packet, service.split('.'));
    packet.extend(TYPE_PTR.to_be_bytes());
    packet.extend(CLASS_IN_UNICAST.to_be_bytes());
    packet
}

fn name<'a>(packet: &mut Vec<u8>, labels: impl Iterator<Item = &'a str>) {
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend(label.as_bytes());
    }
    packet.push(0);
}

/// The records of an answer; those that were read before a broken one, none of what is no answer.
pub fn records(packet: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut reader = Reader { packet, at: HEAD };
    let counts = |at: usize| {
        packet
            .get(at..at + 2)
            .map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    };
    let (Some(questions), Some(a), Some(b), Some(c)) =
        (counts(4), counts(6), counts(8), counts(10))
    else {
        return found;
    };
    let is_answer = packet.get(2).is_some_and(|flags| flags & 0x80 != 0);
    if !is_answer {
        return found;
    }
    for _ in 0..questions.min(MAX_RECORDS) {
        if reader.name().and_then(|_| reader.bytes(4)).is_none() {
            return found;
        }
    }
    for _ in 0..(a + b + c).min(MAX_RECORDS) {
        match reader.record() {
            Some(Some(record)) => found.push(record),
            Some(None) => {}
            None => break,
        }
    }
    found
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let bytes = self.packet.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        let b = self.bytes(2)?;
        Some(u16::from_be_bytes([b[0], b[1]]))
    }

    /// A name in dots; labels that are not UTF-8 are made so.
    fn name(&mut self) -> Option<String> {
        let mut text = String::new();
        let (mut at, mut end) = (self.at, None);
        for _ in 0..=MAX_JUMPS {
            loop {
                let length = usize::from(*self.packet.get(at)?);
                at += 1;
                match length {
                    0 => {
                        self.at = end.unwrap_or(at);
                        return Some(text);
                    }
                    1..64 => {
                        let label = self.packet.get(at..at + length)?;
                        if !text.is_empty() {
                            text.push('.');
                        }
                        text.push_str(&String::from_utf8_lossy(label));
                        if text.len() > MAX_NAME {
                            return None;
                        }
                        at += length;
                    }
                    192.. => {
                        let low = usize::from(*self.packet.get(at)?);
                        end.get_or_insert(at + 1);
                        at = (length & 0x3f) << 8 | low;
                        break;
                    }
                    _ => return None,
                }
            }
        }
        None
    }

    /// The next record; `Some(None)` for one of another kind.
    fn record(&mut self) -> Option<Option<Record>> {
        let name = self.name()?;
        let kind = self.u16()?;
        self.bytes(6)?;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length)?;
        if end > self.packet.len() {
            return None;
        }
        // What a record says about names reaches back into the packet, but never beyond its own end.
        let mut inner = Reader {
            packet: &self.packet[..end],
            at: self.at,
        };
        self.at = end;
        let data = match kind {
            TYPE_PTR => inner.name().map(Data::Pointer),
            TYPE_SRV => inner.service(),
            TYPE_TXT => Some(Data::Text(inner.pairs())),
            TYPE_A => {
                let four: Option<[u8; 4]> = inner.bytes(4).and_then(|b| b.try_into().ok());
                four.map(|b| Data::Address(Ipv4Addr::from(b).into()))
            }
            TYPE_AAAA => {
                let all: Option<[u8; 16]> = inner.bytes(16).and_then(|b| b.try_into().ok());
                all.map(|b| Data::Address(Ipv6Addr::from(b).into()))
            }
            _ => None,
        };
        Some(data.map(|data| Record { name, data }))
    }

    fn service(&mut self) -> Option<Data> {
        self.bytes(4)?;
        let port = self.u16()?;
        let host = self.name()?;
        Some(Data::Service { host, port })
    }

    fn pairs(&mut self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        while let Some(length) = self.bytes(1)
            && let Some(text) = self.bytes(usize::from(length[0]))
            && pairs.len() < MAX_PAIRS
        {
            let text = String::from_utf8_lossy(text);
            if let Some((key, value)) = text.split_once('=') {
                pairs.push((key.to_string(), value.to_string()));
            }
        }
        pairs
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const INSTANCE: [&str; 4] = ["Attic (OpenClaw)", "_openclaw-gw", "_tcp", "local"];

    fn record(packet: &mut Vec<u8>, owner: &[&str], kind: u16, data: &[u8]) {
        name(packet, owner.iter().copied());
        packet.extend(kind.to_be_bytes());
        packet.extend([0x80, 1, 0, 0, 0, 120]);
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(data);
    }

    /// What a gateway called "Attic" answers.
    pub fn announcement() -> Vec<u8> {
        let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        let mut target = Vec::new();
        name(&mut target, INSTANCE.into_iter());
        record(&mut packet, &INSTANCE[1..], TYPE_PTR, &target);
        let mut service = vec![0, 0, 0, 0];
        service.extend(18789u16.to_be_bytes());
        name(&mut service, ["attic", "local"].into_iter());
        record(&mut packet, &INSTANCE, TYPE_SRV, &service);
        let mut text = Vec::new();
        for pair in ["displayName=Attic", "role=gateway", "odd"] {
            text.push(u8::try_from(pair.len()).unwrap());
            text.extend(pair.as_bytes());
        }
        record(&mut packet, &INSTANCE, TYPE_TXT, &text);
        record(&mut packet, &["attic", "local"], TYPE_A, &[198, 51, 100, 7]);
        packet
    }

    #[test]
    fn an_announcement_is_read() {
        let all = records(&announcement());
        assert_eq!(all.len(), 4);
        assert_eq!(all[0].data, Data::Pointer(INSTANCE.join(".")));
        let host = "attic.local".to_string();
        assert_eq!(all[1].data, Data::Service { host, port: 18789 });
        assert_eq!(all[3].data, Data::Address(IpAddr::from([198, 51, 100, 7])));
        let Data::Text(pairs) = &all[2].data else {
            panic!("{:?}", all[2]);
        };
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_compressed_name_is_followed_and_a_loop_is_not() {
        let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        record(&mut packet, &["a"], TYPE_PTR, &[1, b'x', 0xc0, 12]);
        assert_eq!(records(&packet)[0].data, Data::Pointer("x.a".into()));
        let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        packet.extend([0xc0, 12]);
        assert_eq!(records(&packet), []);
    }

    #[test]
    fn no_beginning_of_a_packet_panics() {
        let whole = announcement();
        for n in 0..whole.len() {
            records(&whole[..n]);
            let mut broken = whole.clone();
            broken[n] ^= 0xff;
            records(&broken);
        }
        assert_eq!(records(&question("_x._tcp.local")), []);
    }
}
