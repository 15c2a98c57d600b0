//! The parser: one pass over the text, by recursion that is bounded.

use serde_json::Number;

use super::{Kind, MAX_DEPTH, MAX_VALUES, Member, Node, SyntaxError};

/// The tree of `text`.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut p = Parser {
        text,
        at: 0,
        depth: 0,
        values: 0,
    };
    p.blanks()?;
    let root = p.node()?;
    p.blanks()?;
    match p.peek() {
        None => Ok(root),
        Some(_) => p.unexpected(),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let hit = self.peek() == Some(c);
        if hit {
            self.at += c.len_utf8();
        }
        hit
    }

    /// The error about the character that stands next, or about the end of the text.
    fn unexpected<T>(&self) -> Parsed<T> {
        let what = match self.peek() {
            None => "invalid end of input".to_string(),
            Some(c) => format!("invalid character '{}'", shown(c)),
        };
        Err(self.error_after(self.at, what))
    }

    /// An error whose place is the end of the character at `at`.
    fn error_after(&self, at: usize, what: String) -> SyntaxError {
        let next = self.text[at..].chars().next();
        let end = at + next.map_or(0, char::len_utf8);
        let before = &self.text[..end];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let width: usize = before[start..].chars().map(char::len_utf16).sum();
        SyntaxError {
            what,
            line: 1 + before.matches('\n').count(),
            column: width + usize::from(next.is_none()),
        }
    }

    /// Skips white space and comments.
    fn blanks(&mut self) -> Parsed<()> {
        while let Some(c) = self.peek() {
            if c.is_whitespace() || c == '\u{feff}' {
                self.at += c.len_utf8();
            } else if c == '/' {
                self.at += 1;
                self.comment()?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn comment(&mut self) -> Parsed<()> {
        let rest = &self.text[self.at..];
        match self.peek() {
            Some('/') => {
                let end = rest.find(['\n', '\r', '\u{2028}', '\u{2029}']);
                self.at += end.unwrap_or(rest.len());
                Ok(())
            }
            Some('*') => match rest[1..].find("*/") {
                Some(end) => {
                    self.at += 1 + end + 2;
                    Ok(())
                }
                None => {
                    self.at = self.text.len();
                    self.unexpected()
                }
            },
            _ => self.unexpected(),
        }
    }

    fn node(&mut self) -> Parsed<Node> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error_after(self.at, format!("more than {MAX_VALUES} values")));
        }
        let start = self.at;
        let kind = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::array)?,
            Some('"' | '\'') => Kind::String(self.string()?),
            Some('n') => self.word("null", Kind::Null)?,
            Some('t') => self.word("true", Kind::Bool(true))?,
            Some('f') => self.word("false", Kind::Bool(false))?,
            _ => self.number()?,
        };
        let span = start..self.at;
        Ok(Node {
            span,
            kind,
            comma: None,
        })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Kind>) -> Parsed<Kind> {
        if self.depth == MAX_DEPTH {
            let what = format!("nested more than {MAX_DEPTH} deep");
            return Err(self.error_after(self.at, what));
        }
        self.at += 1;
        self.depth += 1;
        let kind = read(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn object(&mut self) -> Parsed<Kind> {
        let mut members = Vec::new();
        loop {
            self.blanks()?;
            if self.eat('}') {
                return Ok(Kind::Object(members));
            }
            let start = self.at;
            let key = match self.peek() {
                Some('"' | '\'') => self.string()?,
                _ => self.identifier()?,
            };
            let key_span = start..self.at;
            self.blanks()?;
            if !self.eat(':') {
                return self.unexpected();
            }
            self.blanks()?;
            let mut value = self.node()?;
            value.comma = self.comma('}')?;
            members.push(Member {
                key,
                key_span,
                value,
            });
        }
    }

    fn array(&mut self) -> Parsed<Kind> {
        let mut items = Vec::new();
        loop {
            self.blanks()?;
            if self.eat(']') {
                return Ok(Kind::Array(items));
            }
            let mut item = self.node()?;
            item.comma = self.comma(']')?;
            items.push(item);
        }
    }

    /// Reads the comma after a value, which may be missing before `close`.
    fn comma(&mut self, close: char) -> Parsed<Option<usize>> {
        self.blanks()?;
        let at = self.at;
        match self.eat(',') {
            true => Ok(Some(at)),
            false if self.peek() == Some(close) => Ok(None),
            false => self.unexpected(),
        }
    }

    fn word(&mut self, word: &str, kind: Kind) -> Parsed<Kind> {
        for c in word.chars() {
            if !self.eat(c) {
                return self.unexpected();
            }
        }
        Ok(kind)
    }

    fn identifier(&mut self) -> Parsed<String> {
        let mut name = String::new();
        loop {
            let first = name.is_empty();
            match self.peek() {
                Some('\\') => {
                    self.at += 1;
                    if !self.eat('u') {
                        return self.unexpected();
                    }
                    let c = char::from_u32(u32::from(self.hex4()?)).filter(|c| in_name(*c, first));
                    let Some(c) = c else {
                        let at = self.at.saturating_sub(6);
                        return Err(
                            self.error_after(at, "invalid identifier character".to_string())
                        );
                    };
                    name.push(c);
                }
                Some(c) if in_name(c, first) => {
                    self.at += c.len_utf8();
                    name.push(c);
                }
                _ if first => return self.unexpected(),
                _ => return Ok(name),
            }
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let quote = self.bump();
        let mut out = String::new();
        // The first half of a surrogate pair, waiting for the second.
        let mut high: Option<u16> = None;
        loop {
            let c = self.peek();
            if c == Some('\\') {
                self.at += 1;
                if self.peek() == Some('u') {
                    self.at += 1;
                    let unit = self.hex4()?;
                    push_unit(&mut out, &mut high, unit);
                } else {
                    flush(&mut out, &mut high);
                    self.escape(&mut out)?;
                }
                continue;
            }
            flush(&mut out, &mut high);
            match c {
                None | Some('\n' | '\r') => return self.unexpected(),
                Some(c) => {
                    self.at += c.len_utf8();
                    if Some(c) == quote {
                        return Ok(out);
                    }
                    out.push(c);
                }
            }
        }
    }

    /// What stands after a backslash, `u` apart.
    fn escape(&mut self, out: &mut String) -> Parsed<()> {
        let Some(c) = self.peek().filter(|c| !matches!(c, '1'..='9')) else {
            return self.unexpected();
        };
        self.at += c.len_utf8();
        match c {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0' => match self.peek() {
                Some('0'..='9') => return self.unexpected(),
                _ => out.push('\0'),
            },
            'x' => {
                let byte = self.hex()? << 4 | self.hex()?;
                out.push(char::from(byte));
            }
            '\r' => {
                self.eat('\n');
            }
            '\n' | '\u{2028}' | '\u{2029}' => {}
            other => out.push(other),
        }
        Ok(())
    }

    fn hex(&mut self) -> Parsed<u8> {
        match self.peek().and_then(|c| c.to_digit(16)) {
            Some(digit) => {
                self.at += 1;
                Ok(digit as u8)
            }
            None => self.unexpected(),
        }
    }

    fn hex4(&mut self) -> Parsed<u16> {
        (0..4).try_fold(0u16, |acc, _| Ok(acc << 4 | u16::from(self.hex()?)))
    }

    fn number(&mut self) -> Parsed<Kind> {
        let negative = self.peek() == Some('-');
        if negative || self.peek() == Some('+') {
            self.at += 1;
        }
        let start = self.at;
        match self.peek() {
            Some('I') => return self.word("Infinity", Kind::NotFinite),
            Some('N') => return self.word("NaN", Kind::NotFinite),
            Some('0') => {
                self.at += 1;
                if self.eat('x') || self.eat('X') {
                    return self.hexadecimal(negative);
                }
            }
            Some('1'..='9') => self.digits(),
            Some('.') => {}
            _ => return self.unexpected(),
        }
        let whole = self.at;
        if self.eat('.') {
            if whole == start {
                self.digit()?;
            }
            self.digits();
        }
        if self.eat('e') || self.eat('E') {
            if !self.eat('+') {
                self.eat('-');
            }
            self.digit()?;
            self.digits();
        }
        let written = &self.text[start..self.at];
        if self.at == whole
            && let Ok(n) = written.parse::<u64>()
        {
            return Ok(integer(negative, n));
        }
        // Every text that gets here is one that the standard parser knows; huge ones are infinite.
        let n = written.parse::<f64>().unwrap_or(f64::NAN);
        Ok(double(negative, n))
    }

    fn hexadecimal(&mut self, negative: bool) -> Parsed<Kind> {
        let mut exact = Some(u64::from(self.hex()?));
        let mut n = exact.unwrap_or(0) as f64;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) {
            self.at += 1;
            exact = exact
                .and_then(|v| v.checked_mul(16))
                .map(|v| v + u64::from(digit));
            n = n * 16.0 + f64::from(digit);
        }
        Ok(exact.map_or_else(|| double(negative, n), |v| integer(negative, v)))
    }

    fn digit(&mut self) -> Parsed<()> {
        match self.peek() {
            Some('0'..='9') => {
                self.at += 1;
                Ok(())
            }
            _ => self.unexpected(),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
    }
}

/// An exact integer where 64 bits hold it.
fn integer(negative: bool, n: u64) -> Kind {
    match (negative, i64::try_from(n)) {
        (false, _) => Kind::Number(n.into()),
        (true, Ok(n)) => Kind::Number((-n).into()),
        (true, Err(_)) => double(true, n as f64),
    }
}

/// A double; a whole one becomes an integer, so that `1e3` and `5.` are 1000 and 5.
fn double(negative: bool, n: f64) -> Kind {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let n = if negative { -n } else { n };
    if n.fract() == 0.0 && n.abs() <= EXACT {
        return Kind::Number((n as i64).into());
    }
    Number::from_f64(n).map_or(Kind::NotFinite, Kind::Number)
}

fn push_unit(out: &mut String, high: &mut Option<u16>, unit: u16) {
    match (high.take(), unit) {
        (Some(first), 0xdc00..=0xdfff) => {
            let pair = char::decode_utf16([first, unit]).next();
            out.push(
                pair.and_then(Result::ok)
                    .unwrap_or(char::REPLACEMENT_CHARACTER),
            );
        }
        (earlier, unit) => {
            if earlier.is_some() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            match unit {
                0xd800..=0xdbff => *high = Some(unit),
                _ => {
                    out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER))
                }
            }
        }
    }
}

fn flush(out: &mut String, high: &mut Option<u16>) {
    if high.take().is_some() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
}

/// Whether `c` may stand in a bare name.
fn in_name(c: char, first: bool) -> bool {
    matches!(c, '$' | '_')
        || c.is_alphabetic()
        || (!first && (c.is_alphanumeric() || matches!(c, '\u{200c}' | '\u{200d}')))
}

/// A character as the reference's parser names it in an error.
fn shown(c: char) -> String {
    match c {
        '\'' => "\\'".to_string(),
        '"' => "\\\"".to_string(),
        '\\' => "\\\\".to_string(),
        '\u{8}' => "\\b".to_string(),
        '\u{c}' => "\\f".to_string(),
        '\n' => "\\n".to_string(),
        '\r' => "\\r".to_string(),
        '\t' => "\\t".to_string(),
        '\u{b}' => "\\v".to_string(),
        '\0' => "\\0".to_string(),
        '\u{2028}' => "\\u2028".to_string(),
        '\u{2029}' => "\\u2029".to_string(),
        c if c < ' ' => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}
