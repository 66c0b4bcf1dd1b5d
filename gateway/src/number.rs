//! Whole numbers of a body. An error names their bounds.

use serde::{Deserialize as _, Deserializer, de::Error as _};
use serde_json::Value;

/// A whole number from `MIN` to `MAX`; null is as good as none.
pub(crate) fn within<'de, const MIN: u64, const MAX: u64, T, D>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    let number = value.as_u64().filter(|number| (MIN..=MAX).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| {
        let given = match &value {
            Value::Number(number) => format!("the number {number}"),
            Value::String(text) => format!("the string {text:?}"),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            other => other.to_string(),
        };
        let bounds = match MAX {
            u64::MAX => format!("that is {MIN} or more"),
            _ => format!("from {MIN} to {MAX}"),
        };
        D::Error::custom(format!("has to be a whole number {bounds}, not {given}"))
    })
}
