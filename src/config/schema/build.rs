//! Constructors in the words of the table.

use super::{Default, Field, Form, Kind, Object, Range, Rest, Rule};

pub const TEXT: Kind = Kind::Text(Form::Plain);
pub const NUMBER: Kind = Kind::Number(FREE);
pub const TEXTS: Kind = Kind::List(&TEXT);
pub const TEXT_MAP: Kind = Kind::Map(&TEXT);
/// Ids of people and rooms, which are often written as numbers.
pub const ID: Kind = Kind::Either(&[TEXT, NUMBER]);
const FREE: Range = Range {
    whole: false,
    min: None,
    above: None,
    max: None,
};

pub const fn object(fields: &'static [Field]) -> Object {
    Object {
        fields,
        more: &[],
        rest: Rest::Refused,
        rule: None,
    }
}

impl Object {
    pub const fn and(mut self, more: &'static [Field]) -> Object {
        self.more = more;
        self
    }

    pub const fn rest(mut self, rest: Rest) -> Object {
        self.rest = rest;
        self
    }

    pub const fn rule(mut self, rule: Rule) -> Object {
        self.rule = Some(rule);
        self
    }
}

pub const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        default: Default::None,
        about: "",
        required: false,
        secret: false,
        ours: false,
        unused: false,
    }
}

pub const fn flag(name: &'static str) -> Field {
    field(name, Kind::Bool)
}

pub const fn text(name: &'static str) -> Field {
    field(name, TEXT)
}

pub const fn word(name: &'static str, words: &'static [&'static str]) -> Field {
    field(name, Kind::Word(words))
}

pub const fn choice(name: &'static str, words: &'static [&'static str]) -> Field {
    field(name, Kind::Choice(words))
}

pub const fn number(name: &'static str) -> Field {
    field(name, NUMBER)
}

pub const fn whole(name: &'static str) -> Field {
    field(
        name,
        Kind::Number(Range {
            whole: true,
            ..FREE
        }),
    )
}

pub const fn texts(name: &'static str) -> Field {
    field(name, TEXTS)
}

pub const fn list(name: &'static str, of: &'static Kind) -> Field {
    field(name, Kind::List(of))
}

pub const fn map(name: &'static str, of: &'static Kind) -> Field {
    field(name, Kind::Map(of))
}

pub const fn group(name: &'static str, object: &'static Object) -> Field {
    field(name, Kind::Object(object))
}

pub const fn either(name: &'static str, kinds: &'static [Kind]) -> Field {
    field(name, Kind::Either(kinds))
}

/// A section whose content is not looked at.
pub const fn unused(name: &'static str) -> Field {
    field(name, Kind::Any).unused()
}

impl Field {
    const fn range(mut self, change: Range) -> Field {
        self.kind = Kind::Number(change);
        self
    }

    const fn bounds(&self) -> Range {
        match self.kind {
            Kind::Number(range) => range,
            _ => FREE,
        }
    }

    pub const fn min(self, min: f64) -> Field {
        let range = Range {
            min: Some(min),
            ..self.bounds()
        };
        self.range(range)
    }

    pub const fn above(self, above: f64) -> Field {
        let range = Range {
            above: Some(above),
            ..self.bounds()
        };
        self.range(range)
    }

    pub const fn max(self, max: f64) -> Field {
        let range = Range {
            max: Some(max),
            ..self.bounds()
        };
        self.range(range)
    }

    pub const fn form(mut self, form: Form) -> Field {
        self.kind = Kind::Text(form);
        self
    }

    pub const fn default(mut self, text: &'static str) -> Field {
        self.default = Default::Says(text);
        self
    }

    pub const fn fills(mut self, text: &'static str) -> Field {
        self.default = Default::Fills(text);
        self
    }

    pub const fn about(mut self, text: &'static str) -> Field {
        self.about = text;
        self
    }

    pub const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    pub const fn secret(mut self) -> Field {
        self.secret = true;
        self
    }

    pub const fn ours(mut self) -> Field {
        self.ours = true;
        self
    }

    pub const fn unused(mut self) -> Field {
        self.unused = true;
        self
    }
}
