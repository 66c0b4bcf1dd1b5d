//! What the options of a field demand: `google.api.field_behavior`, `buf.validate.field`, and proto2's
//! `required`. The options are read as bytes, so that the extensions need not be known by the pool.

mod wire;

use prost::Message as _;
use prost_reflect::{FieldDescriptor, OneofDescriptor};
use serde_json::{Number, Value};

/// What a field demands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    pub(crate) required: bool,
    /// The service sets it.
    pub(crate) output_only: bool,
    /// Least and largest value.
    pub(crate) min: Option<Bound>,
    pub(crate) max: Option<Bound>,
    /// Characters of a text.
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<String>,
    pub(crate) format: Option<&'static str>,
    /// The only values; empty for any.
    pub(crate) one_of: Vec<Value>,
    /// Elements of a list, entries of a map.
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique: bool,
    /// Of the elements of a list, or the values of a map.
    pub(crate) items: Option<Box<Self>>,
}

/// A bound of a number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: Number,
    /// The bound itself is not allowed.
    pub(crate) is_exclusive: bool,
}

/// `google.api.FieldBehavior`.
const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;
/// `buf.validate.Ignore.IGNORE_ALWAYS`.
const IGNORE_ALWAYS: i32 = 3;

impl Rules {
    /// Those of a field.
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        let is_required = field.cardinality() == prost_reflect::Cardinality::Required;
        // Most fields have no options at all, and need none decoded.
        if field.field_descriptor_proto().options.is_none() {
            return Self {
                required: is_required,
                ..Self::default()
            };
        }
        let options = field.options().encode_to_vec();
        let options = wire::FieldOptions::decode(options.as_slice()).unwrap_or_default();
        let rules = options.rules.unwrap_or_default();
        let mut found = match rules.ignore == IGNORE_ALWAYS {
            true => Self::default(),
            false => rules.rules(),
        };
        found.required |= is_required || options.behavior.contains(&REQUIRED);
        found.output_only = options.behavior.contains(&OUTPUT_ONLY);
        found
    }
}

/// Whether one of the fields of a oneof has to be given.
pub(crate) fn is_oneof_required(oneof: &OneofDescriptor) -> bool {
    if oneof.oneof_descriptor_proto().options.is_none() {
        return false;
    }
    let options = oneof.options().encode_to_vec();
    let options = wire::OneofOptions::decode(options.as_slice()).unwrap_or_default();
    options.rules.is_some_and(|rules| rules.required)
}
