//! Single values.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{EnumDescriptor, Kind, MapKey, Value};
use serde_json::Value as Json;

use super::{
    plan::FieldRules,
    problems::{listed, nearest},
};

/// Base64 with padding and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value of a kind, or what to give instead.
pub(super) fn value(kind: &Kind, json: &Json) -> Result<Value, String> {
    match kind {
        Kind::Bool => json
            .as_bool()
            .map(Value::Bool)
            .ok_or_else(|| "give true or false".to_owned()),
        Kind::String => match json {
            Json::String(text) => Ok(Value::String(text.clone())),
            _ => Err("give a text".to_owned()),
        },
        Kind::Bytes => {
            let text = json
                .as_str()
                .map(|text| text.replace('-', "+").replace('_', "/"));
            let bytes = text.and_then(|text| BASE64.decode(text).ok());
            let bytes = bytes.ok_or_else(|| "give bytes in base64".to_owned())?;
            Ok(Value::Bytes(bytes.into()))
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(json).map(Value::I32),
        Kind::Uint32 | Kind::Fixed32 => integer(json).map(Value::U32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(json).map(Value::I64),
        Kind::Uint64 | Kind::Fixed64 => integer(json).map(Value::U64),
        Kind::Double => float(json).map(Value::F64),
        Kind::Float => {
            let wide = float(json)?;
            #[expect(clippy::cast_possible_truncation, reason = "a float has less digits")]
            let narrow = wide as f32;
            match narrow.is_infinite() && wide.is_finite() {
                true => Err("give a number that a 32-bit float can be".to_owned()),
                false => Ok(Value::F32(narrow)),
            }
        }
        Kind::Enum(descriptor) => enumeration(descriptor, json).map(Value::EnumNumber),
        Kind::Message(message) => Err(format!("give a {}", message.full_name())),
    }
}

/// The bounds of a type of whole numbers.
trait Integer: TryFrom<i128> {
    const BOUNDS: (i128, i128);
}

macro_rules! integers {
    ($($type:ty),+) => { $(
        impl Integer for $type {
            const BOUNDS: (i128, i128) = (<$type>::MIN as i128, <$type>::MAX as i128);
        }
    )+ };
}
integers!(i32, u32, i64, u64);

fn integer<T: Integer>(json: &Json) -> Result<T, String> {
    let number = match json {
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Some(i128::from(number)),
            (_, Some(number)) => Some(i128::from(number)),
            _ => number.as_f64().and_then(whole),
        },
        Json::String(text) => {
            let text = text.trim();
            text.parse()
                .ok()
                .or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    };
    let number = number.ok_or_else(|| "give a whole number".to_owned())?;
    T::try_from(number).map_err(|_| {
        let (least, most) = T::BOUNDS;
        format!("give a whole number from {least} to {most}")
    })
}

/// A float that is a whole number, such as 3.0 or 1e3.
fn whole(number: f64) -> Option<i128> {
    // Beyond 2^64 no type takes it.
    let fits = number.fract() == 0.0 && number.abs() < 2e19;
    #[expect(clippy::cast_possible_truncation, reason = "whole and bounded")]
    let number = fits.then_some(number as i128);
    number
}

fn float(json: &Json) -> Result<f64, String> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.trim() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|number: &f64| number.is_finite()),
        },
        _ => None,
    };
    number.ok_or_else(|| "give a number".to_owned())
}

fn enumeration(descriptor: &EnumDescriptor, json: &Json) -> Result<i32, String> {
    let name = match json {
        Json::Null if descriptor.full_name() == "google.protobuf.NullValue" => return Ok(0),
        Json::Number(_) => return integer(json),
        Json::String(name) => name,
        _ => "",
    };
    if let Some(value) = descriptor.get_value_by_name(name) {
        return Ok(value.number());
    }
    // As the number of a value without a name is written.
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let values: Vec<_> = descriptor.values().collect();
    let names = || values.iter().map(|value| value.name());
    Err(match nearest(name, names()) {
        Some(meant) => format!("did you mean {meant}? The values are {}", listed(names())),
        None => format!("give one of {}", listed(names())),
    })
}

/// The key of a map.
pub(super) fn key(kind: &Kind, text: &str) -> Option<MapKey> {
    Some(match kind {
        Kind::Bool => MapKey::Bool(text.parse().ok()?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(text.parse().ok()?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(text.parse().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(text.parse().ok()?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(text.parse().ok()?),
        _ => MapKey::String(text.to_owned()),
    })
}

/// What keys are to be.
pub(super) const fn keys(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "give true or false",
        _ => "give a whole number",
    }
}

/// What a value does against the rules of its field.
pub(super) fn check(value: &Value, field: &FieldRules) -> Option<String> {
    let rules = &field.rules;
    if !rules.one_of.is_empty() {
        let is_it = |allowed: &Json| match value {
            Value::String(text) => allowed.as_str() == Some(text),
            Value::Bool(value) => allowed.as_bool() == Some(*value),
            other => number(other)
                .zip(allowed.as_f64())
                .is_some_and(|(one, other)| one == other),
        };
        if !rules.one_of.iter().any(is_it) {
            let texts: Vec<String> = rules.one_of.iter().map(Json::to_string).collect();
            let listed = listed(texts.iter().map(String::as_str));
            return Some(format!("is not allowed: give one of {listed}"));
        }
    }
    if let Value::String(text) = value {
        let length = text.chars().count() as u64;
        if let Some(min) = rules.min_length.filter(|min| length < *min) {
            return Some(format!("has {length} characters: give at least {min}"));
        }
        if let Some(max) = rules.max_length.filter(|max| length > *max) {
            return Some(format!("has {length} characters: give at most {max}"));
        }
        if let Some(pattern) = field.pattern.as_ref().filter(|it| !it.is_match(text)) {
            return Some(format!(
                "does not match {}: give what does",
                pattern.as_str()
            ));
        }
    }
    let number = number(value)?;
    if let Some(min) = &rules.min {
        let least = min.value.as_f64()?;
        if number < least || (min.is_exclusive && number == least) {
            let word = if min.is_exclusive {
                "more than"
            } else {
                "at least"
            };
            return Some(format!("is too small: give {word} {}", min.value));
        }
    }
    if let Some(max) = &rules.max {
        let most = max.value.as_f64()?;
        if number > most || (max.is_exclusive && number == most) {
            let word = if max.is_exclusive {
                "less than"
            } else {
                "at most"
            };
            return Some(format!("is too large: give {word} {}", max.value));
        }
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "bounds are compared as floats")]
fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::I32(number) | Value::EnumNumber(number) => f64::from(*number),
        Value::U32(number) => f64::from(*number),
        Value::I64(number) => *number as f64,
        Value::U64(number) => *number as f64,
        Value::F32(number) => f64::from(*number),
        Value::F64(number) => *number,
        _ => return None,
    })
}
