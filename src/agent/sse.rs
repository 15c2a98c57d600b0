//! Server-sent events: an incremental parser over bytes, bounded by the largest event.
//!
//! It keeps `event` and `data`, joins several `data` lines by a line feed and takes all three line
//! ends, wherever the pieces are cut. Comments, `id` and `retry` are passed over.

/// The parser; feed it what comes from the socket.
#[derive(Debug)]
pub struct Parser {
    max: usize,
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    /// The last byte was a carriage return that ended a line: a line feed now belongs to it.
    after_cr: bool,
    /// The first line may begin with a byte order mark.
    first: bool,
}

/// An event was larger than the parser was told to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Parser {
    /// A parser that holds at most `max` bytes of an event.
    pub fn new(max: usize) -> Parser {
        Parser {
            max,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            has_data: false,
            after_cr: false,
            first: true,
        }
    }

    /// Takes the next bytes and calls `on` with name (empty when none was given) and data of each event
    /// that they complete. Stops at the first error of `on`.
    pub fn feed<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + piece.len() > self.max {
                return Err(TooLong.into());
            }
            let Some(end) = end else {
                self.line.extend_from_slice(piece);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.line.is_empty() {
                self.take_line(piece, &mut on)?;
            } else {
                self.line.extend_from_slice(piece);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut on)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// The stream has ended: an event that lacks only its closing blank line still counts.
    pub fn finish<E: From<TooLong>>(
        &mut self,
        mut on: impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut on)?;
        }
        self.take_line(b"", &mut on)
    }

    fn take_line<E>(
        &mut self,
        line: &[u8],
        on: &mut impl FnMut(&str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if self.first => rest,
            _ => line,
        };
        self.first = false;
        if line.is_empty() {
            let complete = std::mem::take(&mut self.has_data);
            let result = if complete {
                on(&self.name, &self.data)
            } else {
                Ok(())
            };
            self.name.clear();
            self.data.clear();
            return result;
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]], max: usize) -> Result<Vec<(String, String)>, TooLong> {
        let mut parser = Parser::new(max);
        let mut seen = Vec::new();
        let mut keep = |name: &str, data: &str| {
            seen.push((name.to_string(), data.to_string()));
            Ok::<(), TooLong>(())
        };
        for piece in pieces {
            parser.feed(piece, &mut keep)?;
        }
        parser.finish(&mut keep)?;
        Ok(seen)
    }

    const STREAM: &[u8] =
        b"\xef\xbb\xbf: hello\r\nevent: a\r\ndata: one\r\n\r\n\ndata:two\rdata: three\n\n\
        data\n\nid: 7\nevent: lost\n\nevent: \xff\ndata: \xc3\xa9\n\ndata: [DONE]";

    #[test]
    fn every_cut_gives_the_same_events() {
        let want: Vec<(String, String)> = [
            ("a", "one"),
            ("", "two\nthree"),
            ("", ""),
            ("\u{fffd}", "é"),
            ("", "[DONE]"),
        ]
        .map(|(n, d)| (n.to_string(), d.to_string()))
        .into();
        assert_eq!(all(&[STREAM], 100), Ok(want.clone()));
        for cut in 0..=STREAM.len() {
            let (a, b) = STREAM.split_at(cut);
            assert_eq!(all(&[a, b], 100), Ok(want.clone()), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(all(&bytes, 100), Ok(want));
    }

    #[test]
    fn an_event_is_bounded_however_it_comes() {
        let lines = b"data: 12345\ndata: 12345\n\n";
        assert!(all(&[lines], 30).is_ok());
        assert_eq!(all(&[lines], 15), Err(TooLong));
        let drip: Vec<&[u8]> = std::iter::repeat_n(&b"x"[..], 1000).collect();
        assert_eq!(all(&drip, 999), Err(TooLong));
        assert_eq!(all(&drip, 1000), Ok(Vec::new()));
    }

    #[test]
    fn an_error_of_the_reader_ends_it() {
        let mut parser = Parser::new(100);
        let mut calls = 0;
        let result = parser.feed(b"data: 1\n\ndata: 2\n\n", |_, _| {
            calls += 1;
            Err(TooLong)
        });
        assert_eq!((result, calls), (Err(TooLong), 1));
    }
}
