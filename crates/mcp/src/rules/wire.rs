//! The options as they are on the wire: the part of protovalidate's `validate.proto` that has a keyword
//! in JSON Schema.

use serde_json::{Number, Value};

use super::{Bound, Rules};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FieldOptions {
    #[prost(int32, repeated, tag = "1052")]
    pub(super) behavior: Vec<i32>,
    #[prost(message, optional, tag = "1159")]
    pub(super) rules: Option<FieldRules>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OneofOptions {
    #[prost(message, optional, tag = "1159")]
    pub(super) rules: Option<OneofRules>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OneofRules {
    #[prost(bool, tag = "1")]
    pub(super) required: bool,
}

/// The rules of a type of numbers.
macro_rules! number_rules {
    ($($name:ident: $kind:tt, $type:ty;)+) => { $(
        #[derive(Clone, PartialEq, prost::Message)]
        struct $name {
            #[prost($kind, optional, tag = "1")]
            constant: Option<$type>,
            #[prost($kind, optional, tag = "2")]
            less: Option<$type>,
            #[prost($kind, optional, tag = "3")]
            at_most: Option<$type>,
            #[prost($kind, optional, tag = "4")]
            greater: Option<$type>,
            #[prost($kind, optional, tag = "5")]
            at_least: Option<$type>,
            #[prost($kind, repeated, tag = "6")]
            one_of: Vec<$type>,
        }

        impl $name {
            fn rules(&self) -> Rules {
                let min = bound(self.greater.map(Value::from), self.at_least.map(Value::from));
                let max = bound(self.less.map(Value::from), self.at_most.map(Value::from));
                let low = self.greater.or(self.at_least);
                let high = self.less.or(self.at_most);
                // A lower bound above the upper one means what is outside of both.
                let is_range = low.zip(high).is_none_or(|(low, high)| low <= high);
                let one_of = self.constant.iter().chain(&self.one_of);
                Rules {
                    min: min.filter(|_| is_range),
                    max: max.filter(|_| is_range),
                    one_of: one_of.map(|value| Value::from(*value)).collect(),
                    ..Rules::default()
                }
            }
        }
    )+ };
}

number_rules! {
    FloatRules: float, f32;
    DoubleRules: double, f64;
    Int32Rules: int32, i32;
    Int64Rules: int64, i64;
    UInt32Rules: uint32, u32;
    UInt64Rules: uint64, u64;
    SInt32Rules: sint32, i32;
    SInt64Rules: sint64, i64;
    Fixed32Rules: fixed32, u32;
    Fixed64Rules: fixed64, u64;
    SFixed32Rules: sfixed32, i32;
    SFixed64Rules: sfixed64, i64;
}

#[derive(Clone, PartialEq, prost::Message)]
struct StringRules {
    #[prost(string, optional, tag = "1")]
    constant: Option<String>,
    #[prost(uint64, optional, tag = "19")]
    len: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    min_len: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    max_len: Option<u64>,
    #[prost(string, optional, tag = "6")]
    pattern: Option<String>,
    #[prost(string, repeated, tag = "10")]
    one_of: Vec<String>,
    #[prost(bool, optional, tag = "12")]
    email: Option<bool>,
    #[prost(bool, optional, tag = "13")]
    hostname: Option<bool>,
    #[prost(bool, optional, tag = "15")]
    ipv4: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    ipv6: Option<bool>,
    #[prost(bool, optional, tag = "17")]
    uri: Option<bool>,
    #[prost(bool, optional, tag = "18")]
    uri_ref: Option<bool>,
    #[prost(bool, optional, tag = "22")]
    uuid: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnumRules {
    #[prost(int32, optional, tag = "1")]
    constant: Option<i32>,
    #[prost(int32, repeated, tag = "3")]
    one_of: Vec<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BoolRules {
    #[prost(bool, optional, tag = "1")]
    constant: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RepeatedRules {
    #[prost(uint64, optional, tag = "1")]
    min_items: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    max_items: Option<u64>,
    #[prost(bool, optional, tag = "3")]
    unique: Option<bool>,
    #[prost(message, optional, boxed, tag = "4")]
    items: Option<Box<FieldRules>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MapRules {
    #[prost(uint64, optional, tag = "1")]
    min_pairs: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    max_pairs: Option<u64>,
    #[prost(message, optional, boxed, tag = "5")]
    values: Option<Box<FieldRules>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FieldRules {
    #[prost(bool, tag = "25")]
    required: bool,
    #[prost(int32, tag = "27")]
    pub(super) ignore: i32,
    #[prost(message, optional, tag = "1")]
    float: Option<FloatRules>,
    #[prost(message, optional, tag = "2")]
    double: Option<DoubleRules>,
    #[prost(message, optional, tag = "3")]
    int32: Option<Int32Rules>,
    #[prost(message, optional, tag = "4")]
    int64: Option<Int64Rules>,
    #[prost(message, optional, tag = "5")]
    uint32: Option<UInt32Rules>,
    #[prost(message, optional, tag = "6")]
    uint64: Option<UInt64Rules>,
    #[prost(message, optional, tag = "7")]
    sint32: Option<SInt32Rules>,
    #[prost(message, optional, tag = "8")]
    sint64: Option<SInt64Rules>,
    #[prost(message, optional, tag = "9")]
    fixed32: Option<Fixed32Rules>,
    #[prost(message, optional, tag = "10")]
    fixed64: Option<Fixed64Rules>,
    #[prost(message, optional, tag = "11")]
    sfixed32: Option<SFixed32Rules>,
    #[prost(message, optional, tag = "12")]
    sfixed64: Option<SFixed64Rules>,
    #[prost(message, optional, tag = "13")]
    bool: Option<BoolRules>,
    #[prost(message, optional, tag = "14")]
    string: Option<StringRules>,
    #[prost(message, optional, tag = "16")]
    enumeration: Option<EnumRules>,
    #[prost(message, optional, tag = "18")]
    repeated: Option<RepeatedRules>,
    #[prost(message, optional, tag = "19")]
    map: Option<MapRules>,
}

impl FieldRules {
    pub(super) fn rules(&self) -> Rules {
        let mut rules = self.of_type();
        rules.required = self.required;
        rules
    }

    fn of_type(&self) -> Rules {
        macro_rules! first {
            ($($field:ident),+) => { $(
                if let Some(rules) = &self.$field {
                    return rules.rules();
                }
            )+ };
        }
        first!(
            float,
            double,
            int32,
            int64,
            uint32,
            uint64,
            sint32,
            sint64,
            fixed32,
            fixed64,
            sfixed32,
            sfixed64,
            bool,
            string,
            enumeration,
            repeated,
            map
        );
        Rules::default()
    }
}

impl BoolRules {
    fn rules(&self) -> Rules {
        Rules {
            one_of: self.constant.into_iter().map(Value::from).collect(),
            ..Rules::default()
        }
    }
}

impl StringRules {
    fn rules(&self) -> Rules {
        let formats = [
            (self.email, "email"),
            (self.hostname, "hostname"),
            (self.ipv4, "ipv4"),
            (self.ipv6, "ipv6"),
            (self.uri, "uri"),
            (self.uri_ref, "uri-reference"),
            (self.uuid, "uuid"),
        ];
        let mut formats = formats.into_iter().filter(|(on, _)| *on == Some(true));
        let one_of = self.constant.iter().chain(&self.one_of);
        Rules {
            min_length: self.len.or(self.min_len),
            max_length: self.len.or(self.max_len),
            pattern: self.pattern.clone(),
            format: formats.next().map(|(_, name)| name),
            one_of: one_of.map(|value| Value::from(value.as_str())).collect(),
            ..Rules::default()
        }
    }
}

impl EnumRules {
    fn rules(&self) -> Rules {
        let one_of = self.constant.iter().chain(&self.one_of);
        Rules {
            one_of: one_of.map(|value| Value::from(*value)).collect(),
            ..Rules::default()
        }
    }
}

impl RepeatedRules {
    fn rules(&self) -> Rules {
        Rules {
            min_items: self.min_items,
            max_items: self.max_items,
            unique: self.unique.unwrap_or(false),
            items: self.items.as_ref().map(|items| Box::new(items.rules())),
            ..Rules::default()
        }
    }
}

impl MapRules {
    fn rules(&self) -> Rules {
        Rules {
            min_items: self.min_pairs,
            max_items: self.max_pairs,
            items: self.values.as_ref().map(|values| Box::new(values.rules())),
            ..Rules::default()
        }
    }
}

/// One bound of a number. A number that JSON does not have is none.
fn bound(exclusive: Option<Value>, inclusive: Option<Value>) -> Option<Bound> {
    let is_exclusive = exclusive.is_some();
    let number: Option<Number> = match exclusive.or(inclusive)? {
        Value::Number(number) => Some(number),
        _ => None,
    };
    Some(Bound {
        value: number?,
        is_exclusive,
    })
}
